package growth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
)

// TestOptionsOf checks that a plan is applied with the options that it was made with.
func TestOptionsOf(t *testing.T) {
	g := &plan.Guest{Disk: "vda", Running: true, Trial: true, Manual: true,
		Shutdown:    []plan.ShutdownAttempt{{Method: "acpi", Seconds: 20}, {Method: "force", Seconds: 10}},
		Disks:       []plan.TrialDisk{{Target: "vda"}},
		Unprotected: []string{"vdb"}, Health: plan.Health{Settle: 7, Command: "true"}}
	want := DomainOptions{Disk: "vda", Manual: true, NoAgent: true, ForceOff: true, OnlyTarget: true,
		ShutdownTimeout: 20 * time.Second, BootTimeout: BootTimeout, Settle: 7 * time.Second, HealthCommand: "true", Sector: 4096}
	if diff := cmp.Diff(want, optionsOf(plan.Target{Guest: g, SectorSize: 4096})); diff != "" {
		t.Error(diff)
	}
}
