package view

import (
	"bytes"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// TestSeveralDisks: a plan and a result name each disk with its own map and sizes.
func TestSeveralDisks(t *testing.T) {
	content := func(kind string) plan.Content { return plan.Content{Type: kind, Size: 10 * gib} }
	l := &plan.Layout{DiskLayout: plan.DiskLayout{Disk: "vda", Size: 10 * gib, Sector: 512},
		More: []plan.DiskLayout{{Disk: "vdb", Size: 10 * gib, Sector: 512}},
		Devices: []plan.Device{
			{Name: "vda", Kind: plan.Disk, Size: 10 * gib, Content: content("xfs")},
			{Name: "vdb", Kind: plan.Disk, Size: 10 * gib, Content: content("ext4")}}}
	add := plan.Amount{Mode: plan.Relative, Bytes: 5 * gib}
	target := plan.Target{Path: "/img/a.qcow2", Format: "qcow2", SectorSize: 512, Guest: &plan.Guest{Name: "dev7", Disk: "vda"},
		More: []plan.DiskTarget{{Disk: "vdb", Path: "/img/b.raw", Format: "raw", SectorSize: 512}}}
	p, err := plan.Build(l, target, plan.Request{Size: add, More: []plan.DiskSize{{Disk: "vdb", Size: plan.Amount{Mode: plan.Absolute, Bytes: 30 * gib}}}})
	if err != nil {
		t.Fatal(err)
	}
	var shown, done, jobs bytes.Buffer
	if err := Jobs(&jobs, Style{Width: 80}, []Job{{ID: "j", Target: "dev7", Disk: "vda", Disks: target.Disks(), State: "trial"}}); err != nil {
		t.Fatal(err)
	}
	if err := Plan(&shown, Style{Width: 80, Unicode: true}, PlanText{Plan: p, Overlay: "/img", Exact: true}); err != nil {
		t.Fatal(err)
	}
	if err := Results(&done, Style{Width: 80, Unicode: true}, Result{Job: "j", Outcome: Done, Plan: p, Took: 1}); err != nil {
		t.Fatal(err)
	}
	for text, words := range map[string][]string{
		shown.String(): {"vda, /img/a.qcow2 (qcow2): 10 GiB → 15 GiB", "vdb, /img/b.raw (raw): 10 GiB → 30 GiB", "disks vda, vdb: the guest is off",
			"Before: vda 10 GiB", "After: vdb 30 GiB", "vdb (ext4) grows 10 GiB → 30 GiB", "commit the overlay of vdb", "10737418240 → 32212254720 bytes"},
		jobs.String(): {"dev7 vda, vdb"},
		done.String(): {"dev7 vda, vdb is grown", "vda  10 GiB → 15 GiB", "vdb  10 GiB → 30 GiB"},
	} {
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
}

// TestBegunAgain: a step that was undone before there was a plan is not one of the plan.
func TestBegunAgain(t *testing.T) {
	var shown bytes.Buffer
	p := NewProgress(&shown, Style{Width: 80, Unicode: true}, false, clockwork())
	undone := plan.Step{Kind: plan.StepOverlay}
	for _, phase := range []apply.Phase{apply.Started, apply.Finished, apply.Undoing, apply.Undone} {
		p.Event(apply.Event{Phase: phase, Step: undone})
	}
	p.Listed([]plan.Step{{Kind: plan.StepOverlay, Device: "vda", Summary: "create an overlay for vda"}})
	p.Stop()
	if text := shown.String(); strings.Contains(text, "step overlay") || !strings.Contains(text, "delete the overlay") {
		t.Error(text)
	}
}
