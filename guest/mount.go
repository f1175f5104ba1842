package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// fstabPath is fstab(5)'s.
const fstabPath = "/etc/fstab"

// mounting is a file system of a new disk, and its line in the guest's fstab.
type mounting struct {
	Path    string      `json:"path"`
	Options string      `json:"options,omitempty"`
	Entry   fstab.Entry `json:"entry,omitzero"`
	Change  fstabChange `json:"change,omitzero"`
	// Made are the folders that were made for the mount point, the first the
	// uppermost.
	Made []string `json:"made,omitempty"`
}

// fstabChange is the guest's fstab before and after.
type fstabChange struct {
	// Known says that it was read, and may have been written.
	Known bool   `json:"known"`
	Old   []byte `json:"old"`
	New   []byte `json:"new"`
}

// free refuses a mount point that is in use in the running guest.
func (m *mounting) free(ctx context.Context, d *domain.Domain) error {
	mounted, err := d.FileSystems(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(mounted, func(f domain.FS) bool { return f.MountPoint == m.Path }) {
		return plan.Refuse(plan.MountTaken, m.Path, "something is mounted at %s in %s", m.Path, d.Name)
	}
	text, err := readFstab(ctx, d)
	if err != nil {
		return err
	}
	return m.fits(d.Name, text, fstab.Entry{Spec: "UUID=new", Mount: m.Path})
}

// fits refuses an entry whose place or file system the fstab has.
func (m *mounting) fits(name string, text []byte, e fstab.Entry) error {
	if other, taken := fstab.Conflict(text, e); taken {
		return plan.Refuse(plan.MountTaken, m.Path, "the fstab of %s has a line for it: %s", name, other)
	}
	return nil
}

// maxFstab bounds what is read of a guest's fstab.
const maxFstab = 64 << 10

// readFstab reads the running guest's.
func readFstab(ctx context.Context, d *domain.Domain) ([]byte, error) {
	text, err := d.Output(ctx, "", "cat", fstabPath)
	if err != nil {
		return nil, fmt.Errorf("cannot read the guest's fstab: %w", err)
	}
	if len(text) > maxFstab {
		return nil, fmt.Errorf("the guest's fstab has %d bytes", len(text))
	}
	return text, nil
}

// mountJob does and undoes the steps about one line of the guest's fstab.
type mountJob struct {
	*job
	*mounting
	// keep writes into the journal what the mounting is at.
	keep func() error
	// device is what the running guest calls the disk.
	device func() string
	// file is the change of the fstab of a guest that is off; nil for a running
	// one. content is what was made on a new disk.
	file    *fileChange
	content func() []plan.Content
}

// inGuest says whether the guest runs, and its agent does the work.
func (j *job) inGuest(ctx context.Context) (bool, error) {
	state, err := j.domain.State(ctx)
	return err == nil && state == domain.Running, err
}

// agentNeeded refuses what the agent has to do in a guest that went off meanwhile.
func (j *job) agentNeeded(ctx context.Context) error {
	running, err := j.inGuest(ctx)
	if err == nil && !running {
		err = plan.Refuse(plan.DomainState, j.domain.Name, "%s is off now, and its agent has to write its fstab", j.domain.Name)
	}
	return err
}

// addLine finds the file system on the disk and writes its line.
func (m *mountJob) addLine(ctx context.Context, _ plan.Step) error {
	if m.file != nil {
		return m.addOffline()
	}
	err := m.agentNeeded(ctx)
	if err == nil && m.Entry == (fstab.Entry{}) {
		m.Entry, err = m.entryFor(ctx)
	}
	if err != nil {
		return err
	}
	return m.changeFstab(ctx, &m.Change, m.keep, func(text []byte) ([]byte, error) {
		if err := m.fits(m.domain.Name, text, m.Entry); err != nil {
			return nil, err
		}
		return fstab.Add(text, m.Entry)
	})
}

var validUUID = regexp.MustCompile(`^[0-9A-Fa-f-]{4,36}$`)

// mountable are the file systems there is a line for, in blkid's words.
var mountable = []string{"xfs", "ext2", "ext3", "ext4", "btrfs", "ntfs", "vfat", "exfat", "f2fs"}

// entryFor waits until the guest has looked at what is on the disk.
func (m *mountJob) entryFor(ctx context.Context) (fstab.Entry, error) {
	var found []domain.Block
	for end := time.Now().Add(10 * time.Second); ; {
		blocks, err := m.domain.Blocks(ctx, m.device())
		if err != nil {
			return fstab.Entry{}, err
		}
		found = slices.DeleteFunc(domain.All(blocks), func(b domain.Block) bool {
			return !slices.Contains(mountable, b.FS) || !validUUID.MatchString(b.UUID)
		})
		if len(found) > 0 || time.Now().After(end) {
			break
		}
		m.activate(ctx, blocks)
		if err := domain.Sleep(ctx, 300*time.Millisecond); err != nil {
			return fstab.Entry{}, err
		}
	}
	if len(found) != 1 {
		return fstab.Entry{}, notOne(m.device(), len(found))
	}
	e := fstab.For(found[0].UUID, found[0].FS, m.Path, m.Options)
	if e.Type == "ntfs3" && !m.knows(ctx, "ntfs3") {
		e.Type = "ntfs-3g"
	}
	return e, nil
}

var validGroup = regexp.MustCompile(`^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$`)

// activate activates the volume groups on a disk, where udev has not done it.
func (j *job) activate(ctx context.Context, blocks []domain.Block) {
	for _, b := range domain.All(blocks) {
		if b.FS != plan.ContentPV || len(b.Below) > 0 {
			continue
		}
		out, err := j.domain.Output(ctx, "", "lvm", "pvs", "--noheadings", "--options", "vg_name", b.Name)
		if group := strings.TrimSpace(string(out)); err == nil && validGroup.MatchString(group) {
			_, _ = j.domain.Output(ctx, "", "lvm", "vgchange", "--activate", "y", group)
		}
	}
}

// deactivate deactivates the logical volumes on a disk.
func (j *job) deactivate(ctx context.Context, blocks []domain.Block) error {
	for _, b := range domain.All(blocks) {
		if b.Type != "lvm" {
			continue
		}
		if _, err := j.domain.Output(ctx, "", "lvm", "lvchange", "--activate", "n", b.Name); err != nil {
			return fmt.Errorf("cannot deactivate %s: %w", b.Name, err)
		}
	}
	return nil
}

// knows says whether the guest's kernel has a file system, or a module for it.
func (j *job) knows(ctx context.Context, fs string) bool {
	list, _ := j.domain.Output(ctx, "", "cat", "/proc/filesystems")
	if slices.Contains(strings.Fields(string(list)), fs) {
		return true
	}
	module, err := j.domain.Test(ctx, "modprobe", "-n", fs)
	return err == nil && module
}

func notOne(device string, n int) error {
	return plan.Refuse(plan.UnknownContent, device, "%d file systems are on %s that could be mounted: one is wanted", n, device)
}

// takeLineBack restores fstab byte for byte, where nobody else has changed it
// since.
func (m *mountJob) takeLineBack(ctx context.Context, _ plan.Step) error {
	if m.file != nil || !m.Change.Known {
		return nil
	}
	if err := m.agentNeeded(ctx); err != nil {
		return err
	}
	return m.restoreFstab(ctx, m.Change, func(text []byte) ([]byte, error) { return fstab.Remove(text, m.Entry) })
}

// besideFstab is a file of the job beside the guest's fstab.
func (j *job) besideFstab(ending string) string {
	return fstabPath + ".virt-grow-" + j.held.ID + ending
}

// changeFstab has the agent write a running guest's fstab anew. The old one is
// kept beside it.
func (j *job) changeFstab(ctx context.Context, c *fstabChange, keep func() error, change func([]byte) ([]byte, error)) error {
	text, err := readFstab(ctx, j.domain)
	if err != nil {
		return err
	}
	if c.Known && bytes.Equal(text, c.New) {
		return nil // a crash came right after it
	}
	if err := j.plainFstab(ctx); err != nil {
		return err
	}
	changed, err := change(text)
	if err != nil {
		return err
	}
	*c = fstabChange{Known: true, Old: text, New: changed}
	if err := keep(); err != nil {
		return err
	}
	if _, err := j.domain.Output(ctx, "", "cp", "-a", fstabPath, j.besideFstab("")); err != nil {
		return fmt.Errorf("cannot keep the guest's fstab: %w", err)
	}
	return j.writeFstab(ctx, changed)
}

// plainFstab refuses an fstab that is a link: another program writes it.
func (j *job) plainFstab(ctx context.Context) error {
	link, err := j.domain.Test(ctx, "test", "-L", fstabPath)
	if err == nil && link {
		err = plan.Refuse(plan.UnsupportedLayout, j.domain.Name, "%s of %s is a symbolic link: another program writes it", fstabPath, j.domain.Name)
	}
	return err
}

// writeFstab writes a new file beside it and moves that into its place when it is
// whole and on the disk. Owner, mode and labels are the old one's.
func (j *job) writeFstab(ctx context.Context, text []byte) error {
	fresh := j.besideFstab(".new")
	steps := [][]string{{"cp", "-a", fstabPath, fresh}, {"tee", fresh}, {"sync"}}
	for _, command := range steps {
		input := ""
		if command[0] == "tee" {
			input = string(text)
		}
		if _, err := j.domain.Output(ctx, input, command...); err != nil {
			return fmt.Errorf("cannot write the guest's fstab: %w", err)
		}
	}
	if back, err := j.domain.Output(ctx, "", "cat", fresh); err != nil || !bytes.Equal(back, text) {
		return errors.Join(errors.New("the guest's new fstab does not read back as it was written"), err)
	}
	if err := j.fault(ctx, "fstab/written"); err != nil {
		return err
	}
	return j.moveFstab(ctx, fresh, text)
}

// fault makes a point within a step fail, in tests.
func (j *job) fault(ctx context.Context, point string) error {
	if j.options.Fault == nil {
		return nil
	}
	return j.options.Fault(ctx, point)
}

// moveFstab makes a file the guest's fstab, and reads that back.
func (j *job) moveFstab(ctx context.Context, from string, text []byte) error {
	for _, command := range [][]string{{"mv", "-f", from, fstabPath}, {"sync"}} {
		if _, err := j.domain.Output(ctx, "", command...); err != nil {
			return fmt.Errorf("cannot write the guest's fstab: %w", err)
		}
	}
	if err := j.fault(ctx, "fstab/moved"); err != nil {
		return err
	}
	back, err := readFstab(ctx, j.domain)
	if err == nil && !bytes.Equal(back, text) {
		err = errors.New("the guest's fstab does not read back as it was written")
	}
	if err != nil {
		return err
	}
	return j.reloadMounts(ctx)
}

// reloadMounts tells systemd, which makes units of fstab's lines.
func (j *job) reloadMounts(ctx context.Context) error {
	if there, err := j.domain.Test(ctx, "test", "-d", "/run/systemd/system"); err != nil || !there {
		return err
	}
	_, err := j.domain.Output(ctx, "", "systemctl", "daemon-reload")
	return err
}

// restoreFstab puts the old fstab of a running guest back, and leaves none of the
// job's files. Where somebody else has written it since, undo takes back only what
// the job did.
func (j *job) restoreFstab(ctx context.Context, c fstabChange, undo func([]byte) ([]byte, error)) error {
	text, err := readFstab(ctx, j.domain)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(text, c.Old):
	case bytes.Equal(text, c.New):
		err = j.oldFstab(ctx, c)
	default:
		j.note("the guest's fstab was edited meanwhile: only the job's own change is taken back")
		if text, err = undo(text); err == nil {
			err = j.writeFstab(ctx, text)
		}
	}
	if err != nil {
		return err
	}
	_, err = j.domain.Output(ctx, "", "rm", "-f", j.besideFstab(""), j.besideFstab(".new"))
	return err
}

