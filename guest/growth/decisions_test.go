package growth

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// windows returns a disk with two NTFS volumes, the first of which is in use.
func windows() *plan.Layout {
	unclean := &plan.Refusal{Reason: plan.NTFSDirty}
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: 4 * size.GiB, Sector: 512}, Devices: []plan.Device{
		{Name: "sda", Kind: plan.Disk, Size: 4 * size.GiB},
		{Name: "sda1", Content: plan.Content{Type: "ntfs", Problem: unclean}},
		{Name: "sda2", Content: plan.Content{Type: "ntfs"}},
		{Name: "sda3", Content: plan.Content{Type: "ext4", Problem: &plan.Refusal{Reason: plan.FSDamaged, Way: plan.WayUnmount}}},
		{Name: "sda4", Content: plan.Content{Type: "ext4", Problem: &plan.Refusal{Reason: plan.FSDamaged}}},
	}}
}

// TestUsedByWindows checks that a volume mounted by a running guest does not count as
// damaged, while other damage does.
func TestUsedByWindows(t *testing.T) {
	l := windows()
	if used := usedByWindows(l); !reflect.DeepEqual(used, map[string]bool{"sda1": true}) {
		t.Errorf("in use: %v", used)
	}
	var damaged []string
	for _, d := range l.Devices {
		if d.Content.Problem != nil {
			damaged = append(damaged, d.Name)
		}
	}
	if !slices.Equal(damaged, []string{"sda4"}) {
		t.Errorf("damaged: %v", damaged)
	}
}

// TestPossible checks that a rehearsal leaves out an NTFS in use, but verifies the
// table.
func TestPossible(t *testing.T) {
	p := &plan.Plan{Steps: []plan.Step{
		{Kind: plan.StepOverlay}, {Kind: plan.StepCheck, Device: "sda1", Content: "ntfs"}, {Kind: plan.StepTable, Device: "sda"},
		{Kind: plan.StepFS, Device: "sda1", Content: "ntfs"}, {Kind: plan.StepVerify, Device: "sda1", Content: "ntfs"}, {Kind: plan.StepUndo},
	}}
	for _, c := range []struct {
		inUse   map[string]bool
		steps   string
		leftOut []string
	}{
		{nil, "check:sda1 ntfs, table:sda , fs:sda1 ntfs, verify:sda1 ntfs", nil},
		{map[string]bool{"sda2": true}, "check:sda1 ntfs, table:sda , fs:sda1 ntfs, verify:sda1 ntfs", nil},
		{map[string]bool{"sda1": true}, "table:sda , verify:sda1 ", []string{"sda1"}},
	} {
		var out Rehearsal
		var steps []string
		for _, s := range out.possible(p, c.inUse) {
			steps = append(steps, s.ID()+" "+s.Content)
		}
		if got := strings.Join(steps, ", "); got != c.steps || !slices.Equal(out.LeftOut, c.leftOut) {
			t.Errorf("%v: %q without %v", c.inUse, got, out.LeftOut)
		}
	}
}

// TestSame checks that a saved plan is valid for only one state of one disk. Estimates
// and texts may differ.
func TestSame(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*plan.Plan)
		ok     bool
	}{
		"the same":     {func(*plan.Plan) {}, true},
		"words":        {func(p *plan.Plan) { p.Steps[0].Summary, p.Steps[0].Seconds = "other", 7 }, true},
		"other image":  {func(p *plan.Plan) { p.Target.Path = "/b.raw" }, false},
		"other size":   {func(p *plan.Plan) { p.OldSize = 2 }, false},
		"other data":   {func(p *plan.Plan) { p.Fingerprint = "other" }, false},
		"other steps":  {func(p *plan.Plan) { p.Steps[0].To = 9 }, false},
		"without them": {func(p *plan.Plan) { p.Steps = nil }, false},
	} {
		made := func() *plan.Plan {
			return &plan.Plan{Target: plan.Target{Path: "/a.raw"}, OldSize: 1, Fingerprint: "f", Steps: []plan.Step{{Kind: plan.StepFS, Device: "sda", To: 2, Summary: "grow"}}}
		}
		now := made()
		c.change(now)
		err := same(made(), now)
		if r, _ := plan.IsRefusal(err); (err == nil) != c.ok || err != nil && (r == nil || r.Reason != plan.StalePlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChecks checks that planning does not check the disk of a running guest.
func TestChecks(t *testing.T) {
	p := &plan.Plan{Steps: []plan.Step{{Kind: plan.StepOverlay}, {Kind: plan.StepCheck, Device: "sda1", Full: true}, {Kind: plan.StepCheck, Device: "sda2"}, {Kind: plan.StepFS, Device: "sda1"}}}
	if got := checks(p, block.Exclusive); len(got) != 1 || got[0].Kind != plan.StepCheck {
		t.Errorf("%v", got)
	}
	if got := checks(p, block.Shared); len(got) != 0 {
		t.Errorf("shared: %v", got)
	}
}

// TestDescribe checks the description of the image in the status, in every state of a
// growth.
func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		record journal.Record
		active bool
		says   string
	}{
		{journal.Record{State: journal.Finished}, false, "the changes are in the image"},
		{journal.Record{State: journal.RolledBack}, false, "as it was before"},
		{journal.Record{State: journal.Waiting}, false, "the image is untouched"},
		{journal.Record{State: journal.Committing, Done: map[string]bool{"commit": true}}, true, "Do not start the guest"},
		{journal.Record{State: journal.Opening}, true, "The image is untouched"},
		{journal.Record{State: journal.Editing, Running: "fs:sda"}, true, "(step fs:sda)"},
		{journal.Record{State: journal.Committing, Running: "pivot:vda"}, false, "only resume"},
		{journal.Record{State: journal.Trial, Running: "health"}, false, "(step health)"},
		{journal.Record{State: journal.Committing, Running: "commit"}, false, "may be partly written"},
		{journal.Record{State: journal.Committing}, false, "The image is untouched"},
		{journal.Record{State: journal.Editing}, false, "The image is untouched"},
		{journal.Record{State: journal.Opening}, false, "The image is untouched"},
	} {
		g := &growth{Job: domainjob.New(&job.Job{}, nil), edited: []editedDisk{{}}}
		if text := g.Describe(c.record, c.active); !strings.Contains(text, c.says) {
			t.Errorf("%s, active %t: %s; want %q", c.record.State, c.active, text, c.says)
		}
	}
	text := describeTrial(journal.Record{}, &plan.Guest{Name: "dev7", Unprotected: []string{"vdb"}})
	if !strings.Contains(text, "dev7") || !strings.Contains(text, "vdb") {
		t.Errorf("the trial: %s", text)
	}
}
