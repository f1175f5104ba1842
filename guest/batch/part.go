package batch

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Outcome says how far a guest has come in its batch.
type Outcome string

// The outcomes of a guest.
const (
	// Left: nothing of the guest has begun. The reason says why, if the batch has ended.
	Left Outcome = "left"
	// Running: a process works on the guest now.
	Running Outcome = "running"
	// Unfinished: the guest's job was interrupted, or could not be undone. It needs a
	// person, or batch resume.
	Unfinished Outcome = "unfinished"
	// Interrupted: a signal ended the growth, and everything was undone. The guest counts as
	// left.
	Interrupted Outcome = "interrupted"
	// Waiting: the guest passed its health check, and the commit is left to a person.
	Waiting Outcome = "waiting"
	// The outcomes that are final. Unchanged: there was nothing to do. Refused: a check
	// found that the growth would fail or not be safe. Broken: the growth failed before
	// anything was changed. Restored: it failed after changes, and everything was undone.
	// Closed: a person closed the job as it was.
	Done       Outcome = "done"
	Unchanged  Outcome = "unchanged"
	Refused    Outcome = "refused"
	Broken     Outcome = "failed"
	Restored   Outcome = "restored"
	RolledBack Outcome = "rolled-back"
	Closed     Outcome = "closed"
)

// Open reports whether the guest's part of the batch has not ended.
func (o Outcome) Open() bool {
	return o.left() || o.begun()
}

// left reports whether the guest can still begin; begun, whether its job has not ended.
func (o Outcome) left() bool { return o == Left || o == Interrupted }

func (o Outcome) begun() bool { return o == Running || o == Unfinished || o == Waiting }

// Passed reports whether the guest was grown, as far as that is done without a person.
func (o Outcome) Passed() bool { return o == Done || o == Unchanged || o == Waiting }

// fails reports whether the outcome counts for the stop rule. A refused guest does not: it
// has not been touched, and says nothing about the others.
func (o Outcome) fails() bool { return o == Broken || o == Restored || o == Unfinished }

// The reasons of guests that are left, besides plan.Window.
const (
	// ReasonStopped: the batch begins no outage any more, because guests have failed.
	ReasonStopped plan.Reason = "stopped"
	// ReasonInterrupted: the batch was interrupted by a signal.
	ReasonInterrupted plan.Reason = "interrupted"
)

// Part is what the journal of a batch has of one guest. The journal of the guest's own job
// has the rest.
type Part struct {
	Outcome Outcome `json:"outcome"`
	// Job is the ID of the guest's job; a job that has changed nothing is deleted.
	Job string `json:"job,omitempty"`
	// Reason is the stable reason of a refusal, or why a guest is left.
	Reason plan.Reason `json:"reason,omitempty"`
	Error  string      `json:"error,omitempty"`
	// Begun is when the guest's job began.
	Begun time.Time `json:"begun,omitzero"`
	// Away is when the guest was asked to shut down, Back when it had passed its health
	// check or was restored.
	Away time.Time `json:"away,omitzero"`
	Back time.Time `json:"back,omitzero"`
}

// Outage returns how long the guest was away; 0 if it was not, or is not back yet.
func (p Part) Outage() time.Duration {
	if p.Away.IsZero() || p.Back.IsZero() {
		return 0
	}
	return p.Back.Sub(p.Away)
}

// Standing is how far a guest has come, by the journals of the batch and of the guest's
// own job.
type Standing struct {
	Name   string
	Canary bool
	// Expected is how many seconds the guest is expected to be away.
	Expected float64
	Part
	// State is the state of the guest's job, Actions what can be done next with it.
	State   journal.JobState
	Actions []job.Action
}

// may reports whether an action is possible for the guest's job.
func (s Standing) may(a job.Action) bool { return slices.Contains(s.Actions, a) }

// StatusReader reads the status of a job without locking it.
type StatusReader interface {
	Status(id string) (job.Status, error)
}

// standingsOf returns how far the guests have come. A person may have continued or ended the
// job of a guest by itself, so the guest's own journal counts where there is one.
func standingsOf(d data, r journal.Record, jobs StatusReader) []Standing {
	var all []Standing
	for _, m := range d.Guests {
		s := Standing{Name: m.Name, Canary: m.Canary, Expected: m.Expected, Part: Part{Outcome: Left}}
		if text, ok := r.Parts[m.Name]; ok {
			if err := json.Unmarshal(text, &s.Part); err != nil {
				s.Part = Part{Outcome: Unfinished, Error: err.Error()}
			}
		}
		s.compare(jobs)
		all = append(all, s)
	}
	return all
}

// compare corrects the outcome by the journal of the guest's job.
func (s *Standing) compare(jobs StatusReader) {
	if !s.Outcome.begun() {
		return
	}
	status, err := jobs.Status(s.Job)
	if errors.Is(err, journal.ErrNoJob) {
		s.Part = Part{Outcome: Left} // the job had done nothing, and is deleted
		return
	}
	s.State, s.Actions = status.Record.State, status.Actions
	switch {
	case err != nil || status.Err != nil:
		s.Outcome, s.Error = Unfinished, errors.Join(err, status.Err).Error()
	case status.Active:
		s.Outcome = Running
	default:
		s.Outcome = outcomeOfState(status.Record.State)
	}
}

func outcomeOfState(state journal.JobState) Outcome {
	switch state {
	case journal.Finished:
		return Done
	case journal.Waiting:
		return Waiting
	case journal.Cancelled:
		return Unchanged
	case journal.Closed:
		return Closed
	case journal.RolledBack:
		return RolledBack
	}
	return Unfinished
}
