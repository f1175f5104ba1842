package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Kind is the kind of job that carries out a batch. Each guest is a job of its own; the
// journal of the batch names them.
const Kind = "batch"

// File is the name of the batch file in the job's directory.
const File = "batch.json"

// Options are what a run of a batch takes.
type Options struct {
	job.Options
	// Jobs does the work on the guests.
	Jobs Jobs
	// Observer is told what happens to the guests; nil is none.
	Observer Observer
	// Parallel replaces the batch's number of places, End the end of its window; zero
	// replaces nothing.
	Parallel int
	End      time.Time
	// Capacity is how many appliances the host can run.
	Capacity Capacity
	// Begin allows a batch that is resumed to begin with the guests that are left.
	Begin bool
	// Now and Sleep are the clock; nil is the real one.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Jobs does the work on the guests, each in a job of its own. Several goroutines call it at
// the same time.
type Jobs interface {
	// Grow carries out a guest's plan.
	Grow(context.Context, Guest, Watch) (*job.Outcome, error)
	// Continue does an action on the job of a guest.
	Continue(ctx context.Context, g Guest, id string, a job.Action, w Watch) (*job.Outcome, error)
	// Status reads the status of a job without locking it.
	Status(id string) (job.Status, error)
}

// Watch is how a batch follows and directs the job of a guest.
type Watch struct {
	// Opened receives the job's ID before anything is done.
	Opened func(id string)
	// Admit returns when the outage may begin, as in growth.Options.
	Admit   func(context.Context, *plan.Plan) error
	Planned func(*plan.Plan)
	Step    func(apply.Event)
	Note    func(string)
	// End is when the guest must be back; zero is no limit.
	End time.Time
}

// data is what the header of a batch's job has.
type data struct {
	Guests    []member  `json:"guests"`
	Parallel  int       `json:"parallel"`
	StopAfter int       `json:"stop_after"`
	Start     time.Time `json:"start,omitzero"`
	End       time.Time `json:"end,omitzero"`
}

// member is a guest in the header.
type member struct {
	Name     string  `json:"name"`
	Canary   bool    `json:"canary,omitempty"`
	Expected float64 `json:"expected,omitempty"`
}

// work is a batch's job.
type work struct {
	job.Stepwise
	*job.Job
	data    data
	options Options
	batch   *Batch // nil until it is needed
}

// Apply carries out a batch in a new job.
func Apply(ctx context.Context, b *Batch, name string, o Options) (*job.Outcome, error) {
	o = o.withDefaults()
	d := data{Parallel: b.Parallel, StopAfter: b.StopAfter}
	if err := d.limit(b, o); err != nil {
		return nil, err
	}
	for _, g := range b.Planned() {
		d.Guests = append(d.Guests, member{g.Name, slices.Contains(b.Canary, g.Name), g.Outage})
	}
	if len(d.Guests) == 0 {
		return nil, plan.Refuse(plan.NotFound, name, "no guest of the batch has a plan")
	}
	if isCanary := func(m member) bool { return m.Canary }; len(b.Canary) > 0 && !slices.ContainsFunc(d.Guests, isCanary) {
		d.Guests[0].Canary = true // the planned canaries were refused
	}
	e := job.Engine{Options: o.Options}
	return e.Run(ctx, job.Spec{Kind: Kind, Target: plan.Target{Path: name}, Locks: locksOf(b), Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) {
			return d, &work{Job: j, data: d, options: o, batch: b}, b.WriteFile(filepath.Join(j.Dir(), File))
		}})
}

// limit sets the window as it is now, and the number of places, as the batch and the options
// say.
func (d *data) limit(b *Batch, o Options) (err error) {
	d.Parallel = cmp.Or(o.Parallel, d.Parallel)
	if d.Start, d.End, err = b.Window.At(o.Now()); err == nil && !o.End.IsZero() {
		d.End = o.End
	}
	return err
}

// locksOf returns a lock for each guest: a guest is in one unfinished batch at a time.
func locksOf(b *Batch) []string {
	var locks []string
	for _, g := range b.Planned() {
		locks = append(locks, lockOf(g.UUID))
	}
	return locks
}

func lockOf(uuid string) string { return "batch-" + uuid }

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = domain.Sleep
	}
	return o
}

// Open opens a job of the kind.
func Open(o Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w := &work{Job: j, options: o.withDefaults()}
		err := j.Load(&w.data)
		return w, err
	}
}

// Handlers returns none: the guests' own jobs have the steps.
func (w *work) Handlers() map[plan.StepKind]apply.Handler { return nil }

// standings returns how far the guests have come.
func (w *work) standings(r journal.Record) []Standing {
	return standingsOf(w.data, r, w.options.Jobs)
}

// Actions returns what can be done with the guests together.
func (w *work) Actions(r journal.Record) []job.Action {
	all := w.standings(r)
	is := func(outcomes ...Outcome) bool {
		return slices.ContainsFunc(all, func(s Standing) bool { return slices.Contains(outcomes, s.Outcome) })
	}
	var actions []job.Action
	if is(Waiting) {
		actions = append(actions, job.Accept)
	}
	if is(Unfinished, Running, Left, Interrupted) {
		actions = append(actions, job.Resume)
	}
	if slices.ContainsFunc(all, func(s Standing) bool { return s.may(job.Rollback) }) {
		actions = append(actions, job.Rollback)
	}
	if !is(Waiting, Unfinished, Running) {
		actions = append(actions, job.Close)
	}
	return actions
}

