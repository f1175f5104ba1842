package batch

import (
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan"
)

// Expected is how long a batch takes, by the estimates of its plans.
type Expected struct {
	// Seconds is how many seconds the whole batch takes.
	Seconds float64 `json:"seconds"`
	// Window is how many seconds the window has; it is left out if the window has no end.
	Window float64 `json:"window,omitempty"`
	// Fits reports that every guest is back before the window ends, even if it has to be
	// rolled back. It is true if the window has no end.
	Fits bool `json:"fits"`
}

// Run is the work on one guest, as Schedule sees it.
type Run struct {
	// Canary runs come first, one after the other and alone.
	Canary bool
	// Lead is the time before the guest's turn can begin: its appliance boots, and its file
	// systems are checked. Turn is the time in which the guest takes one of the batch's
	// places: its outage, or the whole edit of a guest that is off. Tail is the time after
	// it, while the guest runs: the commit.
	Lead, Turn, Tail time.Duration
	// Reserve is how long a rollback takes at the end of the turn.
	Reserve time.Duration
}

// LaunchTime is how long an appliance usually boots without KVM.
const LaunchTime = 15 * time.Second

// RunOf returns the run for a plan, by the plan's estimates.
func RunOf(p *plan.Plan, canary bool) Run {
	if !p.Changes() {
		return Run{Canary: canary}
	}
	r := Run{Canary: canary, Lead: LaunchTime, Reserve: p.Reserve()}
	for _, s := range p.SnapshotChecks() {
		r.Lead += plan.Seconds(s.Seconds)
	}
	r.Turn = p.Outage()
	if r.Turn == 0 { // the guest is off
		r.Turn = p.Duration()
	}
	for _, s := range p.Steps {
		if s.Kind == plan.StepPivot || s.Kind == plan.StepRestore || s.Kind == plan.StepClean {
			r.Tail += plan.Seconds(s.Seconds)
		}
	}
	return r
}

// Times are when a run's turn begins, when the guest is back, and when the run has ended,
// counted from the begin of the batch.
type Times struct{ Begin, Back, End time.Duration }

// Schedule returns the times of each run: the canaries one after the other, then the others
// in their order, parallel at a time. The lead of a run begins together with the turn of the
// run before it in its place.
func Schedule(runs []Run, parallel int) []Times {
	all := make([]Times, len(runs))
	last := Times{} // the run before, in the same place
	for i, r := range runs {
		if r.Canary {
			last = r.after(last.Begin, last.End)
			all[i] = last
		}
	}
	last.Back = last.End // the other runs wait for the end of the canaries
	places := slices.Repeat([]Times{last}, max(parallel, 1))
	for i, r := range runs {
		if r.Canary {
			continue
		}
		next := 0
		for k := range places {
			if places[k].Back < places[next].Back {
				next = k
			}
		}
		places[next] = r.after(places[next].Begin, places[next].Back)
		all[i] = places[next]
	}
	return all
}

// after returns the times of a run whose lead begins at one time, and whose turn begins at
// another time or as soon as the lead has ended.
func (r Run) after(lead, turn time.Duration) Times {
	begin := max(lead+r.Lead, turn)
	return Times{Begin: begin, Back: begin + r.Turn, End: begin + r.Turn + r.Tail}
}

// Expect returns how long the runs take, and whether they fit into a window of that length;
// 0 is a window without an end.
func Expect(runs []Run, parallel int, window time.Duration) Expected {
	e := Expected{Window: window.Seconds(), Fits: true}
	for i, t := range Schedule(runs, parallel) {
		e.Seconds = max(e.Seconds, t.End.Seconds())
		if window > 0 && t.Back+runs[i].Reserve > window {
			e.Fits = false
		}
	}
	return e
}
