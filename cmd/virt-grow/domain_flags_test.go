package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
)

func TestWindowEnd(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 5, 4, 23, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"04:00":                "2026-05-05T04:00:00+02:00",
		"23:45":                "2026-05-04T23:45:00+02:00",
		"23:30":                "2026-05-05T23:30:00+02:00",
		"2026-05-06T01:00:00Z": "2026-05-06T01:00:00Z",
		"":                     "0001-01-01T00:00:00Z",
		"4":                    "", "25:00": "", "soon": "",
	} {
		got, err := windowEnd(text, now)
		if (err != nil) != (want == "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// TestOptionsOf checks that a plan is applied with the options that it was made with.
func TestOptionsOf(t *testing.T) {
	g := &plan.Guest{Disk: "vda", Running: true, Trial: true, Manual: true,
		Shutdown:    []plan.ShutdownAttempt{{Method: "acpi", Seconds: 20}, {Method: "force", Seconds: 10}},
		Disks:       []plan.TrialDisk{{Target: "vda"}},
		Unprotected: []string{"vdb"}, Health: plan.Health{Settle: 7, Command: "true"}}
	want := growth.DomainOptions{Disk: "vda", Manual: true, NoAgent: true, ForceOff: true, OnlyTarget: true,
		ShutdownTimeout: 20 * time.Second, BootTimeout: growth.BootTimeout, Settle: 7 * time.Second, HealthCommand: "true", Sector: 4096}
	if diff := cmp.Diff(want, optionsOf(plan.Target{Guest: g, SectorSize: 4096})); diff != "" {
		t.Error(diff)
	}
}
