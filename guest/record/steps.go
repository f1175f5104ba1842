package record

import (
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// StepState is how a step ended.
type StepState string

// The states of a step. An interrupted step has begun, and its end is not in the journal: it
// is still running, or its process was killed.
const (
	NotBegun    StepState = "not-begun"
	Interrupted StepState = "interrupted"
	Done        StepState = "done"
	Failed      StepState = "failed"
	Undone      StepState = "undone"
)

// TimedStep is one step of a job. If it was begun several times, the times are of the last one.
type TimedStep struct {
	// ID identifies the step within its job.
	ID      string        `json:"id"`
	Kind    plan.StepKind `json:"kind"`
	Summary string        `json:"summary"`
	State   StepState     `json:"state"`
	// InOutage reports that a running guest is away during the step.
	InOutage bool `json:"in_outage"`
	// Estimate is how many seconds the plan expected.
	Estimate float64 `json:"estimate_seconds"`
	// Seconds is how many seconds the step took; it is left out if the step did not end.
	Seconds float64 `json:"seconds,omitempty"`
	// UndoSeconds is how many seconds its undo took.
	UndoSeconds float64 `json:"undo_seconds,omitempty"`
	// Attempts is how often the step was begun.
	Attempts int       `json:"attempts"`
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Error    string    `json:"error,omitempty"`

	undoing time.Time
}

// timed returns the steps with their times in the journal. away reports that a guest is shut
// down for them.
func timed(planned []plan.Step, away bool, entries []journal.Entry) []TimedStep {
	var steps []TimedStep
	for _, s := range planned {
		steps = append(steps, TimedStep{ID: s.ID(), Kind: s.Kind, Summary: s.Summary, State: NotBegun, InOutage: away && s.InOutage(), Estimate: s.Seconds})
	}
	for _, e := range entries {
		if i := slices.IndexFunc(steps, func(s TimedStep) bool { return s.ID == e.Step }); i >= 0 {
			steps[i].apply(e)
		}
	}
	return steps
}

func (s *TimedStep) apply(e journal.Entry) {
	switch e.Kind {
	case journal.Begin:
		s.State, s.Began, s.Ended, s.Seconds, s.UndoSeconds, s.Error = Interrupted, e.Time, time.Time{}, 0, 0, ""
		s.Attempts++
	case journal.Done:
		s.end(Done, e)
	case journal.Failed:
		s.end(Failed, e)
		s.Error = e.Text
	case journal.Undoing:
		s.undoing = e.Time
	case journal.Undone:
		if !s.undoing.IsZero() {
			s.UndoSeconds = e.Time.Sub(s.undoing).Seconds()
		}
		if s.State != Failed { // the record still says which step failed
			s.State = Undone
		}
	}
}

func (s *TimedStep) end(state StepState, e journal.Entry) {
	s.State, s.Ended = state, e.Time
	if !s.Began.IsZero() {
		s.Seconds = e.Time.Sub(s.Began).Seconds()
	}
}

// HealthResult is the result of the guest's health check.
type HealthResult struct {
	// Check says what was checked.
	Check string `json:"check"`
	// Passed reports that the guest has passed it.
	Passed bool `json:"passed"`
	// State is the state of the step; a check that was passed may have been undone since.
	State StepState `json:"state"`
	// Seconds is how many seconds the check took.
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// healthOf returns the health check; nil if the job has none.
func healthOf(steps []TimedStep) *HealthResult {
	i := slices.IndexFunc(steps, func(s TimedStep) bool { return s.Kind == plan.StepHealth })
	if i < 0 {
		return nil
	}
	s := steps[i]
	passed := s.Error == "" && !s.Ended.IsZero()
	return &HealthResult{Check: s.Summary, Passed: passed, State: s.State, Seconds: s.Seconds, Error: s.Error}
}
