package online

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

const (
	oldSize = 4 * size.GiB
	newSize = 5 * size.GiB
)

// machine is a running domain in memory, with Linux or Windows, as libvirt, QEMU and the
// agent describe it. The image of its disk vda is a sparse file.
type machine struct {
	status        domain.Status
	live, defined domain.Definition
	drives, hmp   []domain.Drive
	others        []domain.User
	bitmaps       []string // inconsistent ones
	files         []domain.FS
	size          size.Bytes // the size in QEMU
	inside        size.Bytes // the size that the guest sees, if not 0 and different
	late          int        // how many times the guest still sees the old size
	disks         []string   // the guest's disks, which get QEMU's size
	root          string     // the content of the first disk's partition
	tools         string
	os            string
	failing       map[string]error  // by the name of a call or the first word of a command
	says          map[string]string // output of programs, by their first word
	ran           []string
}

// newMachine returns a domain with one disk and an ext4 as the root of a Linux.
func newMachine(t *testing.T) *machine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(oldSize)); err != nil {
		t.Fatal(err)
	}
	def := domain.Definition{Channel: true, Disks: []domain.Disk{{
		Target: "vda", Bus: "virtio", Device: "disk", Kind: "file", Source: path, Format: "raw", Alias: "virtio-disk0",
	}}}
	return &machine{
		status: domain.Status{Definition: def, State: domain.Running, Persistent: true, Agent: true, Exec: true},
		live:   def, defined: domain.Definition{Disks: slices.Clone(def.Disks)}, size: oldSize,
		drives: []domain.Drive{{Device: "/machine/peripheral/virtio-disk0/virtio-backend", Node: "libvirt-1-format", File: path, Format: "raw", Size: oldSize}},
		hmp:    []domain.Drive{{Alias: "drive-virtio-disk0", File: path}},
		files:  []domain.FS{{Name: "vda1", MountPoint: "/", Type: "ext4", Total: oldSize - 200*size.MiB}},
		disks:  []string{"/dev/vda"}, root: "ext4", tools: "growpart sfdisk resize2fs xfs_growfs pvresize vgs lvextend",
		failing: map[string]error{}, says: map[string]string{},
	}
}

func (m *machine) vm() vm { return vm{libvirtDomain: m, Name: "dev7", UUID: "6695eb01"} }

// path is the path of the image.
func (m *machine) path() string { return m.live.Disks[0].Source }

// disk changes the disk in both definitions.
func (m *machine) disk(change func(*domain.Disk)) {
	change(&m.live.Disks[0])
	change(&m.defined.Disks[0])
}

func (m *machine) URI() string  { return "qemu:///system" }
func (m *machine) Close() error { return m.failing["close"] }

func (m *machine) Status(context.Context, bool) (domain.Status, error) {
	return m.status, m.failing["status"]
}

func (m *machine) Live(context.Context) (domain.Definition, error) { return m.live, m.failing["live"] }
func (m *machine) Read(context.Context) (domain.Definition, error) {
	return m.defined, m.failing["read"]
}
func (m *machine) Others(context.Context) ([]domain.User, error) {
	return m.others, m.failing["others"]
}
func (m *machine) Drives(context.Context) ([]domain.Drive, error) {
	return m.drives, m.failing["drives"]
}
func (m *machine) HMPDrives(context.Context) ([]domain.Drive, error) { return m.hmp, m.failing["hmp"] }
func (m *machine) InconsistentBitmaps(context.Context, string) ([]string, error) {
	return m.bitmaps, nil
}
func (m *machine) State(context.Context) (domain.State, error) { return m.status.State, nil }
func (m *machine) Ping(context.Context) error                  { return m.failing["ping"] }
func (m *machine) OS(context.Context) string                   { return m.os }

func (m *machine) FileSystems(context.Context) ([]domain.FS, error) {
	return slices.Clone(m.files), m.failing["file systems"]
}

func (m *machine) GuestDisks(context.Context) ([]domain.GuestDisk, error) { return nil, errNone }
func (m *machine) MountsOn(context.Context, domain.GuestDisk) ([]string, error) {
	return nil, errNone
}

func (m *machine) SizeSeen(context.Context, domain.Resize) (size.Bytes, error) {
	return m.size, m.failing["size"]
}

func (m *machine) Resize(_ context.Context, r domain.Resize) error {
	m.ran = append(m.ran, "resize")
	if err := m.failing["resize"]; err != nil {
		return err
	}
	m.size = r.To
	return os.Truncate(m.path(), int64(r.To))
}

