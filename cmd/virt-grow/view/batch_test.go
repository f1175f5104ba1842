package view

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// batchGuest returns a guest with a plan for its only disk.
func batchGuest(name string, running bool, steps ...plan.Step) batch.Guest {
	p := grownPlan()
	p.Warnings, p.Steps = nil, steps
	p.Target.Guest = &plan.Guest{Name: name, UUID: "uuid-" + name, Disk: "vda", Running: running, Trial: running}
	return batch.Guest{Name: name, UUID: "uuid-" + name, Plan: p, Outage: p.Outage().Seconds(),
		Disks: []inventory.Disk{{Disk: "vda", Size: "+20G"}}, Treatment: inventory.DefaultTreatment()}
}

// plannedFleet returns a batch with each kind of guest.
func plannedFleet() *batch.Batch {
	web := batchGuest("web", true, plan.Step{Kind: plan.StepShutdown, Seconds: 12}, plan.Step{Kind: plan.StepOverlay, Seconds: 0.1},
		plan.Step{Kind: plan.StepTable, Device: "sda", Seconds: 0.8}, plan.Step{Kind: plan.StepPV, Device: "sda2", Seconds: 0.5}, plan.Step{Kind: plan.StepLV, Device: "vg/root", Seconds: 0.5},
		plan.Step{Kind: plan.StepFS, Device: "vg/root", Content: "xfs", Seconds: 0.6}, plan.Step{Kind: plan.StepSwitch, Seconds: 0.2}, plan.Step{Kind: plan.StepStart, Seconds: 1}, plan.Step{Kind: plan.StepHealth, Seconds: 65})
	web.Plan.Warnings = []string{"disk vdb gets no overlay: what the guest writes to it during the trial stays"}
	off := batchGuest("archive", false, plan.Step{Kind: plan.StepMove, Device: "sda4", Seconds: 4}, plan.Step{Kind: plan.StepTable, Device: "sda", Seconds: 0.8}, plan.Step{Kind: plan.StepFS, Device: "sda3", Content: "ntfs", Seconds: 0.3}, plan.Step{Kind: plan.StepCommit, Seconds: 0.1})
	off.Plan.Warnings = web.Plan.Warnings
	two := batchGuest("db", true, plan.Step{Kind: plan.StepShutdown, Seconds: 12}, plan.Step{Kind: plan.StepFS, Device: "vdb1", Content: "ext4", Seconds: 2}, plan.Step{Kind: plan.StepSwitch}, plan.Step{Kind: plan.StepHealth, Seconds: 30})
	two.Plan.Target.More = []plan.DiskTarget{{Disk: "vdb", Path: "/img/data.qcow2", Format: "qcow2", SectorSize: 512}}
	two.Plan.Before.More = []plan.DiskLayout{{Disk: "vdb", Size: 100 * gib, Sector: 512}}
	two.Plan.After.More = []plan.DiskLayout{{Disk: "vdb", Size: 150 * gib, Sector: 512}}
	return &batch.Batch{
		Schema: batch.Schema, Inventory: batch.Source{Name: "/etc/fleet.yaml", SHA256: "abc"}, Made: time.Date(2026, 1, 30, 14, 0, 0, 0, time.UTC),
		Connect: "qemu:///system", Window: inventory.Window{Start: "02:00", End: "04:30"}, Canary: []string{"web"}, Parallel: 2, StopAfter: 1,
		Guests: []batch.Guest{web, two, off, batchGuest("full", true),
			{Name: "vault\x1b[2J", UUID: "uuid-vault", Treatment: inventory.DefaultTreatment(), Disks: []inventory.Disk{{Disk: "vda", Size: "+10G"}, {Disk: "vdb", Size: "50G"}},
				Refusal: &batch.Refusal{Reason: batch.Reason(plan.LUKSLocked), Message: "sda3 is a LUKS container, and there is no key that opens it", Hint: "give the key: --key sda3:file:PATH or --key sda3:prompt"}},
			{Name: "gone", Treatment: inventory.DefaultTreatment(), Disks: []inventory.Disk{{Size: "30G"}}, Refusal: &batch.Refusal{Reason: batch.Reason(plan.NotFound), Message: "there is no domain gone at qemu:///system"}}},
		Expected: batch.Expected{Seconds: 143, Window: 9000, Fits: true},
	}
}

func TestBatchGolden(t *testing.T) {
	possible := func() *batch.Batch {
		b := plannedFleet()
		b.Guests = b.Guests[:3]
		return b
	}
	rehearsed := possible()
	rehearsed.Guests[0].Rehearsed = 31
	rehearsed.Window.Start, rehearsed.Parallel, rehearsed.Canary = "", 1, nil
	rehearsed.Expected = batch.Expected{Seconds: 143, Window: 100}
	none := plannedFleet()
	none.Guests, none.Canary = none.Guests[4:], nil
	for name, draw := range map[string]func(io.Writer) error{
		"batch": func(w io.Writer) error {
			return Batch(w, Style{Width: 100, Unicode: true}, BatchText{Batch: possible(), Apply: "virt-grow batch apply batch.json"})
		},
		"batch-refused": func(w io.Writer) error { return Batch(w, Style{}, BatchText{Batch: plannedFleet()}) },
		"batch-only-possible": func(w io.Writer) error {
			return Batch(w, Style{Width: 40, Unicode: true, Color: true}, BatchText{Batch: plannedFleet(), OnlyPossible: true, Apply: "virt-grow batch apply batch.json"})
		},
		"batch-too-long": func(w io.Writer) error { return Batch(w, Style{}, BatchText{Batch: rehearsed}) },
		"batch-none":     func(w io.Writer) error { return Batch(w, Style{}, BatchText{Batch: none, OnlyPossible: true}) },
		"batch-json":     func(w io.Writer) error { return plannedFleet().Write(w) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := draw(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
		})
	}
}
