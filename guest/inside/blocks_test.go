package inside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

func TestAwait(t *testing.T) {
	runs := func(context.Context) error { return nil }
	m := linux()
	m.silent = 3
	if err := m.guest().Await(t.Context(), runs); err != nil || m.silent != 0 {
		t.Errorf("%v", err)
	}
	m.silent = 3
	if err := m.guest().Await(t.Context(), func(context.Context) error { return errKilled }); !errors.Is(err, errKilled) {
		t.Errorf("the guest is off: %v", err)
	}
	m.silent = 1 << 30
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errKilled)
	if err := m.guest().Await(ctx, runs); !errors.Is(err, errKilled) {
		t.Errorf("the context has ended: %v", err)
	}
}

func TestDisks(t *testing.T) {
	m := linux()
	m.devices = append(m.devices, live.Device{Path: "/dev/loop0", Kind: "disk"}, live.Device{Path: "/dev/sr0", Kind: "rom"})
	disks, err := m.guest().Disks(t.Context())
	if err != nil || fmt.Sprint(disks) != "[{/dev/vda { }} {/dev/vdb { }}]" {
		t.Errorf("by lsblk: %v (%v)", disks, err)
	}
	m.disks = []domain.GuestDisk{{Name: `\\.\PhysicalDrive0`}}
	if disks, err = m.guest().Disks(t.Context()); err != nil || len(disks) != 1 {
		t.Errorf("by the agent: %v (%v)", disks, err)
	}
	m.disks, m.failing[""] = nil, errMayNotExec
	if _, err = m.guest().Disks(t.Context()); !errors.Is(err, domain.ErrMayNotExec) {
		t.Errorf("by nobody: %v", err)
	}
}

// TestNewDisk checks that of several new disks the one at the right address is found;
// without an address, the only new one.
func TestNewDisk(t *testing.T) {
	plugged := domain.Device{Disk: domain.Disk{Place: live.PCIAddress(0, 0, 8, 0)}}
	a, b, c := domain.GuestDisk{Name: "/dev/vda"}, domain.GuestDisk{Name: "/dev/vdb"}, diskAt("/dev/vdc", 8)
	for _, x := range []struct {
		disks []domain.GuestDisk
		want  string
	}{
		{[]domain.GuestDisk{a}, ""},
		{[]domain.GuestDisk{a, b}, "/dev/vdb"},
		{[]domain.GuestDisk{a, b, c}, "/dev/vdc"},
		{[]domain.GuestDisk{a, b, {Name: "/dev/vdd"}}, ""},
	} {
		if got, _ := newDisk(x.disks, []string{"/dev/vda"}, plugged); got != x.want {
			t.Errorf("%v: %q, want %q", x.disks, got, x.want)
		}
	}
}

func TestAwaitDisk(t *testing.T) {
	plugged := domain.Device{Disk: domain.Disk{Target: "vdc", Serial: "data"}}
	before := []string{"/dev/vda", "/dev/vdb"}
	t.Run("after a while", func(t *testing.T) {
		m := linux()
		m.before = func(string) {
			if len(m.ran) == 5 {
				m.devices = append(m.devices, live.Device{Path: "/dev/vdc", Kind: "disk", Serial: "data"})
			}
		}
		if name, err := m.guest().AwaitDisk(t.Context(), before, plugged); err != nil || name != "/dev/vdc" {
			t.Errorf("%q (%v)", name, err)
		}
	})
	t.Run("never", func(t *testing.T) {
		if name, err := linux().impatient().AwaitDisk(t.Context(), before, plugged); err == nil || !strings.Contains(err.Error(), "does not see vdc within 1ns: no new disk has appeared") {
			t.Errorf("%q (%v)", name, err)
		}
	})
	t.Run("the agent is silent", func(t *testing.T) {
		m := linux()
		m.failing[""] = errSilent
		if name, err := m.impatient().AwaitDisk(t.Context(), before, plugged); !errors.Is(err, errSilent) {
			t.Errorf("%q (%v)", name, err)
		}
	})
}

func TestUseOf(t *testing.T) {
	vdb := domain.Device{Disk: domain.Disk{Target: "vdb", Place: live.PCIAddress(0, 0, 7, 0)}}
	disks := []domain.GuestDisk{diskAt("/dev/vda", 6), diskAt("/dev/vdb", 7)}
	for name, c := range map[string]struct {
		change func(*machine)
		exec   bool
		want   string // disk, mounts, number of blocks
		err    string
	}{
		"in use":               {exec: true, want: "/dev/vdb [/data /bound [SWAP]] 2"},
		"without programs":     {want: "/dev/vdb [/data] 0"},
		"Windows":              {exec: true, change: func(m *machine) { m.disks[1].Name = `\\.\PhysicalDrive1` }, want: `\\.\PhysicalDrive1 [] 0`},
		"not at its address":   {change: func(m *machine) { m.disks = m.disks[:1] }, err: "no disk at its address"},
		"the agent is silent":  {change: func(m *machine) { m.failing[""] = errSilent }, err: "does not answer"},
		"an old agent":         {change: func(m *machine) { m.disks = nil; m.failing[""] = errMayNotExec }, err: "does not run programs"},
		"programs are refused": {exec: true, change: func(m *machine) { m.failing["lsblk"] = errMayNotExec }, err: "does not run programs"},
	} {
		t.Run(name, func(t *testing.T) {
			m := linux()
			m.disks = append([]domain.GuestDisk{}, disks...)
			m.devices = append(m.devices, live.Device{Path: "/dev/vdb2", Parent: "/dev/vdb", Kind: "part", FS: "swap", UUID: "bbbb-2"})
			m.mounted = append(m.mounted, mounted{"/dev/vdb", "/data"}, mounted{"/dev/vdb2", live.Swap}, mounted{"/dev/vdb", "/bound"})
			m.unseen = []string{"/bound"}
			if c.change != nil {
				c.change(m)
			}
			u, err := m.guest().UseOf(t.Context(), vdb, c.exec)
			got := fmt.Sprint(u.Disk, " ", u.Mounts, " ", len(u.Blocks))
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && (err != nil || got != c.want) {
				t.Errorf("%s (%v), want %s%s", got, err, c.want, c.err)
			}
		})
	}
}

