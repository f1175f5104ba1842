package inside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

var (
	errSilent = errors.New("the agent does not answer")
	errKilled = errors.New("killed")
	// errMayNotExec is the error of an agent whose distribution disables guest-exec.
	errMayNotExec = fmt.Errorf("%w: guest-exec has been disabled", domain.ErrMayNotExec)
)

var dataLine = fstab.For("bbbb-1", "xfs", "/mnt/data", "")

const newFstab = oldFstab + "UUID=bbbb-1 /mnt/data xfs defaults,nofail 0 0\n"

// edit is one edit of a machine's fstab, with the data that the journal would have.
type edit struct {
	FstabEditor
	change FstabChange
	notes  []string
}

func newEdit(m *machine) *edit {
	e := &edit{}
	e.FstabEditor = FstabEditor{Guest: m.guest(), ID: "job", Note: func(format string, args ...any) { e.notes = append(e.notes, fmt.Sprintf(format, args...)) }}
	e.Reached = func(context.Context, string) error { return nil }
	return e
}

func (e *edit) add(t *testing.T) error {
	return e.Edit(t.Context(), &e.change, func() error { return nil }, func(text []byte) ([]byte, error) { return fstab.Add(text, dataLine) })
}

func (e *edit) restore(t *testing.T) error {
	if !e.change.Known {
		return nil
	}
	return e.Restore(t.Context(), e.change, func(text []byte) ([]byte, error) { return fstab.Remove(text, dataLine) })
}

// checkFiles fails unless the machine has that fstab and only those files beside it.
func checkFiles(t *testing.T, m *machine, text string, beside ...string) {
	t.Helper()
	if got := m.files[fstab.Path]; got != text {
		t.Errorf("the fstab is\n%s", got)
	}
	for name := range m.files {
		if name != fstab.Path && !slices.Contains(beside, name) {
			t.Errorf("%s is left behind", name)
		}
	}
}

func TestEdit(t *testing.T) {
	m := linux()
	e := newEdit(m)
	for range 2 { // the edit can be repeated
		if err := e.add(t); err != nil {
			t.Fatal(err)
		}
		checkFiles(t, m, newFstab, e.Backup())
	}
	if got := m.files[e.Backup()]; got != oldFstab {
		t.Errorf("kept is\n%s", got)
	}
	if n := len(m.ranOf("systemctl daemon-reload")); n != 1 {
		t.Errorf("systemd was reloaded %d times", n)
	}
	if err := e.restore(t); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, m, oldFstab)
	if n := len(m.ranOf("systemctl daemon-reload")); n != 2 {
		t.Errorf("systemd was reloaded %d times", n)
	}
}

// TestEditCutOff checks that the fstab is the old one or the new one wherever an edit is
// interrupted. Repeating it ends with the new one, undoing it with the old one, and no
// other file is left.
func TestEditCutOff(t *testing.T) {
	for name, end := range map[string]struct {
		how  func(*edit, *testing.T) error
		want string
	}{"repeated": {(*edit).add, newFstab}, "undone": {(*edit).restore, oldFstab}} {
		t.Run(name, func(t *testing.T) {
			for at := 0; ; at++ {
				m := linux()
				e := newEdit(m)
				calls := 0
				m.before = func(string) {
					if clear(m.failing); calls == at {
						m.failing[""] = errSilent
					}
					calls++
				}
				failed := e.add(t)
				if now := m.files[fstab.Path]; now != oldFstab && now != newFstab {
					t.Fatalf("cut off at program %d, the fstab is\n%s", at, now)
				}
				if m.before = nil; failed == nil && at > calls {
					return
				}
				clear(m.failing)
				if err := end.how(e, t); err != nil {
					t.Fatalf("cut off at program %d: %v", at, err)
				}
				if end.want == newFstab {
					checkFiles(t, m, newFstab, e.Backup())
				} else {
					checkFiles(t, m, oldFstab)
				}
			}
		})
	}
}

