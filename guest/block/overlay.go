package block

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Overlay is a qcow2 file on top of an image, which takes all changes. The undo file
// is next to it while the overlay is being committed.
type Overlay struct {
	// Image and Format are the image below: a path, or nbd+unix:///EXPORT?socket=PATH.
	Image, Format string
	// Path is the path of the overlay, Undo that of the undo file.
	Path, Undo string
}

// protocol returns QEMU's read-only node for the image's bytes.
func (o Overlay) protocol() map[string]any {
	if u, err := url.Parse(o.Image); err == nil && u.Scheme == "nbd+unix" {
		return map[string]any{"driver": "nbd", "export": strings.TrimPrefix(u.Path, "/"), "read-only": true,
			"server": map[string]any{"type": "unix", "path": u.Query().Get("socket")}}
	}
	return map[string]any{"driver": driverOf(o.Image), "filename": o.Image, "read-only": true}
}

// Create creates the overlay with that virtual size and with the image's owner, mode
// and security label. It replaces an overlay of the same name that an earlier run left.
func (o Overlay) Create(ctx context.Context, to size.Bytes) error {
	if err := remove(o.Path); err != nil {
		return err
	}
	if err := create(ctx, o.Path, o.Image, o.Format, to); err != nil {
		return err
	}
	return copyAttributes(o.Image, o.Path)
}

// CreateShared creates an overlay on the image of a running guest, for Gate.OpenShared, or
// on an NBD export. It does not open the image.
func (o Overlay) CreateShared(ctx context.Context, to size.Bytes) error {
	if err := remove(o.Path); err != nil {
		return err
	}
	_, err := Run(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2",
		"-b", o.Image, "-F", o.Format, o.Path, strconv.FormatInt(int64(to), 10))
	return err
}

func create(ctx context.Context, path, backing, format string, to size.Bytes) error {
	_, err := Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2",
		"-b", backing, "-F", format, path, strconv.FormatInt(int64(to), 10))
	return asInUse(err)
}

// copyAttributes gives path the owner, mode and SELinux label of image, if image
// is a file.
func copyAttributes(image, path string) error {
	info, err := os.Stat(image)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := os.Chmod(path, info.Mode().Perm()); err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	// Only root can change a file's owner. Other users own the overlay, and must own
	// the image to write to it.
	if err := os.Chown(path, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return err
	}
	label := make([]byte, 256)
	if n, err := unix.Getxattr(image, "security.selinux", label); err == nil {
		_ = unix.Setxattr(path, "security.selinux", label[:n], 0)
	}
	return nil
}

// Sync flushes the overlay to the disk: the gate writes it without flushes.
func (o Overlay) Sync() error { return syncFile(o.Path) }

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Drop deletes the overlay, if it exists.
func (o Overlay) Drop() error { return remove(o.Path) }

// DropUndo deletes the undo file, if it exists.
func (o Overlay) DropUndo() error { return errors.Join(remove(o.Undo), o.DropBitmaps()) }

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SaveUndo saves the bytes that a commit will overwrite, in a qcow2 on top of the image:
// wherever the overlay has clusters of its own, the qcow2 gets a copy of the image's
// bytes. qemu-io reads these ranges with copy-on-read, which copies them into the file.
// Nothing else of the image is read.
func (o Overlay) SaveUndo(ctx context.Context, now size.Bytes) error {
	if err := remove(o.Undo); err != nil {
		return err
	}
	if err := create(ctx, o.Undo, o.Image, o.Format, now); err != nil {
		return err
	}
	if err := copyAttributes(o.Image, o.Undo); err != nil {
		return err
	}
	extents, err := ownExtents(ctx, o.Path, now)
	if err != nil {
		return err
	}
	if err := copyOnRead(ctx, o.Undo, extents); err != nil {
		return asInUse(err)
	}
	saved, err := ownExtents(ctx, o.Undo, now)
	if err != nil {
		return err
	}
	if missing := uncovered(extents, saved); missing != nil {
		return fmt.Errorf("bytes %d to %d of the image were not saved", missing.Start, missing.End())
	}
	if err := o.SaveBitmaps(ctx); err != nil {
		return asInUse(err)
	}
	return syncFile(o.Undo)
}

// copyOnRead reads ranges of a qcow2 with copy-on-read, so that the qcow2 contains them
// afterwards.
func copyOnRead(ctx context.Context, path string, extents []Extent) error {
	var commands bytes.Buffer
	for _, e := range extents {
		// A request in QEMU must be smaller than 2 GiB.
		for at := e.Start; at < e.End(); at += size.GiB {
			fmt.Fprintf(&commands, "read -q %d %d\n", at, min(size.GiB, e.End()-at))
		}
	}
	_, err := RunInput(ctx, &commands, "qemu-io", "-C", "-f", "qcow2", path)
	return err
}

