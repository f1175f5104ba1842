package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// CheckGrowth refuses a size that the image cannot have, and files that cannot be
// written: otherwise the commit would fail after a guest was stopped for it.
// scratch is the directory for overlays; "" is the image's own.
func (img *Image) CheckGrowth(ctx context.Context, to size.Bytes, scratch string) error {
	if err := CheckWritable(img.Path); err != nil {
		return err
	}
	if err := img.CheckSize(ctx, to); err != nil {
		return err
	}
	if scratch == "" && !img.Block {
		scratch = filepath.Dir(img.Path)
	}
	if scratch == "" {
		return nil
	}
	return CheckWritable(scratch)
}

// CheckSize refuses a size that QEMU or the host's file system does not allow for
// this image, and an image that cannot be written to.
func (img *Image) CheckSize(ctx context.Context, to size.Bytes) error {
	if err := checkImmutable(img.Path); err != nil || img.Block || to <= img.Size {
		return err
	}
	var err error
	if img.Format == "qcow2" {
		err = img.Info.CanResize(ctx, to)
	} else {
		err = block.CanHold(filepath.Dir(img.Path), to)
	}
	if !errors.Is(err, block.ErrTooBig) {
		return err
	}
	if largest := img.Info.Largest(); img.Format == "qcow2" && largest > 0 && largest < to {
		r := plan.Refuse(plan.ContainerLimit, img.Path, "%s cannot grow to %s: a qcow2 image with clusters of %s is limited to %s", img.Path, to, img.Info.Cluster, largest)
		r.Size, r.Way = largest, plan.WayLargerClusters
		return r
	}
	return plan.Refuse(plan.ContainerLimit, img.Path, "%s cannot grow to %s: %v", img.Path, to, err)
}

// CheckWritable refuses a file or directory that this process may not write to:
// one of a read-only file system, or with the immutable attribute.
func CheckWritable(path string) error { return refuseWrite(path, unix.Access(path, unix.W_OK)) }

// checkImmutable refuses a file that no user may write to. It ignores missing
// permissions: another user may apply the plan, and a
// running QEMU has permissions of its own.
func checkImmutable(path string) error {
	err := unix.Access(path, unix.W_OK)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	return refuseWrite(path, err)
}

func refuseWrite(path string, err error) error {
	if err == nil {
		return nil
	}
	return plan.Refuse(plan.NotWritable, path, "cannot write to %s: %v", path, err)
}

// BitmapReader asks the QEMU of a running guest which bitmaps of an image are
// inconsistent.
type BitmapReader interface {
	InconsistentBitmaps(ctx context.Context, path string) ([]string, error)
}

// CheckBitmaps refuses an image with persistent bitmaps that QEMU has not closed:
// such an image cannot be resized. While a guest runs, the file marks all bitmaps
// as in use, and only the guest's QEMU knows better: running is asked then. It may
// be nil for an image that no guest uses.
func (img *Image) CheckBitmaps(ctx context.Context, running BitmapReader) error {
	names := img.Info.Inconsistent
	if len(names) == 0 || img.keepSize {
		return nil
	}
	if running != nil && img.Access == block.Shared {
		broken, err := running.InconsistentBitmaps(ctx, img.Path)
		if err != nil {
			return fmt.Errorf("cannot list the bitmaps of %s: %w", img.Path, err)
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(broken, name) })
	}
	if len(names) == 0 {
		return nil
	}
	r := plan.Refuse(plan.BitmapInUse, img.Path, "%s cannot be resized: its bitmap %s is inconsistent, because the QEMU that wrote it was not shut down cleanly", img.Path, strings.Join(names, ", "))
	r.Item = names[0]
	return r
}