// TestEditReached checks that an edit can be interrupted at its two points.
func TestEditReached(t *testing.T) {
	for point, want := range map[string]string{"fstab/written": oldFstab, "fstab/moved": newFstab} {
		m := linux()
		e := newEdit(m)
		e.Reached = func(_ context.Context, p string) error {
			if p == point {
				return errKilled
			}
			return nil
		}
		if err := e.add(t); !errors.Is(err, errKilled) || m.files[fstab.Path] != want {
			t.Errorf("%s: %v, and the fstab is\n%s", point, err, m.files[fstab.Path])
		}
	}
}

func TestEditFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		want   string
		reason plan.Reason
	}{
		"a link":          {func(m *machine) { m.links = []string{fstab.Path} }, "symbolic link", plan.UnsupportedLayout},
		"too large":       {func(m *machine) { m.files[fstab.Path] = strings.Repeat("#", maxFstab+1) }, "65537 bytes", ""},
		"none":            {func(m *machine) { delete(m.files, fstab.Path) }, "cannot read", ""},
		"taken":           {func(m *machine) { m.files[fstab.Path] += "/dev/vdc /mnt/data ext4\n" }, "fstab has the entry", ""},
		"no programs":     {func(m *machine) { m.failing[""] = errMayNotExec }, "does not run programs", ""},
		"a full disk":     {func(m *machine) { m.failing["tee"] = 1 }, "cannot write", ""},
		"systemd says no": {func(m *machine) { m.failing["systemctl"] = 1 }, "systemctl", ""},
		"cannot be kept":  {func(m *machine) { m.failing["cp -a /etc/fstab /etc/fstab.virt-grow-job"] = 1 }, "cannot save", ""},
		"another text is read": {func(m *machine) {
			m.before = func(line string) {
				if line == "sync" {
					m.files[fstab.Path+".virt-grow-job.new"] = "rubbish"
				}
			}
		}, "differs from what was written", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			c.change(m)
			err := newEdit(m).add(t)
			r, refused := plan.IsRefusal(err)
			if err == nil || !strings.Contains(err.Error(), c.want) || refused != (c.reason != "") || refused && r.Reason != c.reason {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestRestoreAfterOthers checks that later changes by other programs are kept.
func TestRestoreAfterOthers(t *testing.T) {
	m := linux()
	e := newEdit(m)
	if err := e.add(t); err != nil {
		t.Fatal(err)
	}
	m.files[fstab.Path] += "tmpfs /tmp tmpfs\n"
	if err := e.restore(t); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, m, oldFstab+"tmpfs /tmp tmpfs\n")
	if len(e.notes) != 1 {
		t.Errorf("notes: %q", e.notes)
	}
}

// TestRestoreWithoutBackup checks that the old text is written if the backup file was
// changed.
func TestRestoreWithoutBackup(t *testing.T) {
	m := linux()
	e := newEdit(m)
	if err := e.add(t); err != nil {
		t.Fatal(err)
	}
	m.files[e.Backup()] = "rubbish"
	if err := e.restore(t); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, m, oldFstab)
}

func TestEntryForContent(t *testing.T) {
	for name, c := range map[string]struct {
		found   []plan.Content
		want    string
		refused bool
	}{
		"one":         {[]plan.Content{{Type: "xfs", UUID: "bbbb-1"}, {Type: "swap", UUID: "cccc-1"}}, "UUID=bbbb-1 /d xfs ro,nofail 0 0", false},
		"two":         {[]plan.Content{{Type: "xfs", UUID: "bbbb-1"}, {Type: "ext4", UUID: "cccc-1"}}, "", true},
		"none":        {nil, "", true},
		"a bad UUID":  {[]plan.Content{{Type: "xfs", UUID: "b b"}}, "", true},
		"no sensible": {[]plan.Content{{Type: "zfs_member", UUID: "bbbb-1"}}, "", true},
	} {
		e, err := EntryFor("/dev/vdb", c.found, "/d", "ro")
		if r, refused := plan.IsRefusal(err); refused != c.refused || refused && r.Reason != plan.UnknownContent || !refused && e.String() != c.want {
			t.Errorf("%s: %s (%v)", name, e, err)
		}
	}
}

// TestEntryFor checks the entry for a file system that the guest may find only after
// some time.
func TestEntryFor(t *testing.T) {
	volume := live.Device{Path: "/dev/mapper/vg-data", Parent: "/dev/vdc", Kind: "lvm", FS: "ext4", UUID: "eeee-1"}
	for name, c := range map[string]struct {
		disk   live.Device
		change func(*machine)
		want   string
		err    string
	}{
		"by udev": {disk: live.Device{FS: "xfs", UUID: "dddd-1"}, want: "UUID=dddd-1 /d xfs"},
		"by blkid": {change: func(m *machine) {
			m.blkid = map[string]string{"/dev/vdc": "DEVNAME=/dev/vdc\nUUID=dddd-1\nTYPE=vfat\n"}
		}, want: "UUID=dddd-1 /d vfat"},
		"in a group":        {disk: live.Device{FS: "LVM2_member", UUID: "pv"}, change: func(m *machine) { m.groups = map[string][]live.Device{"vg": {volume}} }, want: "UUID=eeee-1 /d ext4"},
		"after a while":     {change: func(m *machine) { m.before = appearsAfter(m, 3) }, want: "UUID=dddd-1 /d xfs"},
		"two":               {disk: live.Device{FS: "xfs", UUID: "dddd-1"}, change: func(m *machine) { m.devices = append(m.devices, volume) }, err: "2 file systems"},
		"NTFS":              {disk: live.Device{FS: "ntfs", UUID: "dddd-1"}, change: func(m *machine) { m.files["/proc/filesystems"] = "nodev\tproc\n\tntfs3\n" }, want: "UUID=dddd-1 /d ntfs3"},
		"NTFS by FUSE":      {disk: live.Device{FS: "ntfs", UUID: "dddd-1"}, want: "UUID=dddd-1 /d ntfs-3g"},
		"no such disk":      {change: func(m *machine) { m.failing["lsblk"] = 1 }, err: "lsblk ended with status 1"},
		"no programs":       {change: func(m *machine) { m.failing[""] = errMayNotExec }, err: "does not run programs"},
		"no list of mounts": {change: func(m *machine) { m.failing["cat /proc/self/mounts"] = errSilent }, err: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			c.disk.Path, c.disk.Kind = "/dev/vdc", "disk"
			m.devices = append(m.devices, c.disk)
			if c.change != nil {
				c.change(m)
			}
			e, err := m.guest().EntryFor(t.Context(), "/dev/vdc", "/d", "")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %s", err, c.err)
				}
			} else if err != nil || !strings.HasPrefix(e.String(), c.want+" ") {
				t.Errorf("%s (%v), want %s", e, err, c.want)
			}
		})
	}
}

