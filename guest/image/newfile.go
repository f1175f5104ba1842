package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
)

// NewFile is an image file that is being created. It is written in a temporary
// directory next to its final path, and is moved there when it is complete. Its
// name in the temporary directory is the final one, because some formats store
// their own name.
type NewFile struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	// Made is the stamp of the complete file, right before it was moved to Path. A
	// job that was interrupted recognises its file by it.
	Made Stamp `json:"made,omitzero"`
}

// CheckNewPath refuses a path where something exists already, or where nothing can
// be created. It returns the absolute path, with the symbolic links of its
// directory resolved.
func CheckNewPath(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(full))
	if errors.Is(err, fs.ErrNotExist) {
		return "", plan.Refuse(plan.NotFound, filepath.Dir(full), "there is no directory %s", filepath.Dir(full))
	}
	if err != nil {
		return "", err
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return "", fmt.Errorf("cannot write to %s: %w", dir, err)
	}
	full = filepath.Join(dir, filepath.Base(full))
	return full, checkVacant(full)
}

// checkVacant refuses a path where something exists, also a symbolic link that
// leads nowhere.
func checkVacant(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = plan.Refuse(plan.FileExists, path, "%s already exists", path)
	}
	return err
}

// Lock returns the name of a lock that keeps two jobs from creating one file: a
// file that does not exist yet has no identity of its own.
func (f *NewFile) Lock() (string, error) {
	dir, err := StampOf(filepath.Dir(f.Path))
	if err != nil {
		return "", err
	}
	name := sha256.Sum256([]byte(filepath.Base(f.Path)))
	return fmt.Sprintf("%s-new-%x", dir.Identity(), name[:8]), nil
}

// Temp returns the path of the file in the temporary directory.
func (f *NewFile) Temp(dir string) string { return filepath.Join(dir, filepath.Base(f.Path)) }

// Begin creates the temporary directory. What an earlier attempt left there is
// deleted: half a file is never continued.
func (f *NewFile) Begin(dir string) error {
	if err := f.Discard(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// Discard deletes the temporary directory, if there is one.
func (f *NewFile) Discard(dir string) error { return os.RemoveAll(dir) }

// Publish moves the complete file from the temporary directory to its path, unless
// something exists there by now. save stores f durably before the file is moved.
func (f *NewFile) Publish(dir string, save func() error) error {
	temp, parent := f.Temp(dir), filepath.Dir(f.Path)
	if f.published() {
		// An earlier attempt was interrupted right after the move.
		return errors.Join(f.Discard(dir), block.SyncFile(parent))
	}
	if err := block.SyncFile(temp); err != nil {
		return err
	}
	made, err := StampOf(temp)
	if err != nil {
		return err
	}
	f.Made = made
	if err := save(); err != nil {
		return err
	}
	if err := checkVacant(f.Path); err != nil {
		return err
	}
	err = block.RenameNew(temp, f.Path, parent)
	if errors.Is(err, fs.ErrExist) {
		return plan.Refuse(plan.FileExists, f.Path, "another program has created %s in the meantime", f.Path)
	}
	return errors.Join(err, f.Discard(dir))
}

// published reports whether the file at Path is the one that was created, whatever
// was written to it since.
func (f *NewFile) published() bool {
	now, err := StampOf(f.Path)
	return err == nil && now.Identity() == f.Made.Identity()
}

// Unpublish deletes the file at its path again. A file that is not the one that was
// created is left alone; one that was written to or is in use since is an error.
func (f *NewFile) Unpublish(ctx context.Context) error {
	if !f.published() {
		return nil
	}
	if now, err := StampOf(f.Path); err != nil || now != f.Made {
		return fmt.Errorf("%s has been written to since it was created: it is not deleted", f.Path)
	}
	if _, err := block.Inspect(ctx, f.Path, f.Format, block.Exclusive); errors.Is(err, block.ErrInUse) {
		return RefuseInUse(f.Path, err)
	}
	return errors.Join(os.Remove(f.Path), block.SyncFile(filepath.Dir(f.Path)))
}