// oldFstab moves the file from before back to its place, with its times; if that is
// not what it was, its text is written.
func (j *job) oldFstab(ctx context.Context, c fstabChange) error {
	kept, err := j.domain.Output(ctx, "", "cat", j.besideFstab(""))
	if err == nil && bytes.Equal(kept, c.Old) {
		return j.moveFstab(ctx, j.besideFstab(""), c.Old)
	}
	return j.writeFstab(ctx, c.Old)
}

// mount mounts by the new line, and has the agent see it.
func (m *mountJob) mount(ctx context.Context, _ plan.Step) error {
	if at, err := m.mountedFrom(ctx); err != nil || at {
		return err
	}
	if err := m.makeFolder(ctx); err != nil {
		return err
	}
	if _, err := m.domain.Output(ctx, "", "mount", m.Path); err != nil {
		return fmt.Errorf("cannot mount %s: %w", m.Path, err)
	}
	all, err := m.domain.FileSystems(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(f domain.FS) bool { return f.MountPoint == m.Path }) {
		return fmt.Errorf("mounted at %s, but the guest agent does not see it", m.Path)
	}
	if at, err := m.mountedFrom(ctx); err != nil || !at {
		return errors.Join(fmt.Errorf("what is mounted at %s is not on %s", m.Path, m.device()), err)
	}
	return nil
}

