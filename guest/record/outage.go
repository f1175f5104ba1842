package record

import (
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Outage is how long the guest was away.
type Outage struct {
	// Estimate is how many seconds the plan expected.
	Estimate float64 `json:"estimate_seconds"`
	// Seconds is how many seconds the outage took; it is left out if it has not ended.
	Seconds float64   `json:"seconds,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// RolledBack reports that the outage ended because the guest was started again from
	// its old image.
	RolledBack bool `json:"rolled_back"`
	// Phases are the parts of the outage, in their order. Together they take as long as the
	// outage, as far as it is recorded.
	Phases []Phase `json:"phases,omitempty"`
	// Second is how many seconds the guest was away once more, because a trial that it had
	// passed was rolled back.
	Second float64 `json:"second_seconds,omitempty"`
}

// PhaseName is the name of a phase of an outage.
type PhaseName string

// The phases. A rollback lasts from the failure until the guest is started again.
const (
	ShuttingDown PhaseName = "shutdown"
	Editing      PhaseName = "edit"
	Starting     PhaseName = "start"
	Checking     PhaseName = "health"
	RollingBack  PhaseName = "rollback"
)

var phaseOrder = []PhaseName{ShuttingDown, Editing, Starting, Checking, RollingBack}

// Phase is a part of an outage: the steps of one purpose, with the time until the next phase.
type Phase struct {
	Name PhaseName `json:"name"`
	// Estimate is how many seconds the plan expected; 0 for a rollback.
	Estimate float64 `json:"estimate_seconds"`
	// Seconds is how many seconds the phase took; 0 if it did not begin, or if its end is
	// not recorded.
	Seconds float64 `json:"seconds"`
}

// phaseOf returns the phase of a step in the outage.
func phaseOf(k plan.StepKind) PhaseName {
	switch k {
	case plan.StepShutdown:
		return ShuttingDown
	case plan.StepSwitch, plan.StepStart:
		return Starting
	case plan.StepExtend, plan.StepHealth:
		return Checking
	}
	return Editing
}

// outageOf returns the outage of a guest that was running.
func outageOf(steps []TimedStep, entries []journal.Entry) *Outage {
	c := newClock(steps)
	for _, e := range entries {
		c.apply(e)
	}
	o := &Outage{Began: c.began, Ended: c.ended, RolledBack: c.rolledBack, Phases: c.phases()}
	for _, p := range o.Phases {
		o.Estimate += p.Estimate
	}
	if !o.Ended.IsZero() {
		o.Seconds = o.Ended.Sub(o.Began).Seconds()
	}
	if !c.backAt.IsZero() {
		o.Second = c.backAt.Sub(c.awayAgain).Seconds()
	}
	return o
}

// clock follows the outage through a journal. The outage begins with the shutdown. It ends
// when the last of its steps is done, or when the shutdown is undone.
type clock struct {
	inOutage map[string]PhaseName // by the step's ID
	last     string               // the last step in the outage
	estimate map[PhaseName]float64

	began, ended time.Time
	rolledBack   bool
	// begins has when each phase began, latest the last moment that is known of the outage.
	begins map[PhaseName]time.Time
	latest time.Time
	// awayAgain and backAt are the outage of a rollback after the first outage has ended.
	awayAgain, backAt time.Time
}

func newClock(steps []TimedStep) *clock {
	c := &clock{inOutage: map[string]PhaseName{}, estimate: map[PhaseName]float64{}, begins: map[PhaseName]time.Time{}}
	for _, s := range steps {
		if s.InOutage {
			c.inOutage[s.ID], c.last = phaseOf(s.Kind), s.ID
			c.estimate[phaseOf(s.Kind)] += s.Estimate
		}
	}
	return c
}

func (c *clock) apply(e journal.Entry) {
	phase, ok := c.inOutage[e.Step]
	shutdown := e.Step == string(plan.StepShutdown)
	switch {
	case !ok:
		return
	case e.Kind == journal.Begin && shutdown && c.began.IsZero():
		c.began = e.Time
	case c.began.IsZero():
		return
	case !c.ended.IsZero():
		c.again(e, shutdown)
		return
	}
	c.latest = e.Time
	if e.Kind == journal.Undoing {
		phase = RollingBack
	}
	if c.begins[phase].IsZero() {
		c.begins[phase] = e.Time
	}
	switch {
	case e.Kind == journal.Done && e.Step == c.last:
		c.ended = e.Time
	case e.Kind == journal.Undone && shutdown:
		c.ended, c.rolledBack = e.Time, true
	}
}

// again follows the rollback of a trial that the guest had passed.
func (c *clock) again(e journal.Entry, shutdown bool) {
	if e.Kind == journal.Undoing && c.awayAgain.IsZero() {
		c.awayAgain = e.Time
	}
	if e.Kind == journal.Undone && shutdown && !c.awayAgain.IsZero() {
		c.backAt = e.Time
	}
}

// phases divides the outage.
func (c *clock) phases() (all []Phase) {
	end := c.latest
	for _, name := range slices.Backward(phaseOrder) {
		p := Phase{Name: name, Estimate: c.estimate[name]}
		if began := c.begins[name]; !began.IsZero() {
			p.Seconds, end = max(0, end.Sub(began).Seconds()), began
		}
		if p.Estimate > 0 || p.Seconds > 0 {
			all = append(all, p)
		}
	}
	slices.Reverse(all)
	return all
}
