package plan_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// several makes one layout of several disks, named as a domain's. Each has one partition
// with that content, from the first MiB to a MiB before the end.
func several(contents map[string]plan.Content) *plan.Layout {
	var l *plan.Layout
	for _, name := range []string{"vda", "vdb", "vdc"} {
		content, ok := contents[name]
		if !ok {
			continue
		}
		t := gpt(502*MiB, []part{{1, 1 * MiB, 500 * MiB, table.GPTLinux}})
		one := layout(502*MiB, t, map[int]plan.Content{1: content})
		one.Disk, one.Devices[0].Name = name, name
		one.Devices[1].Name, one.Devices[1].Parent = name+"1", name
		if l == nil {
			l = one
			continue
		}
		l.More = append(l.More, one.DiskLayout)
		l.Devices = append(l.Devices, one.Devices...)
	}
	return l
}

// overDisks is a volume group over vda and vdb, with a volume of 900 MiB.
func overDisks() *plan.Layout {
	pv := func(used size.Bytes) plan.Content {
		return plan.Content{Type: plan.ContentPV, Offset: MiB, Group: "vg", Size: 496 * MiB, Used: used, Free: 496*MiB - used}
	}
	l := several(map[string]plan.Content{"vda": pv(496 * MiB), "vdb": pv(404 * MiB)})
	l.Devices = append(l.Devices, plan.Device{Name: "vg/d", Kind: plan.LV, Group: "vg", Size: 900 * MiB, Content: fs("xfs", 900*MiB),
		Allocation: &plan.Allocation{Policy: "normal", PV: "vdb1", Behind: 92 * MiB, Last: true}})
	l.Groups = []plan.Group{{Name: "vg", Extent: 4 * MiB, Free: 92 * MiB, PVs: []string{"vda1", "vdb1"}}}
	return l
}

// with adds the sizes of more disks to a request: "vdb:+10G".
func with(r plan.Request, more ...string) plan.Request {
	for _, m := range more {
		disk, amountText, _ := strings.Cut(m, ":")
		r.More = append(r.More, plan.DiskSize{Disk: disk, Size: amount(amountText)})
	}
	return r
}

// guestOn are several disks of one guest as a target.
func guestOn(g plan.Guest, first string, more ...string) plan.Target {
	g.Name, g.Disk = "dev7", first
	t := plan.Target{Path: "/img/" + first, Format: "qcow2", SectorSize: 512, Guest: &g}
	for i, disk := range append([]string{first}, more...) {
		if i > 0 {
			t.More = append(t.More, plan.DiskTarget{Disk: disk, Path: "/img/" + disk, Format: "qcow2", SectorSize: 512})
		}
		if g.Trial {
			g.Disks = append(g.Disks, plan.TrialDisk{Target: disk, Path: "/img/" + disk, Format: "qcow2"})
		}
	}
	return t
}

// stepsOf returns the IDs of a plan's steps, each with its new size in MiB.
func stepsOf(p *plan.Plan) []string {
	var ids []string
	for _, s := range p.Steps {
		id := s.ID()
		if s.To != 0 && s.Kind != plan.StepVerify {
			id += fmt.Sprintf("=%d", s.To/MiB)
		}
		ids = append(ids, id)
	}
	return ids
}