// mountedFrom says whether the new disk is mounted there.
func (m *mountJob) mountedFrom(ctx context.Context) (bool, error) {
	blocks, err := m.domain.Blocks(ctx, m.device())
	return slices.ContainsFunc(domain.All(blocks), func(b domain.Block) bool { return b.Mount == m.Path }), err
}

// makeFolder makes the mount point, and writes down which folders were not there.
func (m *mountJob) makeFolder(ctx context.Context) error {
	var made []string
	for dir := m.Path; dir != "/"; dir = path.Dir(dir) {
		there, err := m.domain.Test(ctx, "test", "-d", dir)
		if err != nil {
			return err
		}
		if there {
			break
		}
		made = append(made, dir)
	}
	if len(made) == 0 {
		return nil
	}
	slices.Reverse(made)
	m.Made = append(m.Made, made...)
	if err := m.keep(); err != nil {
		return err
	}
	_, err := m.domain.Output(ctx, "", "mkdir", "-p", m.Path)
	return err
}

// unmount takes the mount back, and the folders made for it.
func (m *mountJob) unmount(ctx context.Context, _ plan.Step) error {
	running, err := m.inGuest(ctx)
	if err != nil || !running {
		return err
	}
	at, err := m.mountedFrom(ctx)
	if at {
		_, err = m.domain.Output(ctx, "", "umount", m.Path)
	}
	if err != nil {
		return err
	}
	blocks, err := m.domain.Blocks(ctx, m.device())
	if err == nil {
		err = m.deactivate(ctx, blocks)
	}
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(m.Made) {
		if there, err := m.domain.Test(ctx, "test", "-d", dir); err != nil || !there {
			return err
		}
		if _, err := m.domain.Output(ctx, "", "rmdir", dir); err != nil {
			return err
		}
	}
	return nil
}

// CheckMountPoint refuses what no disk is mounted at.
func CheckMountPoint(where string) error {
	switch {
	case !path.IsAbs(where) || path.Clean(where) != where || where == "/":
		return fmt.Errorf("%q is no mount point: it is an absolute path below /, as /data", where)
	case strings.ContainsFunc(where, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q has a control character in it", where)
	}
	for _, own := range []string{"/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/usr", "/bin", "/sbin", "/lib"} {
		if where == own {
			return fmt.Errorf("%s belongs to the system", where)
		}
	}
	return nil
}
