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

// Copied is the result for one path that was copied out.
type Copied struct {
	// Path is the path of the file or directory in the guest.
	Path string `json:"path"`
	// To is the path of the copy on the host.
	To string `json:"to"`
	// LeftOut are devices, sockets and pipes, which are not copied.
	LeftOut []string `json:"left_out,omitempty"`
}

// CopyOut copies a file or directory to dest, which must not exist, or into dest if dest is a
// directory. The copy gets its name when it is complete. It belongs to this user, and has the
// guest's permissions without set-user-ID and similar bits. No name or link of the guest can
// lead out of dest.
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
	// A file may have appeared under that name meanwhile. The rename of a directory then
	// fails by itself.
	if _, err := os.Lstat(c.To); err == nil {
		return c, plan.Refuse(plan.FileExists, c.To, "%s already exists", c.To)
	}
	return c, os.Rename(whole, c.To)
}

// baseOf returns the name of the copy: the guest's root and drives get a new one.
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

// copyDirectory unpacks the tar stream from the appliance. The stream is not trusted, so every
// name is resolved within the new directory (os.Root).
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

// unpacking unpacks a tar stream into a directory. Only names below the directory can be
// reached, whatever links the stream contains.
type unpacking struct {
	root *os.Root
	// modes has the directories' permissions, which are set at the end: files must also be
	// written into read-only directories.
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

// take creates one file, directory or link.
func (u *unpacking) take(h *tar.Header, content io.Reader) error {
	name := filepath.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return errors.New("the name leads out of the directory")
	}
	mode := fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeDir:
		u.modes[name] = mode | 0o700 // this user can read and delete it
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

// link creates a hard link to a file that was unpacked.
func (u *unpacking) link(old, name string) error {
	if !filepath.IsLocal(old) {
		return errors.New("it is a link to something outside of the directory")
	}
	return u.in(old, func(from int, was string) error {
		return u.in(name, func(to int, is string) error { return unix.Linkat(from, was, to, is, 0) })
	})
}

// in calls a function in the directory of a name.
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

// removeTree removes the remains of a copy.
func removeTree(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("cannot remove temporary files: %w", err)
	}
	return nil
}
