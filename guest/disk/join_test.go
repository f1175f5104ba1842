package disk

import (
	"errors"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// opened returns the disk of a domain with that target.
func opened(t *testing.T, d *domain.Domain, target string) *Disk {
	t.Helper()
	status, err := d.Status(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	def, _ := ByTarget(status.Disks, target)
	made, err := OpenWritable(t.Context(), d, status, def, 512)
	if err != nil {
		t.Fatal(err)
	}
	made.Target.Guest = &plan.Guest{Name: d.Name, Disk: target}
	return made
}

// TestJoin checks that joined disks are one target, and that the other disks of the
// domain are those that were not joined.
func TestJoin(t *testing.T) {
	at := raws(t, "a.raw", "b.raw", "c.raw")
	disks := file("vda", at("a.raw"), "raw", "") + file("vdb", at("b.raw"), "raw", "") + file("vdc", at("c.raw"), "raw", "") +
		"<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>" + file("vdd", at("a.raw")+".gone", "raw", "")
	dom := define(t, vm{name: "web", off: true, disks: disks})
	d := opened(t, dom, "vda")
	for _, c := range []struct {
		join   string
		all    []string
		others []string
	}{
		{"", []string{"vda"}, []string{"vdb", "vdc"}},
		{"vdc", []string{"vda", "vdc"}, []string{"vdb"}},
		{"vdb", []string{"vda", "vdc", "vdb"}, nil},
	} {
		if c.join != "" {
			d.Join(opened(t, dom, c.join))
		}
		var all, others, unreadable []string
		for _, each := range d.All() {
			all = append(all, each.Def.Target)
		}
		for _, other := range d.openOthers(t.Context(), func(def domain.Disk, err error) { unreadable = append(unreadable, def.Target) }).Disks {
			others = append(others, other.Def.Target)
		}
		if !slices.Equal(all, c.all) || !slices.Equal(others, c.others) || !slices.Equal(unreadable, []string{"vdd"}) {
			t.Errorf("with %q: all %q, others %q, unreadable %q", c.join, all, others, unreadable)
		}
		if d.Edits("vdb") != slices.Contains(c.all, "vdb") {
			t.Errorf("with %q: vdb is changed: %t", c.join, d.Edits("vdb"))
		}
	}
	if m := d.Target.More; len(m) != 2 || m[0].Disk != "vdc" || m[0].Path != at("c.raw") || m[0].Format != "raw" || m[0].SectorSize != 512 {
		t.Errorf("%+v", m)
	}
	sources := d.Sources()
	if len(sources) != 3 || sources[0].Image != d.Image || sources[1].Path != at("c.raw") || sources[2].Path != at("b.raw") {
		t.Errorf("%+v", sources)
	}
	// No other disk can be read: no appliance is started, and a note names the
	// unreadable disk.
	if err := d.CheckOthersNotHibernated(t.Context(), session.Options{}); err != nil || len(d.Notes) != 1 {
		t.Errorf("%v, notes %q", err, d.Notes)
	}
	s, sizes, err := d.StartWithOthers(t.Context(), session.Options{})
	if s != nil || sizes != nil || err != nil {
		t.Errorf("%v, %v, %v", s, sizes, err)
	}
}

// TestLookInsideNothing checks that disks that are not on this host are not inspected,
// and that a disk that cannot be opened gets one warning.
func TestLookInsideNothing(t *testing.T) {
	at := raws(t, "a.raw")
	whole := plan.ListedDisk{Target: "vda", Device: "disk", Kind: "file", Source: at("a.raw"), Format: "raw", Size: 2 * size.MiB}
	with := func(change func(*plan.ListedDisk)) plan.ListedDisk {
		changed := whole
		change(&changed)
		return changed
	}
	gone := with(func(d *plan.ListedDisk) { d.Source += ".gone" })
	known := gone
	known.Warn(plan.NotFound, gone.Source, "it is known")
	list := &plan.DiskList{Disks: []plan.ListedDisk{
		with(func(d *plan.ListedDisk) { d.Kind = "network" }), with(func(d *plan.ListedDisk) { d.Device = "cdrom" }),
		with(func(d *plan.ListedDisk) { d.Size = 0 }), gone, known,
	}}
	if err := lookInside(t.Context(), list, domain.Running, session.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{nil, nil, nil, {"not-found " + gone.Source}, {"not-found " + gone.Source}} {
		if got := warnings(list.Disks[i]); !slices.Equal(got, want) {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}

func TestWarnNotInspected(t *testing.T) {
	d := plan.ListedDisk{Source: "/a.raw"}
	for range 2 {
		warnNotInspected(&d, errors.New("broken"))
		warnNotInspected(&d, plan.Refuse(plan.ImageDamaged, "/a.raw", "damaged"))
	}
	if got := warnings(d); !slices.Equal(got, []string{"unreadable /a.raw", "image-damaged /a.raw"}) {
		t.Errorf("%q", got)
	}
}

func TestSectorOf(t *testing.T) {
	if got := sectorOf(domain.Disk{Sector: 4096}, 512); got != 4096 {
		t.Error(got)
	}
	if got := sectorOf(domain.Disk{}, 512); got != 512 {
		t.Error(got)
	}
}