// appearsAfter makes the disk's XFS appear in the nth call of lsblk.
func appearsAfter(m *machine, n int) func(string) {
	return func(line string) {
		if strings.HasPrefix(line, "lsblk") {
			n--
		}
		if last := &m.devices[len(m.devices)-1]; n == 0 {
			last.FS, last.UUID = "xfs", "dddd-1"
		}
	}
}

func TestEntryForNothing(t *testing.T) {
	m := linux()
	m.devices = append(m.devices, live.Device{Path: "/dev/vdc", Kind: "disk"})
	_, err := m.impatient().EntryFor(t.Context(), "/dev/vdc", "/d", "")
	if r, refused := plan.IsRefusal(err); !refused || r.Reason != plan.UnknownContent || !strings.HasPrefix(r.Text, "0 file systems") {
		t.Errorf("%v", err)
	}
}

func TestLinesOf(t *testing.T) {
	m := linux()
	m.files[fstab.Path] += "/dev/vdb /old xfs\nUUID=\"BBBB-1\" /data xfs noauto\n/dev/vdc /c ext4\n"
	lines, err := m.guest().LinesOf(t.Context(), m.devices[2:])
	if err != nil || len(lines) != 2 || lines[0].Mount != "/old" || lines[1].Mount != "/data" {
		t.Errorf("%v (%v)", lines, err)
	}
	delete(m.files, fstab.Path)
	if _, err := m.guest().LinesOf(t.Context(), nil); err == nil {
		t.Error("an fstab that cannot be read has lines")
	}
}
