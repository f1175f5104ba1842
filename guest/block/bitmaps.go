package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Bitmap is a persistent bitmap of a qcow2: it marks the parts of the disk that were
// written since a backup.
type Bitmap struct {
	Name        string
	Granularity size.Bytes
	// Recording reports that the bitmap records writes.
	Recording bool
	// InUse reports that a QEMU has the bitmap open, or had it open when it crashed. After
	// a crash, the bitmap's content is lost, and QEMU does not resize the image.
	InUse bool
}

// sound returns the bitmaps whose content is valid.
func (i Info) sound() []Bitmap {
	return slices.DeleteFunc(slices.Clone(i.Bitmaps), func(b Bitmap) bool { return b.InUse })
}

// Bitmaps returns the path of the file that keeps the image's bitmaps during a commit; ""
// for an overlay without an undo file.
func (o Overlay) Bitmaps() string {
	if o.Undo == "" {
		return ""
	}
	return o.Undo + ".bitmaps"
}

// SaveBitmaps copies the image's bitmaps before the commit. A commit that is killed leaves
// them in use: without the copy, the image could not be resized any more, and incremental
// backups would have to begin with a full backup.
func (o Overlay) SaveBitmaps(ctx context.Context) error {
	if err := o.DropBitmaps(); err != nil || o.Format != "qcow2" || o.Bitmaps() == "" {
		return err
	}
	info, err := Inspect(ctx, o.Image, o.Format, Exclusive)
	if err != nil || len(info.sound()) == 0 {
		return err
	}
	if _, err := Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", o.Bitmaps(), bytesOf(info.VirtualSize)); err != nil {
		return err
	}
	if err := copyAttributes(o.Image, o.Bitmaps()); err != nil {
		return err
	}
	for _, b := range info.sound() {
		if err := copyBitmap(ctx, b, o.Image, o.Bitmaps()); err != nil {
			return err
		}
	}
	return syncFile(o.Bitmaps())
}

// copyBitmap copies a bitmap to another qcow2 of the same size.
func copyBitmap(ctx context.Context, b Bitmap, from, to string) error {
	args := []string{"bitmap", "--add", "-g", bytesOf(b.Granularity)}
	if !b.Recording {
		args = append(args, "--disable")
	}
	_, err := Run(ctx, "qemu-img", append(args, "--merge", b.Name, "-b", from, "-F", "qcow2", "-f", "qcow2", to, b.Name)...)
	return asInUse(err)
}

// DropBitmaps deletes the saved bitmaps, if there are any.
func (o Overlay) DropBitmaps() error {
	if o.Bitmaps() == "" {
		return nil
	}
	return remove(o.Bitmaps())
}

// mendBitmaps replaces the bitmaps that a killed commit left in use with the saved ones.
// It first gives the image the size that the bitmaps are for: bytes beyond that size are
// still in the overlay. It can be repeated after a crash.
func (o Overlay) mendBitmaps(ctx context.Context) error {
	if o.Bitmaps() == "" {
		return nil
	}
	if _, err := os.Stat(o.Bitmaps()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	kept, err := Inspect(ctx, o.Bitmaps(), "qcow2", Exclusive)
	if err != nil {
		return err
	}
	now, err := Inspect(ctx, o.Image, o.Format, Exclusive)
	if err != nil {
		return err
	}
	var lost []Bitmap
	for _, b := range kept.sound() {
		i := slices.IndexFunc(now.Bitmaps, func(n Bitmap) bool { return n.Name == b.Name })
		if i < 0 || now.Bitmaps[i].InUse {
			lost = append(lost, b)
		}
		if i < 0 || !now.Bitmaps[i].InUse {
			continue
		}
		if _, err := Run(ctx, "qemu-img", "bitmap", "-f", "qcow2", "--remove", o.Image, b.Name); err != nil {
			return fmt.Errorf("bitmap %s of %s: %w", b.Name, o.Image, asInUse(err))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if err := o.shrinkBack(ctx, kept.VirtualSize); err != nil {
		return err
	}
	for _, b := range lost {
		if err := copyBitmap(ctx, b, o.Bitmaps(), o.Image); err != nil {
			return fmt.Errorf("bitmap %s of %s: %w", b.Name, o.Image, err)
		}
	}
	return syncFile(o.Image)
}
