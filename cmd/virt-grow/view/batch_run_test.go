package view

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// batchScript is what a batch of three guests tells: the first one is done, the second one
// fails, and the third one is left.
func batchScript(o batch.Observer, pass func(time.Duration)) {
	grows := func(guest string, fails bool) {
		step := func(kind plan.StepKind, phase apply.Phase, d time.Duration) {
			pass(d)
			o.Step(guest, apply.Event{Phase: phase, Step: plan.Step{Kind: kind, Summary: string(kind)}})
		}
		o.Phase(guest, batch.Preparing)
		o.Begun(guest, "job-"+guest)
		o.Part(guest, batch.Part{Outcome: batch.Running})
		o.Note(guest, "starting the appliance; the guest keeps running")
		pass(15 * time.Second)
		o.Phase(guest, batch.Ready)
		step(plan.StepShutdown, apply.Started, 0)
		o.Phase(guest, batch.ShuttingDown)
		step(plan.StepShutdown, apply.Finished, 4*time.Second)
		o.Phase(guest, batch.Trying)
		if fails {
			step(plan.StepShutdown, apply.Undone, 60*time.Second)
			return
		}
		step(plan.StepHealth, apply.Finished, 20*time.Second)
		o.Phase(guest, batch.Committing)
	}
	start := time.Date(2026, 1, 31, 2, 0, 0, 0, time.UTC)
	grows("dev1", false)
	o.Part("dev1", batch.Part{Outcome: batch.Done, Job: "job-dev1", Away: start, Back: start.Add(24 * time.Second)})
	grows("db\x1b[2J2", true)
	o.Part("db\x1b[2J2", batch.Part{Outcome: batch.Restored, Job: "job-db2", Error: "the agent does not answer", Away: start, Back: start.Add(64 * time.Second)})
	o.Part("dev3", batch.Part{Outcome: batch.Left, Reason: batch.ReasonStopped, Error: "guests have failed"})
}

// clockOf returns a clock for a script.
func clockOf() (now func() time.Time, pass func(time.Duration)) {
	t := time.Date(2026, 1, 31, 2, 0, 0, 0, time.UTC)
	return func() time.Time { return t }, func(d time.Duration) { t = t.Add(d) }
}

func TestBatchProgress(t *testing.T) {
	for name, live := range map[string]bool{"batch-progress": false, "batch-progress-live": true} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			now, pass := clockOf()
			p := NewBatchProgress(&b, Style{Width: 70, Unicode: true}, live, 3, now)
			p.Say("the window begins at 02:00")
			batchScript(p, func(d time.Duration) { pass(d); p.Tick() })
			p.Stop()
			p.Tick()
			golden(t, name, strings.ReplaceAll(b.String(), "\x1b", "ESC"))
		})
	}
}

func TestBatchEvents(t *testing.T) {
	var b bytes.Buffer
	now, pass := clockOf()
	batchScript(NewBatchEvents(NewEvents(&b, "batch-apply", now)), pass)
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, `"guest":"`) {
			t.Errorf("an event without its guest: %s", line)
		}
	}
	golden(t, "batch-events", b.String())
}

func TestGuestsOfBatch(t *testing.T) {
	at := time.Date(2026, 1, 31, 2, 0, 0, 0, time.UTC)
	var guests []BatchGuest
	for _, s := range []batch.Standing{
		{Name: "dev1", Canary: true, Expected: 40, Part: batch.Part{Outcome: batch.Done, Job: "20260131-020003-3f2a", Away: at, Back: at.Add(38 * time.Second)}},
		{Name: "dev2", Expected: 95, Part: batch.Part{Outcome: batch.Restored, Job: "20260131-020103-aa01", Error: "health: the agent does not answer", Away: at, Back: at.Add(64 * time.Second)}},
		{Name: "db\x1b3", Part: batch.Part{Outcome: batch.Refused, Reason: plan.StalePlan, Error: "domain db3 has changed"}},
		{Name: "dev4", Expected: 40, Part: batch.Part{Outcome: batch.Left, Reason: batch.ReasonStopped, Error: "guests have failed"}},
	} {
		guests = append(guests, BatchGuestOf(s))
	}
	var b, doc bytes.Buffer
	err := errors.Join(GuestsOfBatch(&b, Style{Width: 80, Unicode: true}, guests),
		StatusJSON(&doc, Status{Job: Job{ID: "20260131-020000-0001", Target: "/root/batch.json", State: "waiting"}, Guests: guests}))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "batch-guests", b.String())
	golden(t, "batch-guests-json", doc.String())
}
