package batch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// aBatch has a guest with a plan and a guest that is refused.
func aBatch() *batch.Batch {
	layout := func(n size.Bytes) *plan.Layout {
		return &plan.Layout{Devices: []plan.Device{{Name: "sda", Size: n}}}
	}
	treatment := inventory.DefaultTreatment()
	treatment.Keys = []inventory.Key{{ID: "all", File: "/root/key"}}
	return &batch.Batch{
		Schema: batch.Schema, Inventory: batch.SourceOf("/etc/fleet.yaml", []byte("guests: []")),
		Made: time.Date(2026, 1, 30, 14, 0, 0, 0, time.UTC), Connect: "test:///default",
		Window: inventory.Window{Start: "02:00", End: "04:00"}, Canary: []string{"dev7"}, Parallel: 2, StopAfter: 1,
		Guests: []batch.Guest{
			{Name: "dev7", UUID: "u7", Disks: []inventory.Disk{{Disk: "vda", Size: "+10G", Grow: []string{"/"}}}, Outage: 40, Rehearsed: 21.5, Treatment: treatment, Plan: &plan.Plan{
				Schema: plan.Schema, OldSize: 10 * size.GiB, NewSize: 20 * size.GiB, Before: layout(10 * size.GiB), After: layout(20 * size.GiB),
				Target: plan.Target{Path: "/images/dev7.qcow2", Format: "qcow2", SectorSize: 512, Guest: &plan.Guest{Name: "dev7", UUID: "u7", Disk: "vda"}},
			}},
			{Name: "web", Disks: []inventory.Disk{{Size: "30G"}}, Treatment: treatment, Refusal: &batch.Refusal{Reason: batch.Reason(plan.NotFound), Message: "there is no domain web", Hint: "virsh list --all"}},
		},
		Expected: batch.Expected{Seconds: 56, Window: 7200, Fits: true},
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "batch.json")
	if err := os.WriteFile(path, []byte("an older one"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := aBatch()
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := batch.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*batch.Batch)
		want   string
	}{
		{"a newer schema", func(b *batch.Batch) { b.Schema = "virt-grow/batch/v2" }, `its schema is "virt-grow/batch/v2"`},
		{"no guests", func(b *batch.Batch) { b.Guests = nil }, "has no guests"},
		{"no places", func(b *batch.Batch) { b.Parallel = 0 }, "must be at least 1"},
		{"a guest twice", func(b *batch.Batch) { b.Guests[1] = b.Guests[0] }, "has guest dev7 twice"},
		{"one domain by two names", func(b *batch.Batch) { b.Guests[1] = b.Guests[0]; b.Guests[1].Name = "web" }, "has guest web twice"},
		{"neither plan nor refusal", func(b *batch.Batch) { b.Guests[1].Refusal = nil }, "must have either a plan or a refusal"},
		{"another guest's plan", func(b *batch.Batch) { b.Guests[0].UUID = "u8" }, "its plan is for another guest"},
		{"a broken plan", func(b *batch.Batch) { b.Guests[0].Plan.NewSize = 1 }, "guest dev7: the plan shrinks the disk"},
		{"an unknown canary", func(b *batch.Batch) { b.Canary = []string{"dev8"} }, "the canary dev8"},
		{"a window that is no time", func(b *batch.Batch) { b.Window.End = "4" }, "window"},
	} {
		b := aBatch()
		test.change(b)
		var text bytes.Buffer
		if err := b.Write(&text); err != nil {
			t.Fatal(err)
		}
		if _, err := batch.Read(&text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
	for text, want := range map[string]string{
		"":   "not a batch file",
		"{}": `its schema is ""`,
		`{"schema":"virt-grow/batch/v1","new":1}`:        "unknown field",
		`{"schema":"virt-grow/batch/v9","guests":"new"}`: `its schema is "virt-grow/batch/v9"`,
	} {
		if _, err := batch.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
