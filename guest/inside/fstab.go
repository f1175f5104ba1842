package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

// CheckEntry returns a refusal if the fstab of the guest of that name has a line for the
// entry's mount point or file system.
func CheckEntry(name string, text []byte, e fstab.Entry) error {
	if other, taken := fstab.Conflict(text, e); taken {
		return plan.Refuse(plan.MountTaken, e.Mount, "the fstab of %s already has a line for it: %s", name, other)
	}
	return nil
}

// EntryFor returns the line for the only file system on a device. found is what is on
// the device; options take the place of "defaults".
func EntryFor(device string, found []plan.Content, at, options string) (fstab.Entry, error) {
	found = slices.DeleteFunc(slices.Clone(found), func(c plan.Content) bool { return !fstab.Mountable(c.Type, c.UUID) })
	if len(found) != 1 {
		return fstab.Entry{}, plan.Refuse(plan.UnknownContent, device, "%d file systems on %s could be mounted, and exactly one is needed", len(found), device)
	}
	return fstab.For(found[0].UUID, found[0].Type, at, options), nil
}

// EntryFor returns the line for the only file system on a device, once the guest has
// looked at what is on it.
func (g *Guest) EntryFor(ctx context.Context, device, at, options string) (fstab.Entry, error) {
	var e fstab.Entry
	var refusal error
	err := poll.Until(ctx, poll.Wait{For: "a file system on " + device, Every: g.waits.every, Limit: g.waits.content}, func() (bool, error) {
		devices, err := g.Blocks(ctx, device)
		if err != nil {
			return false, err
		}
		found := mountable(devices)
		if e, refusal = EntryFor(device, found, at, options); len(found) > 0 {
			return true, nil
		}
		g.activateGroups(ctx, devices)
		return false, nil
	})
	if errors.Is(err, poll.ErrTimeout) || err == nil {
		err = refusal
	}
	if e.Type == "ntfs3" && !g.supports(ctx, "ntfs3") {
		e.Type = "ntfs-3g"
	}
	return e, err
}

// mountable lists what is on the devices and can have a line.
func mountable(devices []live.Device) []plan.Content {
	var found []plan.Content
	for _, d := range devices {
		if fstab.Mountable(d.FS, d.UUID) {
			found = append(found, plan.Content{Type: d.FS, UUID: d.UUID})
		}
	}
	return found
}

// supports reports whether the guest's kernel has a file system, or a module for it.
func (g *Guest) supports(ctx context.Context, fs string) bool {
	list, _ := g.output(ctx, "cat", "/proc/filesystems")
	if slices.Contains(strings.Fields(string(list)), fs) {
		return true
	}
	module, err := g.test(ctx, "modprobe", "-n", fs)
	return err == nil && module
}

// LinesOf lists the lines of the guest's fstab for the devices.
func (g *Guest) LinesOf(ctx context.Context, devices []live.Device) ([]fstab.Entry, error) {
	text, err := g.readFstab(ctx)
	if err != nil {
		return nil, err
	}
	var specs []string
	for _, d := range devices {
		specs = append(specs, d.Path)
		if d.UUID != "" {
			specs = append(specs, "UUID="+d.UUID)
		}
	}
	return fstab.Naming(text, specs...), nil
}

// maxFstab bounds what is read of a guest's fstab.
const maxFstab = 64 << 10

func (g *Guest) readFstab(ctx context.Context) ([]byte, error) {
	text, err := g.output(ctx, "cat", fstab.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the guest's fstab: %w", err)
	}
	if len(text) > maxFstab {
		return nil, fmt.Errorf("the guest's fstab is too large: %d bytes", len(text))
	}
	return text, nil
}

// FstabChange is a guest's fstab before and after an edit.
type FstabChange struct {
	// Known reports that the fstab was read, and that the edit may have been made.
	Known bool   `json:"known"`
	Old   []byte `json:"old"`
	New   []byte `json:"new"`
}

// FstabEditor edits the fstab of a running guest. Until the edit is undone, the old file is
// kept in the same directory.
type FstabEditor struct {
	Guest *Guest
	// ID makes the names of the editor's files unique.
	ID string
	// Note is called with messages for the user.
	Note func(format string, args ...any)
	// Reached is called when the new text is written ("fstab/written") and when it has
	// become the fstab ("fstab/moved"). An error of it ends the edit there.
	Reached func(ctx context.Context, point string) error
}

// Backup returns the file that keeps the old fstab.
func (f FstabEditor) Backup() string { return fstab.Path + ".virt-grow-" + f.ID }

