package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// windows returns the disk of 40 GiB that the Windows installer makes: ESP, MSR, C: and
// a recovery partition.
func windows() *plan.Layout {
	t := gpt(40*GiB, []part{
		{1, 1 * MiB, 100 * MiB, table.GPTESP},
		{2, 101 * MiB, 16 * MiB, table.GPTMSR},
		{3, 117 * MiB, 40*GiB - 118*MiB - 600*MiB, table.GPTBasicData},
		{4, 40*GiB - 601*MiB, 600 * MiB, table.GPTWinRE},
	})
	l := layout(40*GiB, t, map[int]plan.Content{
		1: {Type: "vfat"},
		3: fs("ntfs", 40*GiB-718*MiB),
		4: fs("ntfs", 600*MiB),
	})
	l.OS = &plan.OS{Type: "windows", Root: "sda3"}
	return l
}

// at is the place of a partition in a test: name, start, size.
type at struct {
	name       string
	start, len size.Bytes
}

func places(l *plan.Layout) []at {
	var all []at
	for _, d := range l.Devices[1:] {
		all = append(all, at{d.Name, d.Start, d.Size})
	}
	return all
}

func TestMoves(t *testing.T) {
	// The disk has root, swap and data, with a gap before data.
	row := func() *plan.Layout {
		t := gpt(10*GiB, []part{
			{1, 1 * MiB, 4*GiB - MiB, ""},
			{2, 4 * GiB, GiB, table.GPTLinuxSwap},
			{3, 6 * GiB, 4*GiB - MiB, ""},
		})
		return layout(10*GiB, t, map[int]plan.Content{1: fs("ext4", 4*GiB-MiB), 2: {Type: "swap"}, 3: fs("xfs", 4*GiB-MiB)})
	}
	for name, c := range map[string]struct {
		layout  *plan.Layout
		request plan.Request
		steps   []string
		after   []at
	}{
		"recovery behind C:": {windows(), request("60G"),
			[]string{"check:sda3", "move:sda4", "table:sda", "fs:sda3", "verify:sda3"},
			[]at{{"sda1", MiB, 100 * MiB}, {"sda2", 101 * MiB, 16 * MiB},
				{"sda3", 117 * MiB, 60*GiB - 118*MiB - 600*MiB}, {"sda4", 60*GiB - 601*MiB, 600 * MiB}}},
		"some of the room: the rest stays behind the target": {windows(), request("60G", "sda3=+5G"),
			[]string{"check:sda3", "move:sda4", "table:sda", "fs:sda3", "verify:sda3"},
			[]at{{"sda1", MiB, 100 * MiB}, {"sda2", 101 * MiB, 16 * MiB},
				{"sda3", 117 * MiB, 45*GiB - 718*MiB}, {"sda4", 60*GiB - 601*MiB, 600 * MiB}}},
		"less than the neighbour": {windows(), request("+100M"),
			[]string{"check:sda3", "move:sda4", "table:sda", "fs:sda3", "verify:sda3"},
			[]at{{"sda1", MiB, 100 * MiB}, {"sda2", 101 * MiB, 16 * MiB},
				{"sda3", 117 * MiB, 40*GiB - 618*MiB}, {"sda4", 40*GiB - 501*MiB, 600 * MiB}}},
		"two in the way": {row(), request("20G", "sda1"),
			[]string{"check:sda1", "move:sda2", "move:sda3", "table:sda", "fs:sda1", "verify:sda1"},
			[]at{{"sda1", MiB, 15*GiB - MiB}, {"sda2", 15 * GiB, GiB}, {"sda3", 16*GiB - 0, 4*GiB - MiB}}},
		"the gap is enough for one": {row(), request("20G", "sda1=+1G"),
			[]string{"check:sda1", "move:sda2", "table:sda", "fs:sda1", "verify:sda1"},
			[]at{{"sda1", MiB, 5*GiB - MiB}, {"sda2", 5 * GiB, GiB}, {"sda3", 6 * GiB, 4*GiB - MiB}}},
		"the last one needs no move": {row(), request("20G", "sda3"),
			[]string{"check:sda3", "table:sda", "fs:sda3", "verify:sda3"},
			[]at{{"sda1", MiB, 4*GiB - MiB}, {"sda2", 4 * GiB, GiB}, {"sda3", 6 * GiB, 14*GiB - MiB}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, c.request)
			if err != nil {
				t.Fatal(err)
			}
			want := append(append([]string{"overlay"}, c.steps...), "save-undo", "commit", "clean-up")
			if diff := cmp.Diff(want, ids(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.after, places(p.After), cmp.AllowUnexported(at{})); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTargets checks several targets in one run, with sizes and with shares of the free
// space.
func TestTargets(t *testing.T) {
	two := func() *plan.Layout {
		t := gpt(10*GiB, []part{{1, MiB, 4*GiB - MiB, ""}, {2, 4 * GiB, 6*GiB - MiB, ""}})
		return layout(10*GiB, t, map[int]plan.Content{1: fs("ext4", 4*GiB-MiB), 2: fs("xfs", 6*GiB-MiB)})
	}
	free := func() *plan.Layout {
		l := volumes()
		l.Groups[0].Free = 0 // as if the volumes used all of it
		l.Devices[3].Size += l.Devices[2].Content.Size - 8*GiB
		return l
	}
	for name, c := range map[string]struct {
		layout  *plan.Layout
		request plan.Request
		steps   []string
		sizes   map[string]size.Bytes
	}{
		"a size, and what is left": {two(), request("20G", "sda1=+5G", "sda2"),
			[]string{"check:sda1", "move:sda2", "table:sda", "check:sda2", "fs:sda1", "fs:sda2", "verify:sda1", "verify:sda2"},
			map[string]size.Bytes{"sda1": 9*GiB - MiB, "sda2": 11*GiB - MiB}},
		"equal shares": {two(), request("20G", "sda1", "sda2"),
			[]string{"check:sda1", "move:sda2", "table:sda", "check:sda2", "fs:sda1", "fs:sda2", "verify:sda1", "verify:sda2"},
			map[string]size.Bytes{"sda1": 9*GiB - MiB, "sda2": 11*GiB - MiB}},
		"a volume's size, and what is left of the group": {free(), request("20G", "vg/root=+2G", "vg/home-data"),
			[]string{"check:vg/root", "check:vg/home-data", "table:sda", "pv:sda2", "lv:vg/root", "fs:vg/root",
				"lv:vg/home-data", "fs:vg/home-data", "verify:vg/root", "verify:vg/home-data"},
			map[string]size.Bytes{"vg/home-data": 2*GiB + 8*GiB}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, c.request)
			if err != nil {
				t.Fatal(err)
			}
			want := append(append([]string{"overlay"}, c.steps...), "save-undo", "commit", "clean-up")
			if diff := cmp.Diff(want, ids(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for name, want := range c.sizes {
				if d, _ := p.After.Find(name); d.Size != want {
					t.Errorf("%s will have %s, want %s", name, d.Size, want)
				}
			}
		})
	}
}

// TestDelete checks that a partition in the way is deleted instead of moved.
func TestDelete(t *testing.T) {
	r := request("60G", "sda3")
	r.Delete = []string{"sda4"}
	p, err := plan.Build(windows(), target, r)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := p.After.Find("sda3")
	if _, there := p.After.Find("sda4"); there || c.End() != 60*GiB-MiB || p.Moves() != 0 {
		t.Errorf("sda4 there: %v, sda3 ends at %s, %s move", there, c.End(), p.Moves())
	}
	if gone := p.Deletes(); len(gone) != 1 || gone[0].Name != "sda4" {
		t.Errorf("deletes %v", gone)
	}
	for name, reason := range map[string]plan.Reason{"sda3": plan.UnsupportedLayout, "sda9": plan.NotFound, "sda": plan.UnsupportedLayout} {
		r.Delete = []string{name}
		if _, err := plan.Build(windows(), target, r); err == nil {
			t.Errorf("%s was to be deleted", name)
		} else if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMoveStep checks the fields of a move step.
func TestMoveStep(t *testing.T) {
	p, err := plan.Build(windows(), target, request("60G"))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Steps[2]
	want := plan.Step{Kind: plan.StepMove, Device: "sda4", From: 40*GiB - 601*MiB, To: 60*GiB - 601*MiB, Bytes: 600 * MiB,
		Volumes: []plan.Volume{{Device: "sda4", From: 40*GiB - 601*MiB, To: 60*GiB - 601*MiB, Size: 600 * MiB}},
		Summary: s.Summary, Seconds: s.Seconds}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Seconds < 1 || p.Writes < 600*MiB {
		t.Errorf("%v s, %s written", s.Seconds, p.Writes)
	}
}

// TestWindowsStays checks that volumes on an MBR disk are not moved if the boot
// configuration of Windows finds them by their first sectors.
func TestWindowsStays(t *testing.T) {
	for role, moves := range map[plan.Role]bool{
		plan.RoleWindowsBoot: false, plan.RoleWindowsSystem: false, plan.RoleWindowsRecovery: true, "": true,
	} {
		tab := mbr(10*GiB, []part{{number: 1, start: MiB, len: GiB}, {number: 2, start: 2 * GiB, len: 8 * GiB}})
		ntfs := fs("ntfs", 8*GiB)
		ntfs.Role = role
		l := layout(10*GiB, tab, map[int]plan.Content{1: fs("ext4", GiB), 2: ntfs})
		_, err := plan.Build(l, target, request("20G", "sda1"))
		r, _ := plan.IsRefusal(err)
		if stays := r != nil && r.Reason == plan.ImmovableNeighbor; stays == moves {
			t.Errorf("%q: %v", role, err)
		}
	}
}

// TestShares checks shares of the free space of a disk and of a group.
func TestShares(t *testing.T) {
	row := func() *plan.Layout {
		t := gpt(10*GiB, []part{{1, 1 * MiB, 4*GiB - MiB, ""}, {2, 4 * GiB, GiB, table.GPTLinuxSwap}, {3, 5 * GiB, 5*GiB - MiB, ""}})
		return layout(10*GiB, t, map[int]plan.Content{1: fs("ext4", 4*GiB-MiB), 2: {Type: "swap"}, 3: fs("xfs", 5*GiB-MiB)})
	}
	for name, c := range map[string]struct {
		layout *plan.Layout
		grow   []string
		want   map[string]size.Bytes // growth of each device
	}{
		"a share and the rest": {row(), []string{"sda1=30%", "sda3"}, map[string]size.Bytes{"sda1": 3 * GiB, "sda3": 7 * GiB}},
		"two shares":           {row(), []string{"sda3=50%", "sda1=50%"}, map[string]size.Bytes{"sda1": 5 * GiB, "sda3": 5 * GiB}},
		"some of it":           {row(), []string{"sda3=25%"}, map[string]size.Bytes{"sda3": 10 * GiB / 4}},
		"some, and a move":     {row(), []string{"sda1=25%"}, map[string]size.Bytes{"sda1": 10 * GiB / 4, "sda3": 0}},
		"after a size":         {row(), []string{"sda1=50%", "sda3=+4G"}, map[string]size.Bytes{"sda1": 3 * GiB, "sda3": 4 * GiB}},
		"all to shares":        {row(), []string{"sda1=60%", "sda3=40%", "sda2"}, nil},
		"of a group":           {volumes(), []string{"vg/root=50%"}, map[string]size.Bytes{"vg/root": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, request("+10G", c.grow...))
			if c.want == nil {
				if _, ok := plan.IsRefusal(err); !ok {
					t.Errorf("swap grew: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				before, _ := p.Before.Find(name)
				after, _ := p.After.Find(name)
				if before.Kind == plan.LV {
					free := p.After.Groups[0].Free
					if got := after.Size - before.Size; got == 0 || got > free || free-got > p.After.Groups[0].Extent {
						t.Errorf("%s grows by %s, %s stay free", name, got, free)
					}
					continue
				}
				if got := after.Size - before.Size; got > want+2*MiB || want > got+2*MiB {
					t.Errorf("%s grows by %s, want %s: %+v", name, got, want, places(p.After))
				}
			}
		})
	}
}