// TestSeveralDisks checks the steps, and their order, of plans for several disks.
func TestSeveralDisks(t *testing.T) {
	plain := func() *plan.Layout {
		return several(map[string]plan.Content{"vda": fs("ext4", 500*MiB), "vdb": fs("xfs", 500*MiB)})
	}
	off := guestOn(plan.Guest{}, "vda", "vdb")
	for name, c := range map[string]struct {
		layout  *plan.Layout
		target  plan.Target
		request plan.Request
		want    string
	}{
		"a group, by its first disk": {overDisks(), off, request("+512M", "vg/d"),
			"overlay:vda=1014 overlay:vdb=502 check:vg/d table:vda pv:vda1=1008 lv:vg/d=1504 fs:vg/d=1504 verify:vg/d " +
				"save-undo:vda save-undo:vdb commit:vda=1014 commit:vdb=502 clean-up"},
		"a group, by both": {overDisks(), off, with(request("+512M", "vg/d"), "vdb:+256M"),
			"overlay:vda=1014 overlay:vdb=758 check:vg/d table:vda table:vdb pv:vdb1=752 pv:vda1=1008 lv:vg/d=1760 fs:vg/d=1760 verify:vdb1 verify:vg/d " +
				"save-undo:vda save-undo:vdb commit:vda=1014 commit:vdb=758 clean-up"},
		"a group, without naming it": {overDisks(), off, request("+512M"),
			"overlay:vda=1014 overlay:vdb=502 check:vg/d table:vda pv:vda1=1008 lv:vg/d=1504 fs:vg/d=1504 verify:vg/d " +
				"save-undo:vda save-undo:vdb commit:vda=1014 commit:vdb=502 clean-up"},
		"what is free in the group already": {overDisks(), off, request("fill", "vg/d"),
			"overlay:vda=502 overlay:vdb=502 check:vg/d lv:vg/d=992 fs:vg/d=992 verify:vg/d " +
				"save-undo:vda save-undo:vdb commit:vda=502 commit:vdb=502 clean-up"},
		"two disks, by name": {plain(), off, with(request("+128M", "vda1", "vdb1"), "vdb:+64M"),
			"overlay:vda=630 overlay:vdb=566 check:vda1 check:vdb1 table:vda table:vdb fs:vda1=628 fs:vdb1=564 verify:vda1 verify:vdb1 " +
				"save-undo:vda save-undo:vdb commit:vda=630 commit:vdb=566 clean-up"},
		"two disks, one file system each": {plain(), off, with(request("+128M"), "vdb:1G"),
			"overlay:vda=630 overlay:vdb=1024 check:vda1 check:vdb1 table:vda table:vdb fs:vda1=628 fs:vdb1=1022 verify:vda1 verify:vdb1 " +
				"save-undo:vda save-undo:vdb commit:vda=630 commit:vdb=1024 clean-up"},
		"in a trial": {plain(), guestOn(plan.Guest{Running: true, Trial: true}, "vda", "vdb"), with(request("+128M"), "vdb:+64M"),
			"shutdown overlay:vda=630 overlay:vdb=566 check:vda1 check:vdb1 table:vda table:vdb fs:vda1=628 fs:vdb1=564 verify:vda1 verify:vdb1 " +
				"switch start health pivot:vda=630 pivot:vdb=566 restore clean-up"},
		"containers only": {plain(), off, with(request("+128M", "none"), "vdb:+64M"),
			"overlay:vda=630 overlay:vdb=566 save-undo:vda save-undo:vdb commit:vda=630 commit:vdb=566 clean-up"},
		"nothing to do": {plain(), off, with(request("fill"), "vdb:fill"), ""},
	} {
		p, err := plan.Build(c.layout, c.target, c.request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(stepsOf(p), " "); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
		var file bytes.Buffer
		if err := p.Write(&file); err != nil {
			t.Fatal(err)
		}
		again, err := plan.Read(&file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(p.Target, again.Target); diff != "" || again.Fingerprint != p.Fingerprint {
			t.Errorf("%s: read back: %s", name, diff)
		}
	}
}

func TestSeveralDisksRefused(t *testing.T) {
	plain := several(map[string]plan.Content{"vda": fs("ext4", 500*MiB), "vdb": fs("xfs", 500*MiB)})
	missing := overDisks()
	missing.Groups[0].Missing = 1
	off := guestOn(plan.Guest{}, "vda", "vdb")
	block := off
	block.More = []plan.DiskTarget{{Disk: "vdb", Path: "/dev/b", Block: true}}
	ended := several(map[string]plan.Content{"vda": fs("ext4", 500*MiB), "vdb": fs("xfs", 500*MiB)})
	ended.Devices[2].AtEnd = "md RAID"
	for name, c := range map[string]struct {
		layout  *plan.Layout
		target  plan.Target
		request plan.Request
		reason  plan.Reason
		says    string
	}{
		"a PV elsewhere":          {missing, off, request("+512M", "vg/d"), plan.UnsupportedLayout, "1 PV"},
		"smaller":                 {plain, off, with(request("+1M"), "vdb:100M"), plan.Shrink, "disk vdb"},
		"a block device":          {plain, block, with(request("+1M"), "vdb:+100M"), plan.UnsupportedLayout, "/dev/b"},
		"the letters of a domain": {plain, off, with(request("+1M", "sda1"), "vdb:+1M"), plan.NotFound, "sda1"},
		"metadata at vdb's end":   {ended, off, with(request("+1M", "vda1"), "vdb:+1M"), plan.UnsupportedLayout, "md RAID"},
	} {
		_, err := plan.Build(c.layout, c.target, c.request)
		if r, ok := plan.IsRefusal(err); !ok || r.Reason != c.reason || !strings.Contains(r.Text, c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnusedDisk checks that a message names a disk whose new space is not used.
func TestUnusedDisk(t *testing.T) {
	l := several(map[string]plan.Content{"vda": fs("ext4", 500*MiB), "vdb": fs("xfs", 500*MiB)})
	p, err := plan.Build(l, guestOn(plan.Guest{}, "vda", "vdb"), with(request("+128M", "vda1"), "vdb:+64M"))
	if err != nil || !slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "container of vdb") }) {
		t.Errorf("%v, %q", err, p.Warnings)
	}
}

// TestGroupOnDisks checks which disks a group is on, if all its PVs are present.
func TestGroupOnDisks(t *testing.T) {
	l := overDisks()
	if got := l.DisksOf("vg"); l.Lacks("vg") || !slices.Equal(got, []string{"vda", "vdb"}) {
		t.Errorf("%q", got)
	}
	l.Groups[0].Missing = 1
	if got := l.DisksOf("vg"); !l.Lacks("vg") || len(got) > 0 {
		t.Errorf("incomplete: %q", got)
	}
	if l.Lacks("other") || len(l.DisksOf("other")) > 0 {
		t.Error("another group")
	}
}

// TestPartitionNames checks that a partition's name is split into the parts that it was
// made of.
func TestPartitionNames(t *testing.T) {
	for _, c := range []struct{ disk, number, name string }{
		{"vda", "1", "vda1"}, {"sdab", "12", "sdab12"}, {"nvme0n1", "3", "nvme0n1p3"},
	} {
		if got := plan.PartitionName(c.disk, c.number); got != c.name {
			t.Errorf("%s of %s: %s", c.number, c.disk, got)
		}
		if got, ok := plan.PartitionNumber(c.name, c.disk); got != c.number || !ok {
			t.Errorf("%s on %s: %q, %t", c.name, c.disk, got, ok)
		}
	}
	for name, disk := range map[string]string{"vdab1": "vda", "vda1x": "vda", "nvme0n12": "nvme0n1", "vg/vda1": "vda", "vda": "vdab"} {
		if got, ok := plan.PartitionNumber(name, disk); ok {
			t.Errorf("%s is %q of %s", name, got, disk)
		}
	}
}

// renamed converts a layout of one disk into a layout for one of several disks.
func renamed(l *plan.Layout, disk, prefix string) (*plan.Layout, func(string) string) {
	name := func(n string) string {
		if rest, ok := strings.CutPrefix(n, "sda"); ok {
			return disk + rest
		}
		return prefix + n
	}
	l = l.Clone()
	l.Disk = disk
	for i := range l.Devices {
		d := &l.Devices[i]
		d.Name = name(d.Name)
		if d.Parent != "" {
			d.Parent = name(d.Parent)
		}
		for _, group := range []*string{&d.Group, &d.Content.Group} {
			if *group != "" {
				*group = prefix + *group
			}
		}
	}
	for i := range l.Groups {
		g := &l.Groups[i]
		g.Name, g.PVs = prefix+g.Name, slices.Clone(g.PVs)
		for j := range g.PVs {
			g.PVs[j] = name(g.PVs[j])
		}
	}
	return l, name
}

// TestOneOfSeveralDisks checks that a disk has the same plan whether it is alone or
// beside another, unchanged disk.
func TestOneOfSeveralDisks(t *testing.T) {
	planned := 0
	rapid.Check(t, func(t *rapid.T) {
		alone, beside := anyLayout(t), anyLayout(t)
		r := anyRequest(t, alone)
		if len(r.Grow) == 0 || r.NTFS == plan.NTFSGuest {
			t.Skip("only what is named is found beside another disk")
		}
		want, refused := plan.Build(alone, target, r)

		l, name := renamed(alone, "vda", "a-")
		other, _ := renamed(beside, "vdb", "b-")
		l.More, l.Devices, l.Groups = []plan.DiskLayout{other.DiskLayout}, append(l.Devices, other.Devices...), append(l.Groups, other.Groups...)
		both := r
		both.Grow = slices.Clone(r.Grow)
		for i := range both.Grow {
			both.Grow[i].Name = name(both.Grow[i].Name)
		}
		got, err := plan.Build(l, guestOn(plan.Guest{}, "vda", "vdb"), with(both, "vdb:fill"))
		if (err == nil) != (refused == nil) {
			t.Fatalf("%v, and alone %v", err, refused)
		}
		if err != nil {
			one, _ := plan.IsRefusal(err)
			if two, _ := plan.IsRefusal(refused); one == nil || one.Reason != two.Reason {
				t.Fatalf("%v, and alone %v", err, refused)
			}
			return
		}
		edits := func(p *plan.Plan, name func(string) string) (all []string) {
			for _, s := range p.Steps {
				if s.Edits() || s.Kind == plan.StepCheck || s.Kind == plan.StepVerify {
					all = append(all, fmt.Sprint(s.Kind, name(s.Device), s.From, s.To, s.Bytes, s.Ends))
				}
			}
			return all
		}
		same := func(n string) string { return n }
		if diff := cmp.Diff(edits(want, name), edits(got, same)); diff != "" {
			t.Fatal(diff)
		}
		for _, d := range want.After.Devices {
			now, ok := got.After.Find(name(d.Name))
			if !ok || now.Start != d.Start || now.Size != d.Size || now.Content.Size != d.Content.Size {
				t.Fatalf("%s: %+v, and alone %+v", d.Name, now, d)
			}
		}
		for _, d := range other.Devices {
			if now, ok := got.After.Find(d.Name); !ok || cmp.Diff(d, *now) != "" {
				t.Fatalf("%s: %+v, was %+v", d.Name, now, d)
			}
		}
		planned++
	})
	if planned == 0 {
		t.Error("nothing was ever planned")
	}
}

// TestDriversOfAllDisks checks that a plan warns if Windows has no driver for the bus of any
// of the disks.
func TestDriversOfAllDisks(t *testing.T) {
	for _, c := range []struct {
		buses, installed []string
		want             []string // drivers that are missing
	}{
		{[]string{"sata", "virtio"}, nil, []string{"viostor"}},
		{[]string{"virtio", "virtio"}, nil, []string{"viostor"}},
		{[]string{"virtio", "scsi"}, []string{"viostor"}, []string{"vioscsi"}},
		{[]string{"scsi", "virtio"}, []string{"viostor", "vioscsi"}, nil},
		{[]string{"sata", "ide"}, nil, nil},
	} {
		l := several(map[string]plan.Content{"vda": fs("ext4", 500*MiB), "vdb": fs("xfs", 500*MiB)})
		l.OS = &plan.OS{Type: "windows", Virtio: c.installed}
		target := guestOn(plan.Guest{Bus: c.buses[0]}, "vda", "vdb")
		target.More[0].Bus = c.buses[1]
		p, err := plan.Build(l, target, with(request("+512M", "vda1"), "vdb:+512M"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range p.Warnings {
			if _, rest, ok := strings.Cut(w, "has no driver "); ok {
				driver, _, _ := strings.Cut(rest, ",")
				got = append(got, driver)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("buses %q with %q: missing %q, want %q", c.buses, c.installed, got, c.want)
		}
	}
}