// WhyNot returns why an action is not possible.
func (w *work) WhyNot(a job.Action, _ journal.Record) string {
	switch a {
	case job.Accept:
		return fmt.Sprintf("no guest of batch %s waits for a decision", w.ID())
	case job.Rollback:
		return fmt.Sprintf("no guest of batch %s can be rolled back: those that are grown have their changes in their images", w.ID())
	}
	return fmt.Sprintf("nothing is left to do in batch %s", w.ID())
}

// Describe counts the guests by their outcomes.
func (w *work) Describe(r journal.Record, active bool) string {
	all := w.standings(r)
	text := fmt.Sprintf("%d of %d guests are grown", count(all, Outcome.Passed), len(all))
	if others := counted(all); others != "" {
		text += "; " + others
	}
	text += "."
	switch {
	case active:
		return "The batch is running. " + text
	case count(all, Outcome.left) > 0 && !r.State.Ended():
		text += " batch resume --yes begins with those that are left."
	}
	return text
}

func count(all []Standing, is func(Outcome) bool) int {
	n := 0
	for _, s := range all {
		if is(s.Outcome) {
			n++
		}
	}
	return n
}

// counted lists the guests that are not simply grown: "1 waiting, 2 left".
func counted(all []Standing) string {
	var parts []string
	for _, o := range []Outcome{Waiting, Unfinished, Running, Restored, Broken, Refused, RolledBack, Interrupted, Left, Closed} {
		if n := count(all, func(other Outcome) bool { return other == o }); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}

// Report says what became of the guests.
func (w *work) Report(out *job.Outcome) {
	r := w.Record()
	out.Messages = append(out.Messages, w.Describe(r, false))
	for _, s := range w.standings(r) {
		out.Messages = append(out.Messages, s.String())
	}
}

func (s Standing) String() string {
	text := s.Name + ": " + string(s.Outcome)
	if s.Reason != "" {
		text += " (" + string(s.Reason) + ")"
	}
	if s.Outage() > 0 {
		text += ", away for " + s.Outage().Round(time.Second).String()
	}
	return text
}

// Incomplete is the error of a run after which not every guest is grown, or waits for a
// decision.
type Incomplete struct {
	Job    string
	Guests []Standing
	// Cause is the signal that ended the run, if one did.
	Cause error
}

func (e *Incomplete) Unwrap() error { return e.Cause }

func (e *Incomplete) Error() string {
	var not []string
	for _, s := range e.Guests {
		if !s.Outcome.Passed() {
			text := s.String()
			if s.Error != "" {
				text += ": " + s.Error
			}
			not = append(not, text)
		}
	}
	return fmt.Sprintf("%d of %d guests are not grown: %s", len(not), len(e.Guests), strings.Join(not, "; "))
}

// Run carries out the batch, or continues it.
func (w *work) Run(ctx context.Context, a job.Action) error {
	if w.options.Observer == nil {
		w.options.Observer = notes{w.Show}
	}
	if err := w.load(); err != nil {
		return job.Unchanged(err)
	}
	if err := w.Enter(journal.Working); err != nil {
		return job.Unchanged(err)
	}
	var err error
	switch a {
	case job.Start:
		err = w.grow(ctx)
	case job.Resume:
		err = w.resume(ctx)
	case job.Accept:
		err = w.accept(ctx)
	case job.Rollback:
		err = w.rollback(ctx)
	}
	return w.settle(ctx, a, err)
}

// load reads the batch file of a job that is continued.
func (w *work) load() (err error) {
	if w.batch == nil {
		w.batch, err = ReadFile(filepath.Join(w.Dir(), File))
	}
	return err
}

// settle enters the state that the guests' outcomes result in. The guests have been undone by
// their own jobs, as far as necessary: no error undoes the batch.
func (w *work) settle(ctx context.Context, a job.Action, err error) error {
	all := w.standings(w.Record())
	state := journal.RolledBack // no guest is grown
	if count(all, func(o Outcome) bool { return o.Passed() || o == Closed }) > 0 {
		state = journal.Finished
	}
	switch {
	case count(all, Outcome.begun) > 0, a != job.Rollback && count(all, Outcome.left) > 0:
		state = journal.Waiting
	}
	err = errors.Join(err, w.Enter(state))
	switch {
	case err != nil:
		return job.Unchanged(err)
	case ctx.Err() == nil && w.complete(a, all):
		return nil
	}
	return job.Unchanged(&Incomplete{Job: w.ID(), Guests: all, Cause: context.Cause(ctx)})
}

// complete reports whether an action did all that it was asked for.
func (w *work) complete(a job.Action, all []Standing) bool {
	decided := func(o Outcome) bool { return o.Passed() || o == RolledBack || o == Closed }
	wanted := decided
	switch {
	case a == job.Accept, a == job.Rollback:
		wanted = func(o Outcome) bool { return !o.begun() }
	case a == job.Resume && !w.options.Begin:
		wanted = func(o Outcome) bool { return decided(o) || o.left() }
	}
	return count(all, wanted) == len(all)
}

// guest returns a guest of the batch.
func (w *work) guest(name string) Guest {
	i := slices.IndexFunc(w.batch.Guests, func(g Guest) bool { return g.Name == name })
	return w.batch.Guests[i]
}
