package device

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// reasonOf returns the reason of a refusal, "" for no error.
func reasonOf(t *testing.T, err error) plan.Reason {
	t.Helper()
	r, refused := plan.IsRefusal(err)
	if err != nil && !refused {
		t.Fatal(err)
	}
	if !refused {
		return ""
	}
	return r.Reason
}

func TestJudgeForDevices(t *testing.T) {
	for name, c := range map[string]struct {
		status domain.Status
		want   plan.Reason
	}{
		"running": {domain.Status{State: domain.Running}, ""},
		"paused":  {domain.Status{State: domain.Held}, plan.DomainState},
		"saved":   {domain.Status{State: domain.Off, Saved: true}, plan.ManagedSave},
		"backup":  {domain.Status{State: domain.Running, Job: true}, plan.DomainJob},
	} {
		if got := reasonOf(t, judgeForDevices(vm{Name: "vm"}, c.status)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestScopes(t *testing.T) {
	running := domain.Status{State: domain.Running, Persistent: true}
	transient := domain.Status{State: domain.Running}
	off := domain.Status{State: domain.Off, Persistent: true}
	for _, c := range []struct {
		status domain.Status
		where  Scope
		want   string
		reason plan.Reason
	}{
		{running, Everywhere, "config live", ""},
		{running, Both, "config live", ""},
		{running, OnlyRunning, "live", ""},
		{running, OnlyDefined, "config", ""},
		{transient, Everywhere, "live", ""},
		{transient, Both, "", plan.TransientDomain},
		{transient, OnlyDefined, "", plan.TransientDomain},
		{off, Everywhere, "config", ""},
		{off, OnlyRunning, "", plan.DomainState},
		{off, Both, "", plan.DomainState},
	} {
		all, err := scopes(vm{Name: "vm"}, c.status, c.where)
		var words []string
		for _, s := range all {
			words = append(words, string(s))
		}
		if got := strings.Join(words, " "); got != c.want || reasonOf(t, err) != c.reason {
			t.Errorf("%+v %q: %q, %v", c.status, c.where, got, err)
		}
	}
}

// TestCheckDisk checks which disks can be detached, and which files can be deleted.
func TestCheckDisk(t *testing.T) {
	file := domain.Disk{Device: "disk", Kind: "file", Bus: "virtio"}
	with := func(change func(*domain.Disk)) domain.Disk {
		d := file
		change(&d)
		return d
	}
	for name, c := range map[string]struct {
		disk          domain.Disk
		live          string
		delete, stays bool
		want          plan.Reason
	}{
		"a file":                {disk: file, live: "<disk/>"},
		"deleted":               {disk: file, delete: true},
		"deleted, and it stays": {disk: file, delete: true, stays: true, want: plan.InUse},
		"a drive":               {disk: with(func(d *domain.Disk) { d.Device = "cdrom" }), want: plan.DiskUnsupported},
		"on SATA, running":      {disk: with(func(d *domain.Disk) { d.Bus = "sata" }), live: "<disk/>", want: plan.NoHotplug},
		"on SATA, off":          {disk: with(func(d *domain.Disk) { d.Bus = "sata" })},
		"a block device":        {disk: with(func(d *domain.Disk) { d.Kind = "block" }), live: "<disk/>"},
		"a deleted device":      {disk: with(func(d *domain.Disk) { d.Kind = "block" }), delete: true, want: plan.DiskUnsupported},
	} {
		p := detaching{domain: vm{Name: "vm"}, disk: domain.Device{Disk: c.disk}}
		p.Target, p.Live, p.Delete = "vdb", c.live, c.delete
		if got := reasonOf(t, p.checkDisk(c.stays)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestCheckMounts checks when a disk in use by the guest can be detached.
func TestCheckMounts(t *testing.T) {
	for name, c := range map[string]struct {
		request DetachRequest
		kind    string
		mounts  []string
		exec    bool
		want    plan.Reason
	}{
		"unused":               {kind: "disk"},
		"mounted":              {kind: "disk", mounts: []string{"/data"}, want: plan.Mounted},
		"mounted, anyway":      {request: DetachRequest{EvenMounted: true}, kind: "disk", mounts: []string{"/data"}},
		"under LVM":            {kind: "lvm", want: plan.Mounted},
		"under RAID":           {request: DetachRequest{Unmount: true}, kind: "raid1", exec: true, want: plan.Mounted},
		"no programs":          {request: DetachRequest{Unmount: true}, kind: "disk", want: plan.NoAgent},
		"the root file system": {request: DetachRequest{Unmount: true}, kind: "disk", mounts: []string{"/"}, exec: true, want: plan.Mounted},
	} {
		p := detaching{domain: vm{Name: "vm"}, request: c.request, status: domain.Status{Exec: c.exec}}
		p.Blocks = []live.Device{{Path: "/dev/x", Kind: c.kind}}
		if got := reasonOf(t, p.checkMounts(t.Context(), c.mounts)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestCheckMountPoint(t *testing.T) {
	for at, ok := range map[string]bool{"/data": true, "/srv/a b": true, "/": false, "data": false, "/a/": false, "/a\tb": false, "/etc": false, "/usr": false} {
		if err := CheckMountPoint(at); (err == nil) != ok {
			t.Errorf("%q: %v", at, err)
		}
	}
}

// TestOfflineLine checks the line for a disk in the fstab of a guest that is off, both
// for an existing file system and for one that the job creates.
func TestOfflineLine(t *testing.T) {
	const old = "UUID=aaaa-1 / ext4 defaults 0 1\n"
	found := []plan.Content{{Type: "xfs", UUID: "bbbb-1", Label: "data"}}
	p := attaching{domain: vm{Name: "vm"}}
	p.Mount = &mounting{Path: "/data"}
	text, err := p.lineFor(found, []byte(old))
	if err != nil || !strings.Contains(string(text), "UUID=bbbb-1") || p.Mount.Entry.Mount != "/data" {
		t.Fatalf("%q, %v", text, err)
	}
	left, removed, err := withoutFileSystems(text, found)
	if err != nil || string(left) != old || len(removed) != 1 {
		t.Errorf("%q, %v, %v", left, removed, err)
	}
	if _, err := p.lineFor(found, text); reasonOf(t, err) != plan.MountTaken {
		t.Errorf("a second line: %v", err)
	}
	if _, err := p.lineFor(nil, []byte(old)); reasonOf(t, err) != plan.UnknownContent {
		t.Errorf("no file system: %v", err)
	}
}

// TestChoose checks which drive is chosen.
func TestChoose(t *testing.T) {
	empty := func(target string) domain.Device { return domain.Device{Disk: domain.Disk{Target: target}} }
	full := func(target string) domain.Device {
		return domain.Device{Disk: domain.Disk{Target: target, Source: "/cd.iso"}}
	}
	for name, c := range map[string]struct {
		drives     []domain.Device
		iso, named string
		want       string
		reason     plan.Reason
	}{
		"insert, none":         {iso: "/a.iso"},
		"insert, the only one": {drives: []domain.Device{full("sda")}, iso: "/a.iso", want: "sda"},
		"insert, an empty one": {drives: []domain.Device{full("sda"), empty("sdb"), empty("sdc")}, iso: "/a.iso", want: "sdb"},
		"insert, two full":     {drives: []domain.Device{full("sda"), full("sdb")}, iso: "/a.iso", reason: plan.AmbiguousDisk},
		"insert, named":        {drives: []domain.Device{full("sda"), full("sdb")}, iso: "/a.iso", named: "sdb", want: "sdb"},
		"insert, a new name":   {iso: "/a.iso", named: "sdb"},
		"eject, a full one":    {drives: []domain.Device{empty("sda"), full("sdb")}, want: "sdb"},
		"eject, two full":      {drives: []domain.Device{full("sda"), full("sdb")}, reason: plan.AmbiguousDisk},
		"eject, two empty":     {drives: []domain.Device{empty("sda"), empty("sdb")}},
		"eject, no such drive": {named: "sdb", reason: plan.NotFound},
	} {
		p := inserting{domain: vm{Name: "vm"}, scopes: []domain.Scope{domain.Config}, drives: map[domain.Scope][]domain.Device{domain.Config: c.drives}}
		p.ISO, p.request.Target = c.iso, c.named
		if err := p.choose(); reasonOf(t, err) != c.reason || p.Target != c.want {
			t.Errorf("%s: %q, %v", name, p.Target, err)
		}
	}
}

func TestNewBus(t *testing.T) {
	for _, c := range []struct {
		bus, target string
		buses       []string
		want        string
	}{
		{"usb", "", nil, "usb"},
		{"", "sdc", nil, "scsi"},
		{"", "hdc", []string{"sata"}, "ide"},
		{"", "", []string{"sata"}, "sata"},
		{"", "", nil, "ide"},
	} {
		p := inserting{request: MediaRequest{Bus: c.bus, Target: c.target}, buses: c.buses}
		if got := p.newBus(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestWindowsDrivers(t *testing.T) {
	if lines := windowsDrivers("vm", "virtio"); len(lines) != 1 || !strings.Contains(lines[0], "viostor") {
		t.Error(lines)
	}
	if lines := windowsDrivers("vm", "sata"); len(lines) != 3 || !strings.Contains(lines[2], "virsh edit vm") {
		t.Error(lines)
	}
}

func TestPathBeside(t *testing.T) {
	p := attaching{domain: vm{Name: "vm"}, attachment: attachment{Disk: domain.DiskSpec{Target: "vdb"}}}
	if _, err := p.pathNextTo("raw"); reasonOf(t, err) != plan.NotFound {
		t.Error(err)
	}
	p.status.Disks = []domain.Disk{{Kind: "block", Device: "disk", Source: "/dev/x"}, {Kind: "file", Device: "disk", Source: "/images/a.qcow2"}}
	if got, err := p.pathNextTo("raw"); got != "/images/vm-vdb.raw" || err != nil {
		t.Error(got, err)
	}
}

// TestCheckAttachable checks that images are refused that are no disks or cannot be
// shared.
func TestCheckAttachable(t *testing.T) {
	s := newStage(t, "shared")
	for name, c := range map[string]struct {
		path, format string
		shareable    bool
		want         plan.Reason
	}{
		"a medium":          {path: s.iso, format: "raw", want: plan.IsISO},
		"another domain's":  {path: s.image, format: "raw", want: plan.DiskShared},
		"shared":            {path: s.image, format: "raw", shareable: true},
		"shared, but qcow2": {path: s.image, format: "qcow2", shareable: true, want: plan.DiskShared},
	} {
		img := &image.Image{Target: plan.Target{Path: c.path, Format: c.format}, Size: size.MiB}
		if got := reasonOf(t, checkAttachable(t.Context(), img, s.vm(), AttachRequest{Shareable: c.shareable})); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
