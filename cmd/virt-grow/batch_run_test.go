package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

func TestExitOfBatch(t *testing.T) {
	guest := func(o batch.Outcome, reason plan.Reason) batch.Standing {
		return batch.Standing{Part: batch.Part{Outcome: o, Reason: reason}}
	}
	done, left := guest(batch.Done, ""), guest(batch.Left, batch.ReasonStopped)
	restored, stuck := guest(batch.Restored, ""), guest(batch.Unfinished, "")
	for _, c := range []struct {
		name   string
		guests []batch.Standing
		cause  error
		want   int
	}{
		{"a canary failed", []batch.Standing{restored, left, left}, nil, 7},
		{"a person is needed", []batch.Standing{done, restored, stuck, left}, nil, 8},
		{"interrupted", []batch.Standing{done, guest(batch.Interrupted, ""), left}, errors.New("interrupt"), 130},
		{"interrupted, and a person is needed", []batch.Standing{stuck, left}, errors.New("interrupt"), 8},
		{"interrupted before anything", []batch.Standing{guest(batch.Left, batch.ReasonInterrupted)}, errors.New("interrupt"), 130},
		{"the window ended", []batch.Standing{done, guest(batch.Left, plan.Window)}, nil, 6},
		{"an outage was too long for the window", []batch.Standing{done, guest(batch.Restored, plan.Window)}, nil, 6},
		{"restored, and the window ended", []batch.Standing{restored, guest(batch.Left, plan.Window)}, nil, 7},
		{"failed before anything", []batch.Standing{guest(batch.Broken, ""), left}, nil, 1},
		{"a stale plan", []batch.Standing{done, guest(batch.Refused, plan.StalePlan)}, nil, 4},
		{"a refusal", []batch.Standing{done, guest(batch.Refused, plan.NoSpace)}, nil, 3},
		{"a refused accept", []batch.Standing{done, guest(batch.Waiting, plan.ImageChanged)}, nil, 4},
	} {
		if got := exitCode(&batch.Incomplete{Guests: c.guests, Cause: c.cause}); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// toldGrowths are guests' jobs that end as the test says; they have no journal.
type toldGrowths map[string]error

func (g toldGrowths) Grow(_ context.Context, one batch.Guest, w batch.Watch) (*guest.Outcome, error) {
	if err := g[one.Name]; err != nil {
		return nil, err
	}
	w.Opened("job-" + one.Name)
	return &guest.Outcome{Job: "job-" + one.Name, State: journal.Finished, Changed: true}, w.Admit(context.Background(), one.Plan)
}

func (toldGrowths) Continue(context.Context, batch.Guest, string, job.Action, batch.Watch) (*guest.Outcome, error) {
	return nil, errors.New("there is nothing to continue")
}

func (toldGrowths) Status(string) (job.Status, error) { return job.Status{}, journal.ErrNoJob }

// twoPlanned is a batch of two guests that libvirt's test driver does not have.
func twoPlanned() *batch.Batch {
	b := &batch.Batch{Schema: batch.Schema, Connect: "test:///default", Parallel: 1, StopAfter: 1, Canary: []string{"dev1"}}
	layout := func(n size.Bytes) *plan.Layout {
		return &plan.Layout{Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: n}}}
	}
	for _, name := range []string{"dev1", "dev2"} {
		uuid := "00000000-0000-0000-0000-00000000000" + name[3:]
		p := &plan.Plan{Schema: plan.Schema, OldSize: size.GiB, NewSize: 2 * size.GiB, Before: layout(size.GiB), After: layout(2 * size.GiB),
			Request: plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: size.GiB}},
			Target: plan.Target{Path: "/images/" + name, Format: "raw", SectorSize: 512,
				Guest: &plan.Guest{Connect: b.Connect, Name: name, UUID: uuid, Disk: "vda", Running: true, Trial: true}}}
		b.Guests = append(b.Guests, batch.Guest{Name: name, UUID: uuid, Plan: p, Outage: 40, Treatment: inventory.DefaultTreatment(),
			Disks: []inventory.Disk{{Disk: "vda", Size: "+1G"}}})
	}
	return b
}