// Edit has the guest write its fstab anew. c is filled in and saved before that. When it
// is repeated after a crash, a change that was made already is left as it is.
func (f FstabEditor) Edit(ctx context.Context, c *FstabChange, save func() error, edit func([]byte) ([]byte, error)) error {
	text, err := f.Guest.readFstab(ctx)
	if err != nil {
		return err
	}
	if c.Known && bytes.Equal(text, c.New) {
		return nil
	}
	if err := f.checkPlain(ctx); err != nil {
		return err
	}
	edited, err := edit(text)
	if err != nil {
		return err
	}
	*c = FstabChange{Known: true, Old: text, New: edited}
	if err := save(); err != nil {
		return err
	}
	if _, err := f.Guest.output(ctx, "cp", "-a", fstab.Path, f.Backup()); err != nil {
		return fmt.Errorf("cannot save the guest's fstab: %w", err)
	}
	return f.write(ctx, edited)
}

// checkPlain returns a refusal if the fstab is a symbolic link: another program writes
// what it points to.
func (f FstabEditor) checkPlain(ctx context.Context) error {
	link, err := f.Guest.test(ctx, "test", "-L", fstab.Path)
	if err == nil && link {
		err = plan.Refuse(plan.UnsupportedLayout, f.Guest.name, "%s of %s is a symbolic link: another program writes it", fstab.Path, f.Guest.name)
	}
	return err
}

// write writes a new file next to the fstab, and renames it when it is complete and on the
// disk. Owner, mode and labels are those of the fstab.
func (f FstabEditor) write(ctx context.Context, text []byte) error {
	fresh := f.Backup() + ".new"
	for _, command := range [][]string{{"cp", "-a", fstab.Path, fresh}, {"tee", fresh}, {"sync"}} {
		input := ""
		if command[0] == "tee" {
			input = string(text)
		}
		if _, err := f.Guest.outputOf(ctx, input, command...); err != nil {
			return fmt.Errorf("cannot write the guest's fstab: %w", err)
		}
	}
	if back, err := f.Guest.output(ctx, "cat", fresh); err != nil || !bytes.Equal(back, text) {
		return errors.Join(errors.New("the guest's new fstab differs from what was written"), err)
	}
	if err := f.Reached(ctx, "fstab/written"); err != nil {
		return err
	}
	return f.rename(ctx, fresh, text)
}

// rename makes a file the guest's fstab, reads that back, and has systemd read it.
func (f FstabEditor) rename(ctx context.Context, from string, text []byte) error {
	for _, command := range [][]string{{"mv", "-f", from, fstab.Path}, {"sync"}} {
		if _, err := f.Guest.output(ctx, command...); err != nil {
			return fmt.Errorf("cannot write the guest's fstab: %w", err)
		}
	}
	if err := f.Reached(ctx, "fstab/moved"); err != nil {
		return err
	}
	back, err := f.Guest.readFstab(ctx)
	if err == nil && !bytes.Equal(back, text) {
		err = errors.New("the guest's fstab differs from what was written")
	}
	if err != nil {
		return err
	}
	return f.Guest.reloadSystemd(ctx)
}

// reloadSystemd makes systemd generate its mount units from the fstab again.
func (g *Guest) reloadSystemd(ctx context.Context) error {
	if there, err := g.test(ctx, "test", "-d", "/run/systemd/system"); err != nil || !there {
		return err
	}
	_, err := g.output(ctx, "systemctl", "daemon-reload")
	return err
}

// Restore puts the old fstab back, and removes the editor's files. If the fstab was
// changed by others since, undo only undoes the editor's change.
func (f FstabEditor) Restore(ctx context.Context, c FstabChange, undo func([]byte) ([]byte, error)) error {
	text, err := f.Guest.readFstab(ctx)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(text, c.Old):
	case bytes.Equal(text, c.New):
		err = f.restoreOld(ctx, c.Old)
	default:
		f.Note("the guest's fstab was edited in the meantime: only the job's own change is undone")
		if text, err = undo(text); err == nil {
			err = f.write(ctx, text)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Guest.output(ctx, "rm", "-f", f.Backup(), f.Backup()+".new")
	return err
}

// restoreOld renames the kept file back, which has its times; if that is not what it
// was, its text is written.
func (f FstabEditor) restoreOld(ctx context.Context, old []byte) error {
	kept, err := f.Guest.output(ctx, "cat", f.Backup())
	if err == nil && bytes.Equal(kept, old) {
		return f.rename(ctx, f.Backup(), old)
	}
	return f.write(ctx, old)
}