// Commit writes the overlay into the image and gives the image the overlay's
// size. It can be repeated after a crash: the overlay stays as it is.
func (o Overlay) Commit(ctx context.Context) error {
	if err := o.mendBitmaps(ctx); err != nil {
		return asInUse(err)
	}
	return commit(ctx, o.Path, o.Image)
}

func commit(ctx context.Context, from, into string) error {
	if _, err := Run(ctx, "qemu-img", "commit", "-q", "-d", "-f", "qcow2", from); err != nil {
		return asInUse(err)
	}
	return syncFile(into)
}

// Revert undoes a commit, complete or interrupted: it writes the saved bytes back into
// the image and restores its old size. It can be repeated after a crash.
func (o Overlay) Revert(ctx context.Context, was size.Bytes) error {
	if _, err := os.Stat(o.Undo); err != nil {
		return fmt.Errorf("the saved bytes are missing: %w", err)
	}
	// The overlay is not needed any more, and a lack of space may have failed the
	// commit.
	if err := o.Drop(); err != nil {
		return err
	}
	if err := o.mendBitmaps(ctx); err != nil {
		return asInUse(err)
	}
	if err := commit(ctx, o.Undo, o.Image); err != nil {
		return err
	}
	if err := o.shrinkBack(ctx, was); err != nil {
		return err
	}
	return o.verifyReverted(ctx, was)
}

// shrinkBack restores the image's old size: the commit added everything beyond it.
func (o Overlay) shrinkBack(ctx context.Context, was size.Bytes) error {
	now, err := Inspect(ctx, o.Image, o.Format, Exclusive)
	if err != nil {
		return err
	}
	if now.VirtualSize <= was {
		return nil
	}
	_, err = Run(ctx, "qemu-img", "resize", "-q", "--shrink", "-f", o.Format, o.Image, strconv.FormatInt(int64(was), 10))
	if err != nil {
		return asInUse(err)
	}
	return syncFile(o.Image)
}

// verifyReverted compares every saved byte with the image.
func (o Overlay) verifyReverted(ctx context.Context, was size.Bytes) error {
	extents, err := ownExtents(ctx, o.Undo, was)
	if err != nil {
		return err
	}
	for _, e := range extents {
		saved, err := window(o.Undo, "qcow2", e)
		if err != nil {
			return err
		}
		image, err := window(o.Image, o.Format, e)
		if err != nil {
			return err
		}
		if _, err := Run(ctx, "qemu-img", "compare", "-q", saved, image); err != nil {
			return fmt.Errorf("bytes %d to %d of the image differ from what was saved before the commit: %w", e.Start, e.End(), asInUse(err))
		}
	}
	return nil
}

// window describes a part of an image as an image, in JSON: so the path may contain any
// character.
func window(path, format string, e Extent) (string, error) {
	options, err := json.Marshal(map[string]any{
		"driver": "raw", "offset": e.Start, "size": e.Size,
		"file": map[string]any{"driver": format, "file": map[string]any{"driver": driverOf(path), "filename": path}},
	})
	return "json:" + string(options), err
}

// Extent is a range of bytes of a disk.
type Extent struct{ Start, Size size.Bytes }

// End returns the exclusive end of the extent.
func (e Extent) End() size.Bytes { return e.Start + e.Size }

// ownExtents returns the ranges that a qcow2 itself contains, not its backing file, up to
// a limit. Adjacent ranges are joined.
func ownExtents(ctx context.Context, path string, limit size.Bytes) ([]Extent, error) {
	out, err := Run(ctx, "qemu-img", "map", "--output=json", "-f", "qcow2", path)
	if err != nil {
		return nil, asInUse(err)
	}
	return parseMap(out, limit)
}

// parseMap parses the JSON of qemu-img map. "present" (QEMU 6.1 and later) is false for
// ranges that no image of the chain contains; without this field, such ranges count as the
// image's own, which is safe.
func parseMap(out []byte, limit size.Bytes) ([]Extent, error) {
	var runs []struct {
		Start   size.Bytes `json:"start"`
		Length  size.Bytes `json:"length"`
		Depth   int        `json:"depth"`
		Present *bool      `json:"present"`
	}
	if err := json.Unmarshal(out, &runs); err != nil {
		return nil, fmt.Errorf("qemu-img map: %w", err)
	}
	var extents []Extent
	for _, r := range runs {
		if r.Depth != 0 || r.Present != nil && !*r.Present || r.Start >= limit {
			continue
		}
		e := Extent{r.Start, min(r.Length, limit-r.Start)}
		if n := len(extents); n > 0 && extents[n-1].End() == e.Start {
			extents[n-1].Size += e.Size
			continue
		}
		extents = append(extents, e)
	}
	return extents, nil
}

// uncovered returns the first wanted range that is not completely within one of the other
// ranges.
func uncovered(want, have []Extent) *Extent {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h Extent) bool { return h.Start <= w.Start && w.End() <= h.End() }) {
			return &w
		}
	}
	return nil
}
