package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// plainExt4 is an ext4 as mkfs.ext4 makes it.
func plainExt4() *superblock.Ext {
	return &superblock.Ext{Blocks: int64(10*GiB-129*MiB) / 4096, BlockSize: 4096, BlocksPerGroup: 32768, InodesPerGroup: 8192,
		InodeSize: 256, DescSize: 64, ReservedGDT: 1024, FlexGroups: 16, Compat: 0x103c, Incompat: 0x2c2, ROCompat: 0x46b}
}

// TestCheckModes checks which file systems get a full check before and after their
// growth, and which are grown by the kernel.
func TestCheckModes(t *testing.T) {
	withErrors := plainExt4()
	withErrors.Errors = true
	for name, c := range map[string]struct {
		content string
		ext     *superblock.Ext
		mode    plan.CheckMode
		want    string
	}{
		"ext4":               {"ext4", plainExt4(), "", "check fs mounted verify"},
		"ext4, full":         {"ext4", plainExt4(), plan.CheckFull, "check fs mounted verify check"},
		"ext4, quick":        {"ext4", plainExt4(), plan.CheckQuick, "compare fs mounted verify"},
		"ext4 by resize2fs":  {"ext4", withErrors, "", "check fs verify check"},
		"likewise, quick":    {"ext4", withErrors, plan.CheckQuick, "check fs verify"},
		"ext3":               {"ext3", plainExt4(), "", "check fs verify check"},
		"xfs":                {"xfs", nil, "", "check fs mounted verify"},
		"xfs, full":          {"xfs", nil, plan.CheckFull, "check fs mounted verify check"},
		"btrfs, quick":       {"btrfs", nil, plan.CheckQuick, "compare fs mounted verify"},
		"ntfs":               {"ntfs", nil, "", "check fs verify check"},
		"ntfs, quick":        {"ntfs", nil, plan.CheckQuick, "check fs verify"},
		"ext4, not examined": {"ext4", nil, "", "check fs verify check"},
	} {
		l := cloud()
		d, _ := l.Find("sda1")
		d.Content.Type, d.Content.Ext = c.content, c.ext
		r := request("+10G")
		r.Check = c.mode
		p, err := plan.Build(l, target, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := checksOf(p); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestEstimateFiles checks that only steps that read all inodes take longer with more
// files, and that saved plans are compared without the number of files.
func TestEstimateFiles(t *testing.T) {
	build := func(content string, ext *superblock.Ext, files int64) *plan.Plan {
		l := cloud()
		d, _ := l.Find("sda1")
		d.Content.Type, d.Content.Ext, d.Content.Files = content, ext, files
		p, err := plan.Build(l, target, request("+10G"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		content string
		ext     *superblock.Ext
		slower  []string // the steps that take longer
	}{
		{"xfs", nil, []string{"check:sda1"}},
		{"ext4", plainExt4(), []string{"check:sda1"}},
		{"ext3", plainExt4(), []string{"check:sda1", "fs:sda1", "verify:sda1"}},
		{"ntfs", nil, []string{"fs:sda1"}},
	} {
		few, many := build(c.content, c.ext, 1000), build(c.content, c.ext, 1000000)
		if few.Fingerprint != many.Fingerprint {
			t.Errorf("%s: the fingerprint depends on the number of files", c.content)
		}
		for i, s := range many.Steps {
			if got, want := s.Seconds > few.Steps[i].Seconds+1, slices.Contains(c.slower, s.ID()); got != want {
				t.Errorf("%s: %s takes %.1f s, and %.1f with few files", c.content, s.ID(), s.Seconds, few.Steps[i].Seconds)
			}
		}
	}
}

// checksOf returns the steps for the file system.
func checksOf(p *plan.Plan) string {
	var words []string
	add := func(word string, holds bool) {
		if holds {
			words = append(words, word)
		}
	}
	for _, s := range p.Steps {
		add("compare", s.Kind == plan.StepCheck && !s.Full)
		add("fs", s.Kind == plan.StepFS)
		add("mounted", s.Mounted)
		add("verify", s.Kind == plan.StepVerify)
		add("check", s.Full)
	}
	return strings.Join(words, " ")
}

// TestCheckEarly checks that the full check of a running guest's file system comes
// before the shutdown if a snapshot is possible. Otherwise the plan has a warning,
// unless the check is left to the outage.
func TestCheckEarly(t *testing.T) {
	noJournal, withErrors := plainExt4(), plainExt4()
	noJournal.Compat &^= 0x4
	withErrors.Errors = true
	for name, c := range map[string]struct {
		content  string
		ext      *superblock.Ext
		mode     plan.CheckMode
		snapshot bool
		early    bool
		want     string
		warns    bool
	}{
		"xfs":                      {"xfs", nil, "", true, true, "check compare fs mounted verify", false},
		"xfs, full":                {"xfs", nil, plan.CheckFull, true, false, "check fs mounted verify check", false},
		"xfs, quick":               {"xfs", nil, plan.CheckQuick, true, false, "compare fs mounted verify", false},
		"xfs without a snapshot":   {"xfs", nil, "", false, false, "compare fs mounted verify", true},
		"ext4":                     {"ext4", plainExt4(), "", true, true, "check compare fs mounted verify", false},
		"ext4 by resize2fs":        {"ext4", withErrors, "", true, true, "check check fs verify check", false},
		"likewise, no snapshot":    {"ext4", withErrors, "", false, false, "check fs verify check", false},
		"ext4 without a journal":   {"ext4", noJournal, "", true, false, "check fs verify check", false},
		"ntfs, checked in no time": {"ntfs", nil, "", true, false, "check fs verify check", false},
	} {
		l := cloud()
		d, _ := l.Find("sda1")
		d.Content.Type, d.Content.Ext = c.content, c.ext
		r, running := request("+10G"), target
		r.Check = c.mode
		running.Guest = &plan.Guest{Name: "dev7", Disk: "vda", Running: true, Trial: true, Snapshot: c.snapshot}
		p, err := plan.Build(l, running, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := checksOf(p); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := p.Steps[0].Kind == plan.StepSnapshotCheck; got != c.early || got != (len(p.SnapshotChecks()) > 0) {
			t.Errorf("%s: begins with %s", name, p.Steps[0].ID())
		}
		if got := strings.Contains(strings.Join(p.Warnings, "\n"), "--check full"); got != c.warns {
			t.Errorf("%s: warns %q", name, p.Warnings)
		}
		early := 0.0
		for _, s := range p.SnapshotChecks() {
			early += s.Seconds
		}
		if got := p.Duration().Seconds() - p.Outage().Seconds(); got < early {
			t.Errorf("%s: the outage includes the check before it", name)
		}
	}
}
