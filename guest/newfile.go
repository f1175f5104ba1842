package guest

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

// newFile is an image that a job makes. It is made in a folder of the job's beside
// its place, and gets its place only when it is complete. It has its own name in
// that folder as well: some formats keep it inside.
type newFile struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	// Made is what the file was when it was complete, right before it got its
	// place: how a job that was cut off knows it again.
	Made Stamp `json:"made,omitzero"`
}

// openNew refuses a place that is taken, or where nothing can be made. The path
// comes back absolute, with the folder's symbolic links resolved.
func openNew(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(full))
	if errors.Is(err, fs.ErrNotExist) {
		return "", plan.Refuse(plan.NotFound, filepath.Dir(full), "there is no folder %s", filepath.Dir(full))
	}
	if err != nil {
		return "", err
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return "", fmt.Errorf("cannot write to %s: %w", dir, err)
	}
	full = filepath.Join(dir, filepath.Base(full))
	return full, vacant(full)
}

// vacant refuses a place that is taken. A symbolic link takes it as well, wherever
// it points.
func vacant(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = plan.Refuse(plan.FileExists, path, "%s is there already", path)
	}
	return err
}

// lock keeps two jobs from one place: what is not there yet has no inode.
func (f *newFile) lock() (string, error) {
	folder, err := StampOf(filepath.Dir(f.Path))
	if err != nil {
		return "", err
	}
	name := sha256.Sum256([]byte(filepath.Base(f.Path)))
	return fmt.Sprintf("%s-new-%x", folder.Identity(), name[:8]), nil
}

func (f *newFile) folder(j *job) string { return j.beside(f.Path, ".new") }

// temp is where it is until it is complete.
func (f *newFile) temp(j *job) string {
	return filepath.Join(f.folder(j), filepath.Base(f.Path))
}

// begin makes the folder anew: half a file is never gone on with.
func (f *newFile) begin(j *job) error {
	if err := f.drop(j); err != nil {
		return err
	}
	return os.Mkdir(f.folder(j), 0o700)
}

// drop deletes the folder, if it is there.
func (f *newFile) drop(j *job) error { return os.RemoveAll(f.folder(j)) }

// appear gives it its place, unless something has it by now.
func (f *newFile) appear(j *job, keep func() error) error {
	temp, folder := f.temp(j), filepath.Dir(f.Path)
	if f.inPlace() {
		return errors.Join(f.drop(j), block.SyncFile(folder)) // cut off right here
	}
	if err := block.SyncFile(temp); err != nil {
		return err
	}
	made, err := StampOf(temp)
	if err != nil {
		return err
	}
	f.Made = made
	if err := keep(); err != nil {
		return err
	}
	if err := vacant(f.Path); err != nil {
		return err
	}
	err = block.RenameNew(temp, f.Path, folder)
	if errors.Is(err, fs.ErrExist) {
		return plan.Refuse(plan.FileExists, f.Path, "%s is there by now", f.Path)
	}
	return errors.Join(err, f.drop(j))
}

// inPlace says whether the file there is the one that was made; somebody may use it
// by now.
func (f *newFile) inPlace() bool {
	now, err := StampOf(f.Path)
	return err == nil && now.Identity() == f.Made.Identity()
}

// vanish takes it away again. What somebody has used meanwhile stays.
func (f *newFile) vanish(ctx context.Context) error {
	if !f.inPlace() {
		return nil // it never got there, or what is there is somebody else's
	}
	if now, err := StampOf(f.Path); err != nil || now != f.Made {
		return fmt.Errorf("%s was written to since it was made: it is not deleted", f.Path)
	}
	if _, err := block.Inspect(ctx, f.Path, f.Format, block.Exclusive); errors.Is(err, block.ErrInUse) {
		return plan.Refuse(plan.InUse, f.Path, "%s is in use: a running QEMU or qemu-img holds its lock", f.Path)
	}
	return errors.Join(os.Remove(f.Path), block.SyncFile(filepath.Dir(f.Path)))
}