// TestBlocks checks that a device on two others is listed once, and that blkid is only
// run where lsblk reports no content and no other device is on top.
func TestBlocks(t *testing.T) {
	m := linux()
	m.devices = []live.Device{
		{Path: "/dev/vdb", Kind: "disk"},
		{Path: "/dev/vdb1", Parent: "/dev/vdb", Kind: "part", FS: "LVM2_member", UUID: "pv1"},
		{Path: "/dev/mapper/vg-a", Parent: "/dev/vdb1", Kind: "lvm"},
		{Path: "/dev/vdb2", Parent: "/dev/vdb", Kind: "part", FS: "LVM2_member", UUID: "pv2"},
		{Path: "/dev/mapper/vg-a", Parent: "/dev/vdb2", Kind: "lvm"},
		{Path: "/dev/vdb3", Parent: "/dev/vdb", Kind: "part"},
	}
	m.blkid = map[string]string{"/dev/mapper/vg-a": "TYPE=ext4\nUUID=eeee-1\n"}
	all, err := m.guest().Blocks(t.Context(), "/dev/vdb")
	if err != nil || len(all) != 5 || all[2].FS != "ext4" || all[2].UUID != "eeee-1" || all[4].FS != "" {
		t.Errorf("%+v (%v)", all, err)
	}
	for _, line := range m.ranOf("blkid") {
		if line == "blkid -o export /dev/vdb" || line == "blkid -o export /dev/vdb1" {
			t.Errorf("it ran %s", line)
		}
	}
	m.devices[0].Path = "vdb"
	if all, err := m.guest().Blocks(t.Context(), ""); err == nil {
		t.Errorf("%+v", all)
	}
}

// answers is an agent for which every program ends with this result.
type answers struct {
	machine
	ran domain.ExecResult
	err error
}

func (a *answers) Run(ctx context.Context, _ []string, _ string) (domain.ExecResult, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return domain.ExecResult{}, errors.New("nothing bounds the program")
	}
	return a.ran, a.err
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		ran  domain.ExecResult
		err  error
		want string
	}{
		"a disk":      {ran: domain.ExecResult{Out: []byte(`NAME="/dev/vda" TYPE="disk" SIZE="5"` + "\n")}},
		"no programs": {err: errMayNotExec, want: "cannot list the guest's block devices"},
		"no lsblk":    {ran: domain.ExecResult{Status: 127, Err: []byte("sh: lsblk: not found\n")}, want: "status 127: sh: lsblk: not found"},
		"no device":   {want: "lists no block device"},
	} {
		g, err := New("vm", &answers{ran: c.ran, err: c.err}).Probe(t.Context())
		if c.want == "" && (err != nil || len(g.Devices) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWindowsDisks(t *testing.T) {
	for name, c := range map[string]struct {
		ran    domain.ExecResult
		err    error
		want   string
		reason plan.Reason
	}{
		"a disk":        {ran: domain.ExecResult{Out: []byte("disk|0|68719476736|512|GPT|\r\n")}},
		"no programs":   {err: errMayNotExec, want: "cannot list the guest's disks"},
		"no PowerShell": {ran: domain.ExecResult{Status: 1, Err: []byte("Get-Disk: not recognized")}, want: "PowerShell in vm cannot list the disks: Get-Disk", reason: plan.ToolMissing},
		"nonsense":      {ran: domain.ExecResult{Out: []byte("disk|x\n")}, want: "describes a disk"},
	} {
		disks, err := New("vm", &answers{ran: c.ran, err: c.err}).WindowsDisks(t.Context())
		if r, refused := plan.IsRefusal(err); refused != (c.reason != "") || refused && r.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
		if c.want == "" && (err != nil || len(disks) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsWindows(t *testing.T) {
	for name, c := range map[string]struct {
		mounted []domain.FS
		os      string
		want    bool
	}{
		"a drive letter":   {mounted: []domain.FS{{MountPoint: `C:\`}}, want: true},
		"a root":           {mounted: []domain.FS{{MountPoint: "/"}}, os: "mswindows"},
		"the agent's word": {os: "mswindows", want: true},
		"nothing is known": {},
	} {
		if got := New("vm", &machine{os: c.os}).IsWindows(t.Context(), c.mounted); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// diskAt returns a virtio-blk disk in a PCI slot.
func diskAt(name string, slot uint) domain.GuestDisk {
	return domain.GuestDisk{Name: name, Identity: live.Identity{Address: live.PCIAddress(0, 0, slot, 0)}}
}
