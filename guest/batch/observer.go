package batch

import (
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// Observer is told what happens to the guests. Several goroutines call it at the same time.
type Observer interface {
	// Begun reports the ID of a guest's job, Planned its plan.
	Begun(guest, job string)
	Planned(guest string, p *plan.Plan)
	// Step and Note are the events and the messages of the guest's job.
	Step(guest string, e apply.Event)
	Note(guest, text string)
	// Phase reports what is done with the guest now.
	Phase(guest string, p Phase)
	// Part reports a new outcome.
	Part(guest string, p Part)
}

// Phase is what is done with a guest at a moment, in a few words.
type Phase string

// The phases of a guest, in their order.
const (
	Preparing    Phase = "preparing"     // the appliance boots; the guest runs
	Checking     Phase = "checking"      // the early check; the guest runs
	Ready        Phase = "ready"         // the guest runs, and waits for its turn
	ShuttingDown Phase = "shutting down" // the outage begins
	Editing      Phase = "editing"
	Trying       Phase = "trial" // the guest boots, and has to pass its health check
	Committing   Phase = "committing"
	Undoing      Phase = "undoing"
)

// phaseOf returns the phase that an event begins; "" for none.
func phaseOf(e apply.Event) Phase {
	switch e.Phase {
	case apply.Undoing:
		return Undoing
	case apply.Started:
		return phases[e.Step.Kind]
	}
	return ""
}

// phases are those that begin with a step. The steps of an edit follow the overlay.
var phases = map[plan.StepKind]Phase{
	plan.StepSnapshotCheck: Checking,
	plan.StepShutdown:      ShuttingDown,
	plan.StepOverlay:       Editing,
	plan.StepStart:         Trying,
	plan.StepPivot:         Committing,
	plan.StepUndo:          Committing,
}

// Leaves reports whether an event begins a guest's outage.
func Leaves(e apply.Event) bool { return e.Step.Kind == plan.StepShutdown && e.Phase == apply.Started }

// Returns reports whether an event ends a guest's outage: the guest has passed its health
// check, or was started without a trial, or the shutdown was undone.
func Returns(e apply.Event, trial bool) bool {
	switch e.Step.Kind {
	case plan.StepHealth:
		return e.Phase == apply.Finished
	case plan.StepStart:
		return e.Phase == apply.Finished && !trial
	case plan.StepShutdown:
		return e.Phase == apply.Undone
	}
	return false
}

// notes is the observer of a batch that nothing else watches: it shows outcomes and messages.
type notes struct {
	show func(format string, args ...any)
}

func (n notes) Begun(guest, job string)   { n.show("%s: job %s", guest, job) }
func (notes) Planned(string, *plan.Plan)  {}
func (notes) Step(string, apply.Event)    {}
func (n notes) Note(guest, text string)   { n.show("%s: %s", guest, text) }
func (notes) Phase(string, Phase)         {}
func (n notes) Part(guest string, p Part) { n.show("%s", Standing{Name: guest, Part: p}) }
