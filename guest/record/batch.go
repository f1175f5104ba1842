package record

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// Batch is what was planned for a batch.
type Batch struct {
	// Inventory is the file that the batch was planned from, Made when that was.
	Inventory batch.Source     `json:"inventory"`
	Made      time.Time        `json:"made"`
	Connect   string           `json:"connect"`
	Window    inventory.Window `json:"window"`
	// Canary are the guests that were to grow first and alone.
	Canary []string `json:"canary,omitempty"`
	// Parallel is how many guests may be away at the same time.
	Parallel int `json:"parallel"`
	// StopAfter is the number of failed guests after which no new outage begins.
	StopAfter int            `json:"stop_after"`
	Expected  batch.Expected `json:"expected"`
}

// BatchGuest is one guest of a batch.
type BatchGuest struct {
	Name   string `json:"name"`
	UUID   string `json:"uuid,omitempty"`
	Canary bool   `json:"canary"`
	// Planned reports that the guest has a plan. The planning has refused the others.
	Planned bool          `json:"planned"`
	Outcome batch.Outcome `json:"outcome"`
	// Reason is why the guest was refused or left: the reason of a refusal, or "stopped",
	// "interrupted" or "failed".
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Job is the ID of the guest's job. A job that has changed nothing is deleted.
	Job string `json:"job,omitempty"`
	// Expected is how many seconds the guest was expected to be away.
	Expected float64 `json:"expected_seconds"`
	// Outage is how many seconds the guest was away; it is left out if the guest was not, or
	// is not back yet. The guest's record has how the outage was spent.
	Outage float64   `json:"outage_seconds,omitempty"`
	Away   time.Time `json:"away,omitzero"`
	Back   time.Time `json:"back,omitzero"`
	// Plan is the guest's plan, if the guest has no record.
	Plan   *plan.Plan `json:"plan,omitempty"`
	Record *Record    `json:"record,omitempty"`
}

// addBatch adds the guests of a batch. Without the batch file, only those that were planned
// are known.
func (r *Record) addBatch(e *job.Engine, standings []batch.Standing) {
	r.Target = nil // the batch file, not an image
	b, err := batch.ReadFile(filepath.Join(e.Store.DirOf(r.Job), batch.File))
	if err != nil {
		r.Unreadable = "the batch file: " + err.Error()
		for _, s := range standings {
			r.Guests = append(r.Guests, guestOf(e, s))
		}
		return
	}
	r.Batch = &Batch{Inventory: b.Inventory, Made: b.Made, Connect: b.Connect, Window: b.Window, Canary: b.Canary,
		Parallel: b.Parallel, StopAfter: b.StopAfter, Expected: b.Expected}
	for _, g := range b.Guests {
		if g.Refusal != nil {
			r.Guests = append(r.Guests, BatchGuest{Name: g.Name, UUID: g.UUID, Outcome: batch.Refused,
				Reason: string(g.Refusal.Reason), Error: g.Refusal.Message, Hint: g.Refusal.Hint})
			continue
		}
		i := slices.IndexFunc(standings, func(s batch.Standing) bool { return s.Name == g.Name })
		if i < 0 {
			continue // planned, and not in this job
		}
		guest := guestOf(e, standings[i])
		if guest.UUID = g.UUID; guest.Record == nil {
			guest.Plan = g.Plan
		}
		r.Guests = append(r.Guests, guest)
	}
}

// guestOf returns a guest that was planned.
func guestOf(e *job.Engine, s batch.Standing) BatchGuest {
	g := BatchGuest{Name: s.Name, Canary: s.Canary, Planned: true, Outcome: s.Outcome, Reason: string(s.Reason), Error: s.Error,
		Job: s.Job, Expected: s.Expected, Outage: s.Outage().Seconds(), Away: s.Away, Back: s.Back}
	if s.Job != "" {
		g.Record, _ = Read(e, s.Job) // a job that has changed nothing is deleted
	}
	return g
}
