package job

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Three kinds of job that do nothing but leave traces: registering them is all it takes.
var toys = map[string]func(*world) Kind{
	"files":   func(w *world) Kind { return func(j *Job) (Work, error) { return &files{toy: w.toy(j)}, nil } },
	"forward": func(w *world) Kind { return func(j *Job) (Work, error) { return &forward{toy: w.toy(j)}, nil } },
	"overlay": func(w *world) Kind { return func(j *Job) (Work, error) { return &overlay{toy: w.toy(j)}, nil } },
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

// world is what toys act on.
type world struct {
	faults map[string]string // by point: "name/before", "-name" in its undo
	cancel context.CancelCauseFunc
	trace  []string // what was done, "-" for undone, in order
	there  []string // what is there now
	// keep and nothing are what a run of the overlay is asked for.
	keep, nothing bool
	job           *Job
}

func (w *world) toy(j *Job) toy {
	w.job = j
	return toy{world: w, Job: j}
}

// fault is what happens at a point, if anything.
func (w *world) fault(ctx context.Context, point string) error {
	kind := w.faults[point]
	delete(w.faults, point)
	switch kind {
	case "":
		return nil
	case "error":
		return errors.New("injected")
	case "refuse":
		return plan.Refuse(plan.NoSpace, "", "injected")
	case "keep":
		return Unchanged(plan.Refuse(plan.DomainChanged, "", "injected"))
	case "forward":
		return ForwardOnly(errors.New("injected"))
	case "cancel":
		w.cancel(errors.New("interrupted"))
		<-ctx.Done()
		return ctx.Err()
	case "kill":
		runtime.Goexit() // nothing after it happens, and locks are let go
	case "journal":
		return w.job.held.Log.Close()
	}
	return fmt.Errorf("unknown fault %q", kind)
}

// toy is what the toys have in common: every step leaves a trace, and its undo another.
type toy struct {
	Reversible
	*world
	*Job
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
	t.trace = append(t.trace, s.ID())
	if !slices.Contains(t.there, s.ID()) {
		t.there = append(t.there, s.ID())
	}
	return nil
}

func (t toy) undo(ctx context.Context, s plan.Step) error {
	if err := t.fault(ctx, "-"+s.ID()); err != nil {
		return err
	}
	t.trace = append(t.trace, "-"+s.ID())
	t.there = slices.DeleteFunc(t.there, func(name string) bool { return name == s.ID() })
	return nil
}

// files only makes files: what was there before is never touched.
type files struct{ toy }

func (f *files) Handlers() map[plan.StepKind]apply.Handler { return f.handlers() }
func (f *files) Failed(failure *Failure, _ journal.Record) { failure.Begun = false }
func (f *files) Details() Details                          { return Details{Files: []string{f.Dir() + "/lock", "/nowhere"}} }

// forward cannot be taken back once it has sent something.
type forward struct{ toy }

func (f *forward) Handlers() map[plan.StepKind]apply.Handler { return f.handlers("send", "inside") }

func (f *forward) Actions(r journal.Record) []Action {
	if Begun(r, "send") {
		return []Action{Resume, Close}
	}
	return []Action{Resume, Rollback}
}

func (f *forward) Report(out *Outcome) { out.Messages = append(out.Messages, "it is sent") }
func (f *forward) Details() Details    { return Details{Inside: []string{"use it"}} }

// overlay edits an overlay, and commits it; half an edit is never continued.
type overlay struct{ toy }

func (o *overlay) Handlers() map[plan.StepKind]apply.Handler {
	all := o.handlers("edit", "clean")
	all["clean"] = apply.Handler{Do: func(_ context.Context, s plan.Step) error {
		o.trace, o.there = append(o.trace, s.ID()), []string{"commit"}
		return nil
	}}
	all["overlay"] = apply.Handler{Do: o.do, Undo: func(ctx context.Context, s plan.Step) error {
		o.there = slices.DeleteFunc(o.there, func(name string) bool { return name == "edit" })
		return o.undo(ctx, s)
	}}
	return all
}

func (o *overlay) Actions(r journal.Record) []Action {
	switch {
	case r.Done["commit"]:
		return []Action{Resume}
	case r.State == journal.Waiting:
		return []Action{Accept, Rollback}
	}
	return []Action{Resume, Rollback}
}

func (o *overlay) Describe(r journal.Record, active bool) string {
	if active {
		return "It is being edited."
	}
	return "It is " + string(r.State) + "."
}

func (o *overlay) WhyNot(a Action, r journal.Record) string {
	if a == Resume && r.State == journal.Waiting {
		return "job " + o.ID() + " waits for a decision"
	}
	return ""
}

func (o *overlay) Failed(f *Failure, before journal.Record) { f.Begun = Begun(before, "commit") }

func (o *overlay) Run(ctx context.Context, a Action) error {
	state := o.Record().State
	switch {
	case a == Rollback:
		return o.Undo(ctx, o.Steps())
	case a == Accept, state == journal.Committing:
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

// newWorld is an engine that knows the toys, and what they act on.
func newWorld(t *testing.T) (*Engine, *world) {
	t.Helper()
	w := &world{faults: map[string]string{}, cancel: func(error) {}}
	e := &Engine{Store: journal.Store{Dir: t.TempDir()}, Kinds: Kinds{}, Fault: w.fault}
	for name, kind := range toys {
		e.Kinds[name] = kind(w)
	}
	return e, w
}

// spec is a new job of a kind, on one disk.
func (w *world) spec(e *Engine, kind string) Spec {
	return Spec{Kind: kind, Target: plan.Target{Path: "/img/" + kind}, Locks: []string{"disk-1"}, Steps: stepsOf(steps[kind]), Agreed: true,
		Open: func(j *Job) (any, Work, error) {
			if err := w.fault(context.Background(), "open"); err != nil {
				return nil, nil, err
			}
			work, err := e.Kinds[kind](j)
			return map[string]string{"toy": kind}, work, err
		}}
}
