package device

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// mounting is a file system of a new disk, and its line in the guest's fstab.
type mounting struct {
	Path    string             `json:"path"`
	Options string             `json:"options,omitempty"`
	Entry   fstab.Entry        `json:"entry,omitzero"`
	Change  inside.FstabChange `json:"change,omitzero"`
	// Made are the directories that were made for the mount point, the uppermost first.
	Made []string `json:"made,omitempty"`
}

// mountJob has the steps for one line of the guest's fstab.
type mountJob struct {
	*domainjob.Job
	*mounting
	// save writes the mounting into the journal.
	save func() error
	// device returns the name of the disk in the running guest.
	device func() string
	// file is the change of the fstab of a guest that is off; nil for a running
	// one. content is the content of a new disk.
	file    *files.Change
	content func() []plan.Content
}

// addLine finds the file system on the disk and writes its line.
func (m *mountJob) addLine(ctx context.Context, _ plan.Step) error {
	if m.file != nil {
		return m.addLineOffline()
	}
	err := m.CheckRunning(ctx)
	if err == nil && m.Entry == (fstab.Entry{}) {
		m.Entry, err = m.Inside().EntryFor(ctx, m.device(), m.Path, m.Options)
	}
	if err != nil {
		return err
	}
	return m.Fstab().Edit(ctx, &m.Change, m.save, func(text []byte) ([]byte, error) {
		if err := inside.CheckEntry(m.Guest().Name, text, m.Entry); err != nil {
			return nil, err
		}
		return fstab.Add(text, m.Entry)
	})
}

// removeLine restores the fstab byte for byte, or, if others have changed it since,
// removes the line.
func (m *mountJob) removeLine(ctx context.Context, _ plan.Step) error {
	if m.file != nil || !m.Change.Known {
		return nil
	}
	if err := m.CheckRunning(ctx); err != nil {
		return err
	}
	return m.Fstab().Restore(ctx, m.Change, func(text []byte) ([]byte, error) { return fstab.Remove(text, m.Entry) })
}

// mount mounts the file system of the new line.
func (m *mountJob) mount(ctx context.Context, _ plan.Step) error {
	return m.Inside().Mount(ctx, m.device(), m.Path, func(made []string) error {
		m.Made = append(m.Made, made...)
		return m.save()
	})
}

// unmount undoes mount.
func (m *mountJob) unmount(ctx context.Context, _ plan.Step) error {
	running, err := m.IsRunning(ctx)
	if err != nil || !running {
		return err
	}
	return m.Inside().Unmount(ctx, m.device(), m.Path, m.Made)
}

// CheckMountPoint returns an error for a path at which no disk can be mounted.
func CheckMountPoint(where string) error {
	switch {
	case !path.IsAbs(where) || path.Clean(where) != where || where == "/":
		return fmt.Errorf("%q is not a mount point: it must be an absolute path below /, for example /data", where)
	case strings.ContainsFunc(where, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q contains a control character", where)
	case slices.Contains([]string{"/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/usr", "/bin", "/sbin", "/lib"}, where):
		return fmt.Errorf("%s belongs to the system", where)
	}
	return nil
}
