package inside

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

func TestCheckMountPoint(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		at     string
		reason plan.Reason
		failed bool
	}{
		"free":                {at: "/mnt/data"},
		"mounted":             {change: func(m *machine) { m.mounted = append(m.mounted, mounted{"/dev/vdb", "/mnt/data"}) }, at: "/mnt/data", reason: plan.MountTaken},
		"in the fstab":        {change: func(m *machine) { m.files[fstab.Path] += "/dev/vdc /mnt/data ext4\n" }, at: "/mnt/data", reason: plan.MountTaken},
		"the agent is silent": {change: func(m *machine) { m.failing["guest-get-fsinfo"] = errSilent }, at: "/mnt/data", failed: true},
		"no programs":         {change: func(m *machine) { m.failing["cat"] = errMayNotExec }, at: "/mnt/data", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			if c.change != nil {
				c.change(m)
			}
			err := m.guest().CheckMountPoint(t.Context(), c.at)
			r, refused := plan.IsRefusal(err)
			if refused != (c.reason != "") || refused && r.Reason != c.reason || !refused && (err != nil) != c.failed {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMount(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		at     string
		made   string
		want   string // "" for no error
	}{
		"new directories":  {at: "/mnt/new/data", made: "[/mnt/new /mnt/new/data]"},
		"an old directory": {at: "/mnt", made: "[]"},
		"mounted already": {at: "/mnt/data", made: "[]", change: func(m *machine) {
			m.mounted = append(m.mounted, mounted{"/dev/vdb", "/mnt/data"})
			m.failing["mount"] = 1
		}},
		"mount fails":         {at: "/mnt/data", made: "[/mnt/data]", change: func(m *machine) { m.failing["mount"] = 32 }, want: "cannot mount /mnt/data: mount ended with status 32: target is busy"},
		"the agent is blind":  {at: "/mnt", made: "[]", change: func(m *machine) { m.unseen = []string{"/mnt"} }, want: "does not see it"},
		"the agent is silent": {at: "/mnt", made: "[]", change: func(m *machine) { m.failing["guest-get-fsinfo"] = errSilent }, want: "does not answer"},
		"another disk": {at: "/mnt", made: "[]", want: "is not on /dev/vdb", change: func(m *machine) {
			m.files[fstab.Path] = strings.Replace(m.files[fstab.Path], "bbbb-1", "aaaa-1", 1)
		}},
		"no directory": {at: "/mnt/data", made: "[/mnt/data]", change: func(m *machine) { m.failing["mkdir"] = 1 }, want: "mkdir"},
		"no programs":  {at: "/mnt", made: "[]", change: func(m *machine) { m.failing[""] = errMayNotExec }, want: "does not run programs"},
		"no test":      {at: "/mnt", made: "[]", change: func(m *machine) { m.failing["test"] = errSilent }, want: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			m.files[fstab.Path] += "UUID=bbbb-1 " + c.at + " xfs\n"
			if c.change != nil {
				c.change(m)
			}
			var made []string
			err := m.guest().Mount(t.Context(), "/dev/vdb", c.at, func(dirs []string) error { made = dirs; return nil })
			if fmt.Sprint(made) != c.made {
				t.Errorf("made %v, want %s", made, c.made)
			}
			if c.want == "" && (err != nil || m.at(c.at) != "/dev/vdb") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestMountNotSaved checks that no directory is created before it is saved in the
// journal.
func TestMountNotSaved(t *testing.T) {
	m := linux()
	err := m.guest().Mount(t.Context(), "/dev/vdb", "/mnt/data", func([]string) error { return errKilled })
	if err == nil || len(m.ranOf("mkdir")) > 0 {
		t.Errorf("%v, and %q", err, m.ran)
	}
}

// TestMountFails checks that the line and the directories are removed if the mount
// fails.
func TestMountFails(t *testing.T) {
	m := linux()
	e := newEdit(m)
	if err := e.add(t); err != nil {
		t.Fatal(err)
	}
	dirs := slices.Clone(m.dirs)
	m.failing["mount"] = 32
	var made []string
	if err := m.guest().Mount(t.Context(), "/dev/vdb", "/mnt/data", func(d []string) error { made = d; return nil }); err == nil {
		t.Fatal("mounted")
	}
	for range 2 { // undoing can be repeated
		if err := m.guest().Unmount(t.Context(), "/dev/vdb", "/mnt/data", made); err != nil {
			t.Fatal(err)
		}
		if err := e.restore(t); err != nil {
			t.Fatal(err)
		}
	}
	checkFiles(t, m, oldFstab)
	if !slices.Equal(m.dirs, dirs) {
		t.Errorf("directories are %v", m.dirs)
	}
}

func TestUnmount(t *testing.T) {
	for name, c := range map[string]struct {
		failing, want string
	}{
		"done":                {},
		"busy":                {"umount", "target is busy"},
		"volume in use":       {"lvm lvchange", "cannot deactivate /dev/mapper/vg-data"},
		"directory not empty": {"rmdir", "rmdir"},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			m.devices = append(m.devices, live.Device{Path: "/dev/mapper/vg-data", Parent: "/dev/vdb", Kind: "lvm", FS: "xfs", UUID: "eeee-1"})
			m.mounted = append(m.mounted, mounted{"/dev/mapper/vg-data", "/mnt/data"})
			m.dirs = append(m.dirs, "/mnt/data")
			if c.failing != "" {
				m.failing[c.failing] = 32
			}
			err := m.guest().Unmount(t.Context(), "/dev/vdb", "/mnt/data", []string{"/mnt/data"})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %s", err, c.want)
				}
				return
			}
			if err != nil || m.at("/mnt/data") != "" || len(m.devices) != 3 || slices.Contains(m.dirs, "/mnt/data") {
				t.Errorf("%v: %+v", err, m)
			}
		})
	}
}

// used returns a machine whose vdb has a volume group with swap, a volume, and a volume
// that is mounted below the first and at a second place. vda has another swap.
func used() *machine {
	m := linux()
	m.devices = append(m.devices[:2], []live.Device{
		{Path: "/dev/vda2", Parent: "/dev/vda", Kind: "part", FS: "swap", UUID: "aaaa-2"},
		{Path: "/dev/vdb", Kind: "disk"},
		{Path: "/dev/vdb1", Parent: "/dev/vdb", Kind: "part", FS: "swap", UUID: "bbbb-1"},
		{Path: "/dev/vdb2", Parent: "/dev/vdb", Kind: "part", FS: "swap", UUID: "bbbb-2"},
		{Path: "/dev/vdb3", Parent: "/dev/vdb", Kind: "part", FS: "LVM2_member", UUID: "pv"},
		{Path: "/dev/mapper/vg-outer", Parent: "/dev/vdb3", Kind: "lvm", FS: "ext4", UUID: "bbbb-4"},
		{Path: "/dev/mapper/vg-inner", Parent: "/dev/vdb3", Kind: "lvm", FS: "xfs", UUID: "bbbb-5"},
	}...)
	m.mounted = append(m.mounted, mounted{"/dev/vda2", live.Swap}, mounted{"/dev/vdb1", live.Swap}, mounted{"/dev/vdb2", live.Swap},
		mounted{"/dev/mapper/vg-outer", "/mnt/data"}, mounted{"/dev/mapper/vg-inner", "/mnt/data/inner"}, mounted{"/dev/mapper/vg-inner", "/bound"})
	m.files[fstab.Path] += "UUID=bbbb-4 /mnt/data ext4\n"
	return m
}

// TestRelease checks that every use of a disk is ended, and restored on a disk with
// another name. A mount that fstab does not contain is reported.
func TestRelease(t *testing.T) {
	m := used()
	g := m.guest()
	before, err := g.Blocks(t.Context(), "/dev/vdb")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(MountPoints(before)); got != "[/mnt/data/inner /mnt/data /bound [SWAP]]" {
		t.Errorf("mount points are %s", got)
	}
	for range 2 { // releasing can be repeated
		if err := g.Release(t.Context(), "/dev/vdb"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []mounted{{"/dev/vda1", "/"}, {"/dev/vda2", live.Swap}}; !slices.Equal(m.mounted, want) || len(m.devices) != 7 {
		t.Errorf("mounted are %v", m.mounted)
	}

	m.groups = map[string][]live.Device{}
	for _, d := range before {
		if d.Kind == "lvm" {
			m.groups[d.Path] = []live.Device{d}
		}
	}
	for i := range m.devices {
		m.devices[i].Path = strings.Replace(m.devices[i].Path, "vdb", "vdc", 1)
	}
	for range 2 {
		left, err := g.Reuse(t.Context(), before)
		if err != nil || fmt.Sprint(left) != "[/bound]" {
			t.Fatalf("%v (%v)", left, err)
		}
	}
	for _, want := range []mounted{{"/dev/vdc1", live.Swap}, {"/dev/vdc2", live.Swap}, {"/dev/mapper/vg-outer", "/mnt/data"}, {"/dev/mapper/vg-inner", "/mnt/data/inner"}} {
		if n := len(slices.DeleteFunc(slices.Clone(m.mounted), func(x mounted) bool { return x != want })); n != 1 {
			t.Errorf("%v is mounted %d times: %v", want, n, m.mounted)
		}
	}
}

func TestReleaseFails(t *testing.T) {
	for failing, want := range map[string]string{
		"umount /mnt/data":    "cannot unmount /mnt/data: umount ended with status 32: target is busy",
		"swapoff /dev/vdb2":   "cannot unmount [SWAP]: swapoff ended with status 32",
		"lvm lvchange":        "cannot deactivate /dev/mapper/vg-",
		"lsblk":               "lsblk ended with status 32",
		"cat /proc/self/moun": "cat ended with status 32",
	} {
		m := used()
		m.mounted = slices.DeleteFunc(m.mounted, func(x mounted) bool { return x.at == "/mnt/data/inner" })
		m.failing[failing] = 32
		if err := m.guest().Release(t.Context(), "/dev/vdb"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", failing, err)
		}
	}
}

func TestReuse(t *testing.T) {
	before := []live.Device{{Path: "/dev/vdb", Kind: "disk", FS: "xfs", UUID: "bbbb-1", Mounted: "/mnt/data", Mounts: []string{"/mnt/data"}}}
	t.Run("nothing was mounted", func(t *testing.T) {
		m := linux()
		if left, err := m.guest().Reuse(t.Context(), before[:0]); err != nil || left != nil || len(m.ran) > 0 {
			t.Errorf("%v (%v): %q", left, err, m.ran)
		}
	})
	t.Run("the guest needs a while", func(t *testing.T) {
		m := linux()
		m.failing["mount"] = 32
		m.before = func(string) {
			if len(m.ranOf("mount")) > 2 {
				delete(m.failing, "mount")
			}
		}
		if _, err := m.guest().Reuse(t.Context(), before); err != nil || m.at("/mnt/data") != "/dev/vdb" {
			t.Errorf("%v: %v", err, m.mounted)
		}
	})
	t.Run("it never mounts", func(t *testing.T) {
		m := linux()
		m.failing["mount"] = 32
		if _, err := m.impatient().Reuse(t.Context(), before); err == nil || !strings.Contains(err.Error(), "cannot mount /mnt/data again: mount ended with status 32") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the fstab cannot be read", func(t *testing.T) {
		m := linux()
		m.failing["cat"] = errSilent
		if _, err := m.guest().Reuse(t.Context(), before); err == nil {
			t.Error("no error")
		}
	})
}
