package job_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// toys are kinds of job that only record their steps. Registering a kind needs no other
// change.
var toys = map[string]func(*world) job.Kind{
	"files": func(w *world) job.Kind {
		return func(j *job.Job) (job.Work, error) { return &files{toy: w.toy(j)}, nil }
	},
	"forward": func(w *world) job.Kind {
		return func(j *job.Job) (job.Work, error) { return &forward{toy: w.toy(j)}, nil }
	},
	"overlay": func(w *world) job.Kind {
		return func(j *job.Job) (job.Work, error) { return &overlay{toy: w.toy(j)}, nil }
	},
}

// steps are the toys' own.
var steps = map[string]string{
	"files":   "create name",
	"forward": "prepare send inside",
	"overlay": "overlay edit save commit clean",
}

func stepsOf(names string) []plan.Step {
	var steps []plan.Step
	for _, name := range strings.Fields(names) {
		steps = append(steps, plan.Step{Kind: plan.StepKind(name), Summary: "the step " + name})
	}
	return steps
}

// world is the state that the toys change.
type world struct {
	*jobtest.Player
	there []string // what exists now
	// keep and nothing are options of a run of the overlay.
	keep, nothing bool
	job           *job.Job
}

func (w *world) toy(j *job.Job) toy {
	w.job = j
	return toy{world: w, Job: j}
}

// toy is the common part of the toys: every step and every undo is recorded.
type toy struct {
	job.Stepwise
	*world
	*job.Job
}

func (t toy) handlers(irreversible ...string) map[plan.StepKind]apply.Handler {
	all := map[plan.StepKind]apply.Handler{}
	for _, s := range t.Steps() {
		h := apply.Handler{Do: t.do}
		if !slices.Contains(irreversible, s.ID()) {
			h.Undo = t.undo
		}
		all[s.Kind] = h
	}
	return all
}

func (t toy) do(_ context.Context, s plan.Step) error {
	t.Did(s.ID())
	if !slices.Contains(t.there, s.ID()) {
		t.there = append(t.there, s.ID())
	}
	return nil
}

func (t toy) undo(ctx context.Context, s plan.Step) error {
	if err := t.world.Fault(ctx, "-"+s.ID()); err != nil {
		return err
	}
	t.Did("-" + s.ID())
	t.there = slices.DeleteFunc(t.there, func(name string) bool { return name == s.ID() })
	return nil
}

// files only creates files, and changes no existing ones.
type files struct{ toy }

func (f *files) Handlers() map[plan.StepKind]apply.Handler     { return f.handlers() }
func (f *files) Failed(failure *job.Failure, _ journal.Record) { failure.Begun = false }
func (f *files) Details() job.Details {
	return job.Details{Files: []string{f.Dir() + "/lock", "/nowhere"}}
}

// forward cannot be undone after its "send" step.
type forward struct{ toy }

func (f *forward) Handlers() map[plan.StepKind]apply.Handler { return f.handlers("send", "inside") }

func (f *forward) Actions(r journal.Record) []job.Action {
	if job.Begun(r, "send") {
		return []job.Action{job.Resume, job.Close}
	}
	return []job.Action{job.Resume, job.Rollback}
}

func (f *forward) Report(out *job.Outcome) { out.Messages = append(out.Messages, "it is sent") }
func (f *forward) Details() job.Details    { return job.Details{Inside: []string{"use it"}} }

// overlay edits an overlay, and commits it; half an edit is never continued.
type overlay struct{ toy }

func (o *overlay) Handlers() map[plan.StepKind]apply.Handler {
	all := o.handlers("edit", "clean")
	all["clean"] = apply.Handler{Do: func(_ context.Context, s plan.Step) error {
		o.Did(s.ID())
		o.there = []string{"commit"}
		return nil
	}}
	all["overlay"] = apply.Handler{Do: o.do, Undo: func(ctx context.Context, s plan.Step) error {
		o.there = slices.DeleteFunc(o.there, func(name string) bool { return name == "edit" })
		return o.undo(ctx, s)
	}}
	return all
}

func (o *overlay) Actions(r journal.Record) []job.Action {
	switch {
	case r.Done["commit"]:
		return []job.Action{job.Resume}
	case r.State == journal.Waiting:
		return []job.Action{job.Accept, job.Rollback}
	}
	return []job.Action{job.Resume, job.Rollback}
}

func (o *overlay) Describe(r journal.Record, active bool) string {
	if active {
		return "It is being edited."
	}
	return "It is " + string(r.State) + "."
}

func (o *overlay) WhyNot(a job.Action, r journal.Record) string {
	if a == job.Resume && r.State == journal.Waiting {
		return "job " + o.ID() + " waits for a decision"
	}
	return ""
}

func (o *overlay) Failed(f *job.Failure, before journal.Record) {
	f.Begun = job.Begun(before, "commit")
}

func (o *overlay) Run(ctx context.Context, a job.Action) error {
	state := o.Record().State
	switch {
	case a == job.Rollback:
		return o.Undo(ctx, o.Steps())
	case a == job.Accept, state == journal.Committing:
		return o.conclude(ctx)
	case o.nothing:
		return o.Enter(journal.Cancelled)
	}
	if err := o.Enter(journal.Editing); err != nil {
		return err
	}
	for _, s := range o.Steps()[:2] {
		if err := o.Do(ctx, s); err != nil {
			return err
		}
	}
	if o.keep {
		return o.Enter(journal.Waiting)
	}
	return o.conclude(ctx)
}

func (o *overlay) conclude(ctx context.Context) error {
	if err := o.Enter(journal.Committing); err != nil {
		return err
	}
	if err := o.Forward(ctx, o.Steps()); err != nil {
		return err
	}
	return o.Enter(journal.Finished)
}

// newWorld returns an engine with the toys, and the world that they change.
func newWorld(t *testing.T) (*job.Engine, *world) {
	t.Helper()
	w := &world{Player: jobtest.New(t, job.Kinds{})}
	for name, kind := range toys {
		w.Engine.Kinds[name] = kind(w)
	}
	w.BreakJournal = func() error { return w.job.BreakJournal() }
	return w.Engine, w
}

// of makes the player begin jobs of a kind.
func (w *world) of(kind string) *world {
	w.Start = func(ctx context.Context, command string) (*job.Outcome, error) {
		w.keep, w.nothing = command == "keep", command == "nothing"
		return w.Engine.Run(ctx, w.spec(kind))
	}
	return w
}

// spec returns a new job of a kind, on one disk.
func (w *world) spec(kind string) job.Spec {
	return job.Spec{Kind: kind, Target: plan.Target{Path: "/img/" + kind}, Locks: []string{"disk-1"}, Steps: stepsOf(steps[kind]), Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) {
			if err := w.Fault(context.Background(), "open"); err != nil {
				return nil, nil, err
			}
			work, err := w.Engine.Kinds[kind](j)
			return map[string]string{"toy": kind}, work, err
		}}
}