// TestBatchShown checks the commands about a batch whose second guest was refused.
func TestBatchShown(t *testing.T) {
	state := t.TempDir()
	if got := try(t, state, "batch", "status"); got.exit != exitRefused || !strings.Contains(got.err, "there is no batch") {
		t.Errorf("%+v", got)
	}
	jobs := toldGrowths{"dev2": plan.Refuse(plan.Window, "dev2", "the window is too short")}
	var id string
	o := batch.Options{Jobs: jobs}
	o.Store, o.Opened = journal.Store{Dir: state}, func(job string) { id = job }
	_, err := batch.Apply(t.Context(), twoPlanned(), "/batch.json", o)
	if exitCode(err) != exitWindow {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		exit int
		says []string
	}{
		{"batch status", 0, []string{"batch    /batch.json", "* dev1  done", "  dev2  left (window)", "1 of 2 guests are grown; 1 left", "resume " + id, "accept " + id}},
		{"batch status --json", 0, []string{`"name": "dev2"`, `"outcome": "left"`, `"reason": "window"`}},
		{"status " + id, 0, []string{"* dev1  done"}},
		{"jobs", 0, []string{"waiting", "/batch.json", "resume " + id}},
		{"jobs --json", 0, nil},
		{"batch resume " + id, 0, []string{"dev2  left (window)"}},
		{"batch resume --json " + id, 0, []string{`"outcome":"waiting"`, `"guests":[{"name":"dev1","canary":true,"outcome":"done"`}},
		{"batch rollback " + id, 3, []string{"no guest of batch " + id + " can be rolled back"}},
		{"resume " + id, 0, []string{"1 of 2 guests are grown"}},
		{"batch resume --yes " + id, 3, []string{"dev2: refused (not-found)", "1 of 2 guests are not grown"}},
		{"batch accept " + id, 0, []string{"dev2  refused (not-found)"}},
		{"report " + id, 0, nil},
	} {
		got := try(t, state, strings.Fields(c.line)...)
		if got.exit != c.exit {
			t.Errorf("%s: exit %d: %s%s", c.line, got.exit, got.out, got.err)
		}
		for _, want := range c.says {
			if !strings.Contains(got.out+got.err, want) {
				t.Errorf("%s does not say %q:\n%s%s", c.line, want, got.out, got.err)
			}
		}
	}
}

// TestBatchApplyRefused carries out plans for guests that no longer exist.
func TestBatchApplyRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "batch.json")
	if err := twoPlanned().WriteFile(path); err != nil {
		t.Fatal(err)
	}
	for _, json := range []string{"", " --json"} {
		got := try(t, t.TempDir(), strings.Fields("batch apply --yes "+path+json)...)
		for _, want := range []string{"dev1", "not-found", "stopped", "is not grown", "begins with the guests that are left"} {
			if got.exit != exitRefused || !strings.Contains(got.out+got.err, want) {
				t.Errorf("exit %d; want %q in\n%s%s", got.exit, want, got.out, got.err)
			}
		}
	}
	for _, line := range []string{"batch apply --dry-run ", "apply --dry-run "} {
		state := t.TempDir()
		got := try(t, state, strings.Fields(line+path)...)
		if left, _ := os.ReadDir(state); got.exit != 0 || len(left) > 0 || !strings.Contains(got.out, "dev1") || !strings.Contains(got.out, "dry run") {
			t.Errorf("%s: %+v, %v", line, got, left)
		}
		if got := try(t, state, strings.Fields(line+path+" --json")...); got.exit != 0 || !strings.Contains(got.out, `"schema":"virt-grow/batch-apply/v1"`) {
			t.Errorf("%s: %+v", line, got)
		}
	}
	for line, want := range map[string]string{
		"apply --yes --keep-overlay " + path:           "--keep-overlay is not for a batch",
		"batch apply " + path:                          "the plan cannot be confirmed: use --yes",
		"batch apply --yes":                            "batch file is missing",
		"batch apply --yes /nowhere.json":              "no such file",
		"batch apply --yes --parallel 0 " + path:       "--parallel 0: must be at least 1",
		"batch apply --yes --window-end soon " + path:  "must be a time of day",
		"batch resume":                                 "BATCH is missing",
		"batch rollback --connect test:///default 1 2": "takes one BATCH",
	} {
		if got := try(t, t.TempDir(), strings.Fields(line)...); got.exit != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d: %s", line, got.exit, got.err)
		}
	}
}

// TestApplyFromStandardInput carries out a plan and a batch that are on standard input.
func TestApplyFromStandardInput(t *testing.T) {
	var text bytes.Buffer
	if err := twoPlanned().Write(&text); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "gone.raw")
	disk := func(n size.Bytes) *plan.Layout {
		return &plan.Layout{DiskLayout: plan.DiskLayout{Size: n, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: n}}}
	}
	p := plan.Plan{Schema: plan.Schema, Target: plan.Target{Path: image, Format: "raw", SectorSize: 512},
		OldSize: size.GiB, NewSize: 2 * size.GiB, Before: disk(size.GiB), After: disk(2 * size.GiB)}
	single, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line, in string
		asks     bool
		exit     int
		says     string
	}{
		{"apply - --dry-run", text.String(), false, 0, "dev1"},
		{"batch apply - --dry-run", text.String(), false, 0, "dev1"},
		{"apply - --yes", string(single), false, exitRefused, image},
		{"apply - --yes", "{}", false, exitUsage, "-: this version cannot read the plan file"},
		{"apply - --yes", "", false, exitUsage, "-: not a plan file"},
		{"apply -", text.String(), false, exitUsage, "use --yes"},
		{"apply -", string(single), true, exitUsage, "the plan comes from standard input"},
		{"batch apply -", text.String(), true, exitUsage, "the plan comes from standard input"},
		{"apply . --yes", "", false, exitUsage, "is a directory"},
	} {
		io := quiet(nil)
		io.in, io.asks = strings.NewReader(c.in), c.asks
		exit := execute(append([]string{"virt-grow", "--state-dir", t.TempDir()}, strings.Fields(c.line)...), io)
		if says := fmt.Sprint(io.out, io.err); exit != c.exit || !strings.Contains(says, c.says) {
			t.Errorf("%s: exit %d\n%s", c.line, exit, says)
		}
	}
}
