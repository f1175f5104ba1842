package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// checkContainer refuses a size that the image cannot have, and files that cannot be
// written: the commit would fail, after a guest was stopped for it. scratch is where
// overlays go, "" for beside the image.
func (img *Image) checkContainer(ctx context.Context, to size.Bytes, scratch string) error {
	if err := writable(img.Path); err != nil {
		return err
	}
	if err := img.checkSize(ctx, to); err != nil {
		return err
	}
	if scratch == "" && !img.Block {
		scratch = filepath.Dir(img.Path)
	}
	if scratch == "" {
		return nil
	}
	return writable(scratch)
}

// checkSize asks QEMU and the host's file system whether the image can become that big,
// and be written at all.
func (img *Image) checkSize(ctx context.Context, to size.Bytes) error {
	if err := fixed(img.Path); err != nil || img.Block || to <= img.Size {
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
		r := plan.Refuse(plan.ContainerLimit, img.Path, "%s cannot become %s: a qcow2 with clusters of %s ends at %s", img.Path, to, img.Info.Cluster, largest)
		r.Size, r.Way = largest, plan.WayLargerClusters
		return r
	}
	return plan.Refuse(plan.ContainerLimit, img.Path, "%s cannot become %s: %v", img.Path, to, err)
}

// writable refuses a file or directory that this process may not write to: of a
// read-only file system, or with the immutable attribute.
func writable(path string) error { return notWritable(path, unix.Access(path, unix.W_OK)) }

// fixed refuses a file that nobody may write to. Permissions are another matter: who
// plans need not be who applies the plan, and a running QEMU has its own.
func fixed(path string) error {
	err := unix.Access(path, unix.W_OK)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	return notWritable(path, err)
}

func notWritable(path string, err error) error {
	if err == nil {
		return nil
	}
	return plan.Refuse(plan.NotWritable, path, "cannot write to %s: %v", path, err)
}

// checkBitmaps refuses an image with persistent bitmaps that QEMU has not closed: it
// resizes no such image. Of a running guest, the file shows all bitmaps as in use, and
// its QEMU has to be asked.
func (img *Image) checkBitmaps(ctx context.Context, d *domain.Domain) error {
	names := img.Info.Inconsistent
	if len(names) == 0 || img.keeps {
		return nil
	}
	if d != nil && img.access == block.Shared {
		broken, err := d.InconsistentBitmaps(ctx, img.Path)
		if err != nil {
			return fmt.Errorf("cannot ask QEMU for the bitmaps of %s: %w", img.Path, err)
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(broken, name) })
	}
	if len(names) == 0 {
		return nil
	}
	r := plan.Refuse(plan.BitmapInUse, img.Path, "%s cannot be resized: its bitmap %s is inconsistent, because the QEMU that wrote it did not end well", img.Path, strings.Join(names, ", "))
	r.Item = names[0]
	return r
}
