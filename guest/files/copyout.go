package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan"
)

// Copied is what came of one path that was copied out.
type Copied struct {
	// Path is where the file or directory is in the guest.
	Path string `json:"path"`
	// To is where it was copied to on the host.
	To string `json:"to"`
	// LeftOut are devices, sockets and pipes: they are not made on this host.
	LeftOut []string `json:"left_out,omitempty"`
}

// CopyOut copies a file or a directory to dest, which is not there yet, or into it, if it
// is a directory. It appears under its name when it is complete. All of it belongs to
// whoever copies; permissions are the guest's, without set-user-ID and the like. No
// name or link of the guest leads out of dest.
func (f *Tree) CopyOut(ctx context.Context, p, dest string) (Copied, error) {
	return copyOut(ctx, f, p, dest)
}

func copyOut(ctx context.Context, f copySource, p, dest string) (c Copied, err error) {
	e, err := f.Stat(ctx, p)
	if err != nil {
		return c, err
	}
	c = Copied{Path: p, To: dest}
	if info, err := os.Stat(dest); err == nil && info.IsDir() {
		c.To = filepath.Join(dest, baseOf(e.Name))
	}
	if _, err := os.Lstat(c.To); err == nil {
		return c, plan.Refuse(plan.FileExists, c.To, "%s already exists", c.To)
	}
	part, err := os.MkdirTemp(filepath.Dir(c.To), ".virt-grow-")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, removeTree(part)) }()
	whole := filepath.Join(part, "whole")
	if e.IsDir() {
		c.LeftOut, err = copyDirectory(ctx, f, p, whole)
	} else {
		err = copyFile(ctx, f, p, whole, fs.FileMode(e.Mode&0o777))
	}
	if err != nil {
		return c, err
	}
	// A file may have appeared under that name meanwhile. The rename of a directory fails by itself then.
	if _, err := os.Lstat(c.To); err == nil {
		return c, plan.Refuse(plan.FileExists, c.To, "%s already exists", c.To)
	}
	return c, os.Rename(whole, c.To)
}

// baseOf returns a name for the host: the guest's root and drives have none.
func baseOf(name string) string {
	if name = strings.Trim(name, "/\\."); name == "" || strings.HasSuffix(name, ":") {
		return "root"
	}
	return name
}

func copyFile(ctx context.Context, f copySource, p, to string, mode fs.FileMode) error {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = f.Read(ctx, p, out)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// copyDirectory unpacks what the appliance packs. The stream is the guest's doing, so
// every name is resolved below the new directory alone (os.Root).
func copyDirectory(ctx context.Context, f copySource, p, to string) (leftOut []string, err error) {
	if err := os.Mkdir(to, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	stream, in := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		var err error
		leftOut, err = unpack(root, stream)
		unpacked <- errors.Join(err, stream.CloseWithError(err))
	}()
	err = f.Archive(ctx, p, in)
	_ = in.CloseWithError(err)
	if failed := <-unpacked; failed != nil {
		return leftOut, failed
	}
	return leftOut, err
}

// unpacking is a tar stream on its way into a directory. Only names below it can be
// reached, whatever links the stream has made there.
type unpacking struct {
	root *os.Root
	// modes are the directories' permissions, which they get in the end: one that may not
	// be written to has files, too.
	modes   map[string]fs.FileMode
	leftOut []string
}

func unpack(root *os.Root, stream io.Reader) (leftOut []string, err error) {
	u := &unpacking{root: root, modes: map[string]fs.FileMode{}}
	archive := tar.NewReader(stream)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, stream) // tar's padding
			return u.leftOut, errors.Join(err, u.finish())
		}
		if err != nil {
			return nil, err
		}
		if err := u.take(h, archive); err != nil {
			return nil, fmt.Errorf("cannot copy %s: %w", h.Name, err)
		}
	}
}

// take makes one file, directory or link.
func (u *unpacking) take(h *tar.Header, content io.Reader) error {
	name := filepath.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return errors.New("the name leads out of the directory")
	}
	mode := fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeDir:
		u.modes[name] = mode | 0o700 // whoever copies can look at it, and delete it
		if err := u.root.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		return u.file(name, mode, content)
	case tar.TypeSymlink:
		return u.in(name, func(dir int, base string) error { return unix.Symlinkat(h.Linkname, dir, base) })
	case tar.TypeLink:
		return u.link(filepath.Clean(h.Linkname), name)
	}
	u.leftOut = append(u.leftOut, name)
	return nil
}

func (u *unpacking) file(name string, mode fs.FileMode, content io.Reader) error {
	out, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// link gives a file that is there a second name.
func (u *unpacking) link(old, name string) error {
	if !filepath.IsLocal(old) {
		return errors.New("it is a link to something outside of the directory")
	}
	return u.in(old, func(from int, was string) error {
		return u.in(name, func(to int, is string) error { return unix.Linkat(from, was, to, is, 0) })
	})
}

// in has something done in the directory of a name.
func (u *unpacking) in(name string, do func(dir int, base string) error) error {
	dir, err := u.root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(int(dir.Fd()), filepath.Base(name))
}

func (u *unpacking) finish() error {
	var errs []error
	for name, mode := range u.modes {
		dir, err := u.root.Open(name)
		if err != nil {
			return err
		}
		errs = append(errs, dir.Chmod(mode), dir.Close())
	}
	return errors.Join(errs...)
}

// removeTree removes what is left of a copy.
func removeTree(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("left behind: %w", err)
	}
	return nil
}
