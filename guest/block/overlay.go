package block

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Overlay is a qcow2 file on top of an image: all changes go there. Undo lies
// beside it while the overlay is being committed.
type Overlay struct {
	// Image and Format are the image below.
	Image, Format string
	// Path is the overlay's own file, Undo the file of the way back.
	Path, Undo string
}

// Create makes the overlay with that virtual size, with the image's owner,
// mode and security label, replacing a left-over of the same name.
func (o Overlay) Create(ctx context.Context, to size.Bytes) error {
	if err := remove(o.Path); err != nil {
		return err
	}
	if err := create(ctx, o.Path, o.Image, o.Format, to); err != nil {
		return err
	}
	return likeness(o.Image, o.Path)
}

func create(ctx context.Context, path, backing, format string, to size.Bytes) error {
	_, err := Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2",
		"-b", backing, "-F", format, path, strconv.FormatInt(int64(to), 10))
	return asInUse(err)
}

// likeness gives path the owner, mode and SELinux label of image, where image
// is a file.
func likeness(image, path string) error {
	info, err := os.Stat(image)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := os.Chmod(path, info.Mode().Perm()); err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	// Only root can give a file away; for anybody else the overlay is theirs,
	// as the image must be for them to write to it.
	if err := os.Chown(path, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return err
	}
	label := make([]byte, 256)
	if n, err := unix.Getxattr(image, "security.selinux", label); err == nil {
		_ = unix.Setxattr(path, "security.selinux", label[:n], 0)
	}
	return nil
}

// Sync puts the overlay's bytes on the disk: the gate writes it without.
func (o Overlay) Sync() error { return syncFile(o.Path) }

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Drop deletes the overlay, if it is there.
func (o Overlay) Drop() error { return remove(o.Path) }

// DropUndo deletes the undo file, if it is there.
func (o Overlay) DropUndo() error { return remove(o.Undo) }

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SaveUndo writes down what a commit will overwrite: a qcow2 on top of the
// overlay that shows the image's bytes of now. qemu-img rebase in its safe
// mode makes just that: it copies what differs between the old backing file
// (the image) and the new one (the overlay), and looks only where the overlay
// has clusters of its own.
func (o Overlay) SaveUndo(ctx context.Context, now size.Bytes) error {
	if err := remove(o.Undo); err != nil {
		return err
	}
	if err := create(ctx, o.Undo, o.Image, o.Format, now); err != nil {
		return err
	}
	if err := likeness(o.Image, o.Undo); err != nil {
		return err
	}
	if _, err := Run(ctx, "qemu-img", "rebase", "-q", "-f", "qcow2", "-b", o.Path, "-F", "qcow2", o.Undo); err != nil {
		return asInUse(err)
	}
	return syncFile(o.Undo)
}

// Commit writes the overlay into the image and gives the image the overlay's
// size. It can be repeated after a crash: the overlay stays as it is.
func (o Overlay) Commit(ctx context.Context) error {
	return commit(ctx, o.Path, o.Image)
}

func commit(ctx context.Context, from, into string) error {
	if _, err := Run(ctx, "qemu-img", "commit", "-q", "-d", "-f", "qcow2", from); err != nil {
		return asInUse(err)
	}
	return syncFile(into)
}

// Revert takes a commit back, whole or torn: the saved bytes go back into the
// image, and it gets its old size. It can be repeated after a crash.
func (o Overlay) Revert(ctx context.Context, was size.Bytes) error {
	if _, err := os.Stat(o.Undo); err != nil {
		return fmt.Errorf("the saved bytes are gone: %w", err)
	}
	// From here on the undo file lies on the image: what it holds is what the
	// image is to become.
	if _, err := Run(ctx, "qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", o.Image, "-F", o.Format, o.Undo); err != nil {
		return asInUse(err)
	}
	// The overlay is of no more use, and the room it takes may be what the
	// commit ran out of.
	if err := o.Drop(); err != nil {
		return err
	}
	if err := commit(ctx, o.Undo, o.Image); err != nil {
		return err
	}
	if err := o.shrinkBack(ctx, was); err != nil {
		return err
	}
	return o.verifyReverted(ctx, was)
}

// shrinkBack takes away what the commit had added at the end: all of it was
// beyond the image's old size.
func (o Overlay) shrinkBack(ctx context.Context, was size.Bytes) error {
	now, err := Inspect(ctx, o.Image, o.Format)
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

// verifyReverted compares every byte that was saved with the image: a scratch
// file is rebased from the image onto the undo file, which copies what differs
// into it; nothing may.
func (o Overlay) verifyReverted(ctx context.Context, was size.Bytes) error {
	scratch := o.Undo + ".verify"
	defer remove(scratch)
	if err := remove(scratch); err != nil {
		return err
	}
	if err := create(ctx, scratch, o.Image, o.Format, was); err != nil {
		return err
	}
	if _, err := Run(ctx, "qemu-img", "rebase", "-q", "-f", "qcow2", "-b", o.Undo, "-F", "qcow2", scratch); err != nil {
		return err
	}
	own, err := ownData(ctx, scratch)
	if err != nil {
		return err
	}
	if own > 0 {
		return fmt.Errorf("%d bytes of the image differ from what was saved before the commit", int64(own))
	}
	return nil
}

// ownData is how much a qcow2 holds itself, not through its backing file.
func ownData(ctx context.Context, path string) (size.Bytes, error) {
	out, err := Run(ctx, "qemu-img", "map", "--output=json", "-f", "qcow2", path)
	if err != nil {
		return 0, err
	}
	var extents []struct {
		Length int64 `json:"length"`
		Depth  int   `json:"depth"`
		// Present is false where the whole chain has nothing; QEMU 6.1 and
		// later print it.
		Present *bool `json:"present"`
	}
	if err := json.Unmarshal(out, &extents); err != nil {
		return 0, fmt.Errorf("qemu-img map: %w", err)
	}
	var total size.Bytes
	for _, e := range extents {
		if e.Depth == 0 && (e.Present == nil || *e.Present) {
			total += size.Bytes(e.Length)
		}
	}
	return total, nil
}
