package disk

import (
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

func TestChoose(t *testing.T) {
	at := files(t, "a.raw", "b.raw")
	a := domain.Disk{Target: "vda", Device: "disk", Kind: "file", Source: at("a.raw")}
	b := domain.Disk{Target: "vdb", Device: "disk", Kind: "file", Source: at("b.raw")}
	fixed := domain.Disk{Target: "vdc", Device: "disk", Kind: "file", Fixed: true}
	cdrom := domain.Disk{Target: "sda", Device: "cdrom", Kind: "file"}
	for name, c := range map[string]struct {
		disks  []domain.Disk
		name   string
		want   string
		reason plan.Reason
	}{
		"the only one":          {disks: []domain.Disk{cdrom, a, fixed}, want: "vda"},
		"one of two":            {disks: []domain.Disk{a, b}, reason: plan.AmbiguousDisk},
		"by target":             {disks: []domain.Disk{a, b}, name: "vdb", want: "vdb"},
		"by source":             {disks: []domain.Disk{a, b}, name: at("b.raw"), want: "vdb"},
		"read-only, but named":  {disks: []domain.Disk{a, fixed}, name: "vdc", want: "vdc"},
		"not there":             {disks: []domain.Disk{a, b}, name: "vdx", reason: plan.NotFound},
		"none that it writes":   {disks: []domain.Disk{cdrom, fixed}, reason: plan.NotFound},
		"no disk at all":        {reason: plan.NotFound},
		"another file's source": {disks: []domain.Disk{a}, name: at("b.raw"), reason: plan.NotFound},
	} {
		got, err := Choose("web", c.disks, c.name)
		if got.Target != c.want || reasonOf(err) != c.reason {
			t.Errorf("%s: %q, %v", name, got.Target, err)
		}
	}
	if _, ok := ByTarget([]domain.Disk{a, b}, "vdb"); !ok {
		t.Error("vdb is not found")
	}
	if _, ok := ByTarget([]domain.Disk{a, b}, "vdc"); ok {
		t.Error("vdc is found")
	}
}

func TestCheckChangeable(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*domain.Disk)
		reason plan.Reason
		way    plan.Way
	}{
		"a file":           {change: func(*domain.Disk) {}},
		"a block device":   {change: func(d *domain.Disk) { d.Kind = "block" }},
		"read-only":        {change: func(d *domain.Disk) { d.Fixed = true }, reason: plan.DiskReadOnly},
		"a drive":          {change: func(d *domain.Disk) { d.Device = "cdrom" }, reason: plan.DiskUnsupported},
		"transient":        {change: func(d *domain.Disk) { d.Transient = true }, reason: plan.DiskUnsupported},
		"shareable":        {change: func(d *domain.Disk) { d.Shared = true }, reason: plan.DiskShared},
		"on the network":   {change: func(d *domain.Disk) { d.Kind = "network" }, reason: plan.DiskUnsupported},
		"without a format": {change: func(d *domain.Disk) { d.Format = "" }, reason: plan.FormatMissing},
		"a lost volume":    {change: func(d *domain.Disk) { d.Why = "there is no storage pool p" }, reason: plan.DiskUnsupported},
		"a sleeping pool": {change: func(d *domain.Disk) {
			d.Why, d.Asleep, d.Volume = "its pool is not active", true, domain.Volume{Pool: "p", Name: "v"}
		}, reason: plan.DiskUnsupported, way: plan.WayStartPool},
	} {
		d := domain.Disk{Target: "vda", Device: "disk", Kind: "file", Source: "/a.raw", Format: "raw"}
		c.change(&d)
		err := CheckChangeable("web", d)
		if reasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
		if r, ok := plan.IsRefusal(err); ok && r.Way != c.way {
			t.Errorf("%s: way %q", name, r.Way)
		}
	}
}

func TestCheckResizable(t *testing.T) {
	for name, c := range map[string]struct {
		status domain.Status
		reason plan.Reason
	}{
		"idle":      {},
		"job":       {domain.Status{Job: true}, plan.DomainJob},
		"block job": {domain.Status{Blocked: []string{"vda"}}, plan.DomainJob},
	} {
		if err := CheckResizable("web", c.status); reasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckOff checks that files can be changed only in a guest that is off and has no
// saved memory.
func TestCheckOff(t *testing.T) {
	for name, c := range map[string]struct {
		set    Set
		reason plan.Reason
	}{
		"image":         {Set{Name: "/a.raw"}, ""},
		"image in use":  {Set{Name: "/a.raw", Running: true}, plan.InUse},
		"off":           {Set{domain: &domain.Domain{}}, ""},
		"managed save":  {Set{domain: &domain.Domain{}, status: domain.Status{Saved: true}}, plan.ManagedSave},
		"running guest": {Set{domain: &domain.Domain{}, Running: true, Disks: []*Disk{imageAt("/a.raw")}}, plan.InUse},
	} {
		if err := c.set.CheckOff(); reasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func imageAt(path string) *Disk {
	d := &Disk{Image: &image.Image{}}
	d.Path = path
	return d
}