// Run runs a program. A program that grows a file system grows the first one in files.
func (m *machine) Run(_ context.Context, command []string, _ string) (domain.ExecResult, error) {
	switch {
	case slices.Equal(command, live.Probe()):
		return domain.ExecResult{Out: []byte(m.probe())}, m.failing["probe"]
	case slices.Equal(command, plan.PowerShell(live.WindowsProbe())):
		return domain.ExecResult{Out: []byte(m.windowsProbe())}, m.failing["probe"]
	case command[0] == "cat": // reads the disk's size
		return domain.ExecResult{Out: fmt.Append(nil, int64(m.seen()/512))}, m.failing["cat"]
	}
	m.ran = append(m.ran, command[0])
	if err := m.failing[command[0]]; err != nil {
		return domain.ExecResult{Status: 1, Err: []byte(err.Error())}, nil
	}
	if slices.Contains([]string{"resize2fs", "xfs_growfs", plan.PowerShell("")[0]}, command[0]) {
		m.files[0].Total = m.size - 200*size.MiB
	}
	return domain.ExecResult{Out: []byte(m.says[command[0]])}, nil
}

// seen is the size that the guest sees now.
func (m *machine) seen() size.Bytes {
	if m.late > 0 && m.size != oldSize {
		m.late--
		return oldSize
	}
	return cmp.Or(m.inside, m.size)
}

// probe is the output of live.Probe: each disk has one partition, and the first one is
// mounted at /.
func (m *machine) probe() string {
	var b strings.Builder
	seen := m.seen()
	for i, path := range m.disks {
		at, of := "/", seen
		switch {
		case m.root == "LVM2_member":
			at = ""
		case i > 0:
			at, of = fmt.Sprintf("/data%d", i), oldSize
		}
		fmt.Fprintf(&b, `NAME="%s" PKNAME="" TYPE="disk" SIZE="%d" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL=""`+"\n", path, int64(of))
		fmt.Fprintf(&b, `NAME="%s1" PKNAME="%s" TYPE="part" SIZE="%d" FSTYPE="%s" MOUNTPOINT="%s" UUID="" SERIAL=""`+"\n", path, path, int64(oldSize-2*size.MiB), m.root, at)
		fmt.Fprintf(&b, "start /sys/class/block/%s1/start 2048\npttype %s gpt\nsector %s 512\n", filepath.Base(path), path, filepath.Base(path))
	}
	if m.root == "LVM2_member" {
		fmt.Fprintf(&b, `NAME="/dev/mapper/vg-root" PKNAME="/dev/vda1" TYPE="lvm" SIZE="%d" FSTYPE="ext4" MOUNTPOINT="/" UUID="" SERIAL=""`+"\n", int64(oldSize-6*size.MiB))
		b.WriteString("lvs vg|root|linear|-wi-ao----\nvgs vg|wz--n-\npvs /dev/vda1|a--\n")
	}
	for tool := range strings.FieldsSeq(m.tools) {
		fmt.Fprintf(&b, "tool %s\n", tool)
	}
	return b.String()
}

// windowsProbe is the output of live.WindowsProbe: each disk has a C: with NTFS.
func (m *machine) windowsProbe() string {
	var b strings.Builder
	for i := range m.disks {
		fmt.Fprintf(&b, "disk|%d|%d|512|GPT|\npart|1|1048576|%d|Basic|%c|%s\n", i, int64(m.seen()), int64(oldSize-2*size.MiB), 'C'+i, m.root)
	}
	return b.String()
}

// windows makes the machine run Windows.
func (m *machine) windows() {
	m.files = []domain.FS{{Name: "c", MountPoint: `C:\`, Type: "NTFS", Total: oldSize - 200*size.MiB}}
	m.root = "NTFS"
}

// layout returns what an appliance finds on the disk.
func layout(fs string) *plan.Layout {
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: oldSize, Sector: 512, Table: &table.Table{Kind: table.GPT}}, Devices: []plan.Device{
		{Name: "sda", Kind: plan.Disk, Size: oldSize},
		{Name: "sda1", Kind: plan.Partition, Parent: "sda", Number: 1, Start: size.MiB, Size: oldSize - 2*size.MiB, Content: plan.Content{Type: fs}},
	}}
}

// planCases are plans and refusals. want says what grows the contents, followed by the
// programs of the commands.
var planCases = map[string]struct {
	change func(*machine, *Options)
	want   string
	notes  int
	reason plan.Reason
}{
	"linux":              {want: "agent growpart resize2fs"},
	"a volume":           {change: func(m *machine, _ *Options) { m.root = "LVM2_member" }, want: "agent growpart pvresize vgs lvextend resize2fs"},
	"by its name":        {change: func(_ *machine, o *Options) { o.Disk = "vda" }, want: "agent growpart resize2fs"},
	"by what is mounted": {change: func(_ *machine, o *Options) { o.Grow = "/" }, want: "agent growpart resize2fs"},
	"nothing inside":     {change: func(_ *machine, o *Options) { o.Grow = plan.GrowNone }, want: "none"},
	"by a person":        {change: func(_ *machine, o *Options) { o.InGuest = ByPerson }, want: "print growpart resize2fs"},
	"two alike":          {change: func(m *machine, _ *Options) { m.disks = append(m.disks, "/dev/vdb") }, want: "agent", notes: 1},
	"windows":            {change: func(m *machine, _ *Options) { m.windows() }, want: "agent powershell.exe"},
	"windows by letter":  {change: func(m *machine, o *Options) { m.windows(); o.Grow = `c:\` }, want: "agent powershell.exe"},
	"two windows disks": {change: func(m *machine, _ *Options) { m.windows(); m.disks = append(m.disks, "1") },
		want: "agent powershell.exe", notes: 1},
	"has its size": {change: func(_ *machine, o *Options) { o.Size = plan.Amount{Mode: plan.Absolute, Bytes: oldSize} }, want: "agent resize2fs"},

	"off":        {change: func(m *machine, _ *Options) { m.status.State = domain.Off }, reason: plan.DomainState},
	"a backup":   {change: func(m *machine, _ *Options) { m.status.Job = true }, reason: plan.DomainJob},
	"read-only":  {change: func(m *machine, _ *Options) { m.live.Disks[0].Fixed = true }, reason: plan.NotFound},
	"shareable":  {change: func(m *machine, _ *Options) { m.live.Disks[0].Shared = true }, reason: plan.DiskShared},
	"another's":  {change: func(m *machine, _ *Options) { m.others = []domain.User{{Domain: "twin", Disk: m.live.Disks[0]}} }, reason: plan.DiskShared},
	"shrink":     {change: func(_ *machine, o *Options) { o.Size = plan.Amount{Mode: plan.Absolute, Bytes: size.GiB} }, reason: plan.Shrink},
	"no image":   {change: func(m *machine, _ *Options) { m.live.Disks[0].Source += ".none" }, reason: plan.NotFound},
	"no such FS": {change: func(_ *machine, o *Options) { o.Grow = "/srv" }, reason: plan.NotFound},
	"no tool":    {change: func(m *machine, _ *Options) { m.tools = "growpart sfdisk" }, reason: plan.ToolMissing},
	"no such disk inside": {change: func(m *machine, _ *Options) { m.inside = oldSize - size.MiB },
		reason: plan.NotFound},
	"two alike, one cannot": {change: func(m *machine, _ *Options) { m.disks = append(m.disks, "/dev/vdb"); m.root = "swap" },
		reason: plan.UnknownContent},
	"windows, no such drive": {change: func(m *machine, o *Options) { m.windows(); o.Grow = "D:" }, reason: plan.NotFound},
	"windows, no such disk":  {change: func(m *machine, _ *Options) { m.windows(); m.inside = oldSize - size.MiB }, reason: plan.NotFound},

	// If the guest cannot be asked, the image is read.
	"no channel": {change: func(m *machine, _ *Options) { m.status.Channel, m.status.Agent, m.status.Exec = false, false, false },
		want: "print growpart resize2fs", notes: 1},
	"no answer": {change: func(m *machine, _ *Options) { m.status.Agent, m.status.Exec = false, false },
		want: "print growpart resize2fs", notes: 1},
	"no programs": {change: func(m *machine, _ *Options) { m.status.Exec = false }, want: "print growpart resize2fs", notes: 1},
	"no programs, windows": {change: func(m *machine, o *Options) {
		m.windows()
		m.status.Exec, o.look = false, lookAt(layout("ntfs"), nil)
	},
		want: "print powershell.exe", notes: 1},
	"NTFS alone is a Windows": {change: func(m *machine, o *Options) {
		m.status.Agent, m.status.Exec = false, false
		o.look = lookAt(layout("ntfs"), nil)
	}, want: "print powershell.exe", notes: 1},
	"no programs, but asked for": {change: func(m *machine, o *Options) { m.status.Exec = false; o.InGuest = ByAgent }, reason: plan.NoAgent},
	"the image cannot be read": {change: func(m *machine, o *Options) {
		m.status.Exec = false
		o.look = lookAt(nil, plan.Refuse(plan.Unreadable, "", "no"))
	}, reason: plan.Unreadable},
	"the image has nothing": {change: func(m *machine, o *Options) {
		m.status.Exec = false
		o.look = lookAt(layout(""), nil)
	}, reason: plan.UnknownContent},

	// A disk on SATA shows its new size only after the next start.
	"on SATA": {change: func(m *machine, _ *Options) { m.disk(func(d *domain.Disk) { d.Bus = "sata" }) }, want: "print"},

	// The channels to QEMU.
	"qmp":            {change: func(_ *machine, o *Options) { o.Via = domain.ViaQMP }, want: "agent growpart resize2fs"},
	"qmp, by device": {change: func(m *machine, o *Options) { o.Via, m.drives[0].File = domain.ViaQMP, "json:{}" }, want: "agent growpart resize2fs"},
	"hmp":            {change: func(_ *machine, o *Options) { o.Via = domain.ViaHMP }, want: "agent growpart resize2fs"},
	"hmp, -blockdev": {change: func(m *machine, o *Options) { o.Via = domain.ViaHMP; m.hmp[0].Alias = "" }, reason: plan.HMPUnnamed},
	"hmp, no such":   {change: func(m *machine, o *Options) { o.Via = domain.ViaHMP; m.hmp = nil }, reason: plan.HMPUnnamed},
	"past libvirt":   {change: pastLibvirt, want: "agent growpart resize2fs"},
	"past libvirt, by node": {change: func(m *machine, o *Options) {
		pastLibvirt(m, o)
		m.drives[0].Alias, o.Disk = "", m.drives[0].File
	}, want: "agent growpart resize2fs"},
	"past libvirt, not there": {change: func(m *machine, o *Options) { pastLibvirt(m, o); m.drives = nil }, reason: plan.NotFound},
	"past libvirt, through libvirt": {change: func(m *machine, o *Options) { pastLibvirt(m, o); o.Via = domain.ViaLibvirt },
		reason: plan.NotFound},
	"past libvirt, read-only": {change: func(m *machine, o *Options) { pastLibvirt(m, o); m.drives[0].ReadOnly = true },
		reason: plan.DiskReadOnly},
}

// pastLibvirt adds the disk to QEMU without libvirt.
func pastLibvirt(m *machine, o *Options) {
	m.drives[0].Alias, o.Disk = "drive0", "drive0"
	m.live.Disks[0].Source, m.live.Disks[0].Target = m.live.Disks[0].Source+".other", "vdx"
}

func lookAt(l *plan.Layout, err error) func(context.Context, *image.Image, plan.Request) (*plan.Layout, error) {
	return func(context.Context, *image.Image, plan.Request) (*plan.Layout, error) { return l, err }
}

func options() Options {
	return Options{Size: plan.Amount{Mode: plan.Absolute, Bytes: newSize}, Patience: Patience, look: lookAt(layout("ext4"), nil)}
}

func TestMakePlan(t *testing.T) {
	for name, c := range planCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, o := newMachine(t), options()
			if c.change != nil {
				c.change(m, &o)
			}
			p, err := makePlan(t.Context(), m.vm(), o)
			if r, _ := plan.IsRefusal(err); (r == nil) != (c.reason == "") || r != nil && r.Reason != c.reason || r == nil && err != nil {
				t.Fatalf("%v, want %q", err, c.reason)
			}
			if err != nil {
				return
			}
			got := []string{string(p.InGuest)}
			for _, c := range p.Commands {
				got = append(got, c.Argv[0])
			}
			if text := strings.Join(got, " "); text != c.want || len(p.Notes) != c.notes {
				t.Errorf("%q, want %q; notes %q", text, c.want, p.Notes)
			}
			if name != "has its size" && (p.Sent == "" || !p.Changes()) {
				t.Error("nothing is sent")
			}
		})
	}
}

// TestPlanFails checks that a failed query ends the planning.
func TestPlanFails(t *testing.T) {
	for _, call := range []string{"status", "live", "read", "others", "drives", "hmp", "size", "probe"} {
		m, o := newMachine(t), options()
		m.failing[call], o.Via = errors.New("injected"), domain.ViaHMP
		if _, err := makePlan(t.Context(), m.vm(), o); !errors.Is(err, m.failing[call]) {
			t.Errorf("%s: %v", call, err)
		}
	}
	m, o := newMachine(t), options()
	m.failing["file systems"] = errors.New("injected")
	if p, err := makePlan(t.Context(), m.vm(), o); err != nil || p.Windows {
		t.Errorf("the file systems are not needed: %v", err)
	}
	m, o = newMachine(t), options()
	m.drives, o.Via = nil, domain.ViaQMP
	if _, err := makePlan(t.Context(), m.vm(), o); err == nil {
		t.Error("QEMU does not have the disk")
	}
}

// TestVolume checks that the disk of a guest that runs with a volume's path is found in
// the pool that its definition names.
func TestVolume(t *testing.T) {
	m := newMachine(t)
	m.defined.Disks[0].Volume = domain.Volume{Pool: "default", Name: "a.raw"}
	p, err := makePlan(t.Context(), m.vm(), options())
	if err != nil || p.Target.Guest.Pool != "default" {
		t.Errorf("%+v, %v", p, err)
	}
	m.defined.Disks[0].Source += ".other"
	if p, err := makePlan(t.Context(), m.vm(), options()); err != nil || p.Target.Guest.Pool != "" {
		t.Errorf("another file: %+v, %v", p, err)
	}
}

// TestSent checks the name of the disk on each channel.
func TestSent(t *testing.T) {
	for via, want := range map[domain.Channel]string{
		"":                `virDomainBlockResize("vda"`,
		domain.ViaLibvirt: `virDomainBlockResize("vda"`,
		domain.ViaQMP:     `"node-name":"libvirt-1-format"`,
		domain.ViaHMP:     "block_resize drive-virtio-disk0 5368709120B",
	} {
		o := options()
		o.Via = via
		p, err := makePlan(t.Context(), newMachine(t).vm(), o)
		if err != nil || !strings.Contains(p.Sent, want) {
			t.Errorf("%s: %+v, %v", via, p, err)
		}
	}
}

// TestByHand checks the manual steps that are printed.
func TestByHand(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine, *Options)
		want   []string
	}{
		"linux":       {func(*machine, *Options) {}, []string{"as root:\ngrowpart /dev/vda 1\nresize2fs /dev/vda1"}},
		"windows":     {func(m *machine, _ *Options) { m.windows() }, []string{"as administrator in PowerShell", "Resize-Partition"}},
		"by image":    {func(m *machine, _ *Options) { m.status.Exec = false }, []string{"(lsblk shows whether it calls the disk vda)"}},
		"on SATA":     {func(m *machine, _ *Options) { m.disk(func(d *domain.Disk) { d.Bus = "sata" }) }, []string{"After a restart: virt-grow online dev7 --disk vda"}},
		"not a thing": {func(_ *machine, o *Options) { o.Grow = plan.GrowNone }, nil},
	} {
		m, o := newMachine(t), options()
		o.InGuest = ByPerson
		c.change(m, &o)
		p, err := makePlan(t.Context(), m.vm(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := strings.Join(p.ByHand(), "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q, want %q", name, text, want)
			}
		}
		if c.want == nil && text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestBlockDevice checks that a block device gets no other size than its own.
func TestBlockDevice(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		amount plan.Amount
		device size.Bytes
		to     size.Bytes
		reason plan.Reason
	}{
		{plan.Amount{Mode: plan.Absolute, Bytes: newSize}, newSize, 0, plan.DiskUnsupported},
		{plan.Amount{Mode: plan.Fill}, newSize, newSize, ""},
		{plan.Amount{Mode: plan.Fill}, size.GiB, oldSize, ""},
	} {
		p := &Plan{domain: m.vm(), image: &image.Image{Size: c.device}}
		p.image.Path, p.image.Block = m.path(), true
		err := p.measure(t.Context(), c.amount)
		if r, _ := plan.IsRefusal(err); (r == nil) != (c.reason == "") || r != nil && r.Reason != c.reason {
			t.Errorf("%+v: %v", c, err)
		} else if err == nil && p.To != c.to {
			t.Errorf("%+v: %s", c, p.To)
		}
	}
}

func TestLooksLikeWindows(t *testing.T) {
	for name, c := range map[string]struct {
		fs   []string
		os   string
		want bool
	}{
		"a Linux":            {fs: []string{"ext4"}},
		"NTFS":               {fs: []string{"ntfs"}, want: true},
		"NTFS and XFS":       {fs: []string{"ntfs", "xfs"}},
		"empty":              {fs: []string{""}},
		"a Windows with XFS": {fs: []string{"ntfs", "xfs"}, os: "windows", want: true},
		"a Linux with NTFS":  {fs: []string{"ntfs"}, os: "linux"},
	} {
		l := &plan.Layout{}
		for _, fs := range c.fs {
			l.Devices = append(l.Devices, plan.Device{Content: plan.Content{Type: fs}})
		}
		if c.os != "" {
			l.OS = &plan.OS{Type: c.os}
		}
		if got := looksLikeWindows(l); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
