package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Options are the options of jobs of every kind.
type Options struct {
	Store journal.Store
	// Emit receives the events of steps, Note messages between them; may be nil.
	Emit func(apply.Event)
	Note func(text string)
	// Opened receives the job's ID as soon as there is one, Listed the steps of work
	// without a course, Planned the plan of work that makes one, before it is carried
	// out; may be nil.
	Opened  func(id string)
	Listed  func([]plan.Step)
	Planned func(*plan.Plan)
	// DryRun carries out nothing: the checks before the work are made, and the outcome has
	// the steps that would follow.
	DryRun bool
	// Fault injects faults in tests, by the name of a point.
	Fault func(ctx context.Context, point string) error
	// Inhibit keeps the host from being shut down until release is called; why is shown to
	// who tries. nil does not.
	Inhibit func(why string) (release func(), err error)
	// Timings are how long steps took before; nil keeps none.
	Timings *Timings
	// Origin returns who runs this process, and Exit the exit code that the process will
	// have after an error, for the record of the job; may be nil.
	Origin func() Origin
	Exit   func(error) int
}

// Engine runs jobs of the kinds that it knows.
type Engine struct {
	Options
	Kinds Kinds
}

// Spec describes a new job.
type Spec struct {
	Kind   string
	Target plan.Target
	Locks  []string
	Steps  []plan.Step
	Agreed bool
	// Open returns the job's data and its work. The job has an ID and a directory then,
	// and its journal is empty.
	Open func(*Job) (data any, w Work, err error)
}

// Run runs a new job to its end. When it fails, everything is undone.
func (e *Engine) Run(ctx context.Context, s Spec) (out *Outcome, err error) {
	if e.DryRun {
		return e.preview(s)
	}
	begun := time.Now()
	j, err := e.create(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.release()) }()
	if err := j.begin(s.Open); err != nil {
		return nil, errors.Join(err, j.forget())
	}
	j.runBegins(Start)
	out, err = j.forward(ctx, Start)
	j.runEnds(err)
	return took(out, begun), err
}

// create creates a job, and locks its disks.
func (e *Engine) create(s Spec) (*Job, error) {
	unlock, err := e.lockNew(s.Target.Path, s.Locks)
	if err != nil {
		return nil, err
	}
	held, err := e.Store.Create(time.Now())
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	h := Header{Kind: s.Kind, Target: s.Target, Locks: s.Locks, Steps: s.Steps, Agreed: s.Agreed}
	j := e.open(held, h)
	j.unlock, j.connected = unlock, true
	return j, nil
}

// begin opens a new job's work, and writes its header.
func (j *Job) begin(open func(*Job) (any, Work, error)) error {
	data, w, err := open(j)
	if err != nil {
		return err
	}
	if j.header.Data, err = json.Marshal(data); err != nil {
		return err
	}
	j.use(w)
	return j.writeHeader()
}

// open returns the Job of a locked job.
func (e *Engine) open(held *journal.Job, h Header) *Job {
	j := &Job{id: held.ID, dir: held.Dir, header: h, engine: e, held: held, unlock: func() error { return nil }}
	j.run = &apply.Run{Log: held.Log, Now: time.Now, Emit: j.emit, Fault: e.Fault}
	e.opened(held.ID)
	return j
}

func (e *Engine) opened(id string) {
	if e.Opened != nil {
		e.Opened(id)
	}
}

func (e *Engine) listed(steps []plan.Step) {
	if e.Listed != nil {
		e.Listed(steps)
	}
}

func (j *Job) use(w Work) {
	j.work, j.run.Handlers = w, w.Handlers()
}

// release releases the job, its disks and its connection.
func (j *Job) release() error {
	if j.uninhibit != nil {
		j.uninhibit()
	}
	errs := []error{j.held.Close(), j.unlock()}
	if w, ok := j.work.(Connected); ok && j.connected {
		errs = append(errs, w.Disconnect())
	}
	return errors.Join(errs...)
}

// Resume finishes a job that was interrupted.
func (e *Engine) Resume(ctx context.Context, name string) (*Outcome, error) {
	return e.again(ctx, name, Resume)
}

// Accept commits a job that waits for a decision, and closes one that cannot be undone any
// more.
func (e *Engine) Accept(ctx context.Context, name string) (*Outcome, error) {
	if s, err := e.Status(name); err == nil && slices.Contains(s.Actions, Close) {
		return e.Close(name)
	}
	return e.again(ctx, name, Accept)
}

// Rollback undoes what a job has done.
func (e *Engine) Rollback(ctx context.Context, name string) (*Outcome, error) {
	return e.again(ctx, name, Rollback)
}

func (e *Engine) again(ctx context.Context, name string, a Action) (out *Outcome, err error) {
	if e.DryRun {
		return e.previewAction(name, a)
	}
	begun := time.Now()
	j, err := e.reopen(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.release()) }()
	state := j.Record().State
	if state.Ended() {
		return j.afterEnd(state, a)
	}
	if a == Accept && state == journal.Committing {
		a = Resume // it was accepted before
	}
	if err := j.takeOver(ctx); err != nil {
		return nil, err
	}
	if !j.may(a) {
		return nil, j.refuse(a)
	}
	j.runBegins(a)
	if a == Rollback {
		out, err = j.rollback(ctx)
	} else {
		out, err = j.forward(ctx, a)
	}
	j.runEnds(err)
	return took(out, begun), err
}

func took(out *Outcome, begun time.Time) *Outcome {
	if out != nil {
		out.Took = time.Since(begun)
	}
	return out
}

// reopen locks a job that another process left.
func (e *Engine) reopen(name string) (*Job, error) {
	held, err := e.hold(name)
	if err != nil {
		return nil, err
	}
	header, err := headerOf(journal.Replay(held.Log.Entries()))
	if errors.Is(err, errNoHeader) {
		err = plan.Refuse(plan.NotFound, name, "job %s ended before it did anything; it is gone now", held.ID)
		return nil, errors.Join(err, os.RemoveAll(held.Dir), held.Close())
	}
	j := e.open(held, header)
	if err == nil {
		err = j.openWork()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("job %s: %w", held.ID, err), j.release())
	}
	return j, nil
}

func (e *Engine) hold(name string) (*journal.Job, error) {
	held, err := e.Store.Hold(name)
	if errors.Is(err, journal.ErrBusy) {
		return nil, active(name)
	}
	if errors.Is(err, journal.ErrNoJob) {
		return nil, plan.Refuse(plan.NotFound, name, "%v", err)
	}
	return held, err
}

func active(name string) error {
	return plan.Refuse(plan.JobActive, name, "job %s is in use by a running virt-grow", name)
}

// openWork opens the work by the job's kind.
func (j *Job) openWork() error {
	kind, ok := j.engine.Kinds[j.header.Kind]
	if !ok {
		return fmt.Errorf("this version does not know the kind of job %q", j.header.Kind)
	}
	w, err := kind(j)
	if err != nil {
		return err
	}
	if j.held != nil {
		j.use(w)
	}
	j.work = w
	return nil
}

// takeOver locks the job's disks, connects its work, and ends the processes that an earlier
// run left.
func (j *Job) takeOver(ctx context.Context) (err error) {
	if j.unlock, err = j.engine.lock(j.header.Target.Path, j.header.Locks); err != nil {
		j.unlock = func() error { return nil }
		return err
	}
	if w, ok := j.work.(Connected); ok {
		if err := w.Connect(ctx); err != nil {
			return err
		}
		j.connected = true
	}
	return j.endLeftovers(ctx)
}

// patience is how long a process of an earlier run may take to end after SIGTERM.
const patience = 5 * time.Second

func (j *Job) endLeftovers(ctx context.Context) error {
	var errs []error
	for _, p := range j.Record().Processes {
		errs = append(errs, block.End(ctx, p, patience))
	}
	return errors.Join(errs...)
}

// afterEnd returns the outcome of an action on a job that has ended: the action does
// nothing.
func (j *Job) afterEnd(s journal.JobState, a Action) (*Outcome, error) {
	switch {
	case a == Accept && s != journal.Finished:
		return nil, plan.Refuse(plan.JobState, j.id, "there is nothing to accept: job %s is %s", j.id, s)
	case a == Rollback && s == journal.Finished:
		return nil, j.refuse(a)
	}
	return j.outcome(s), nil
}

func (j *Job) outcome(s journal.JobState) *Outcome {
	out := &Outcome{Job: j.id, State: s}
	out.Plan, _ = j.Plan() // it is only shown
	return out
}

// refuse returns the refusal of an action that is not possible.
func (j *Job) refuse(a Action) error {
	r := j.Record()
	if w, ok := j.work.(Reasoned); ok {
		if why := w.WhyNot(a, r); why != "" {
			return plan.Refuse(plan.JobState, j.id, "%s", why)
		}
	}
	text := "job %s cannot be resumed: it is %s"
	switch a {
	case Accept:
		text = "job %s has nothing to accept: it is %s"
	case Rollback:
		text = "job %s cannot be rolled back: it is %s"
	}
	return plan.Refuse(plan.JobState, j.id, text, j.id, r.State)
}

// forward runs the job to its end, and undoes it if that fails.
func (j *Job) forward(ctx context.Context, a Action) (*Outcome, error) {
	err := j.course(ctx, a)
	_ = j.engine.Timings.Save() // an estimate is no reason to fail
	if err != nil {
		return nil, j.fail(ctx, err)
	}
	out := j.outcome(j.Record().State)
	out.Changed = out.State == journal.Finished || out.State == journal.Waiting
	j.work.Report(out)
	if out.State == journal.Cancelled {
		return out, j.forget()
	}
	return out, nil
}

// course runs the work's own course, or the steps in their order.
func (j *Job) course(ctx context.Context, a Action) error {
	if w, ok := j.work.(Course); ok {
		return w.Run(ctx, a)
	}
	j.engine.listed(j.header.Steps)
	if err := j.Enter(journal.Working); err != nil {
		return err
	}
	if err := j.Forward(ctx, j.header.Steps); err != nil {
		return err
	}
	return j.Enter(journal.Finished)
}

// undo undoes the work in its own way, or every step that was begun. It ignores an interrupt of
// the run, which may be the reason for the undo.
func (j *Job) undo(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if w, ok := j.work.(Course); ok {
		return w.Run(ctx, Rollback)
	}
	return j.Undo(ctx, j.header.Steps)
}

// fail undoes the job after an error, if the work still offers that.
func (j *Job) fail(ctx context.Context, cause error) error {
	if err, ok := leavesJob(cause); ok {
		return err
	}
	before := j.Record()
	f := j.failure(cause)
	if errors.As(cause, new(*forwardOnly)) || !j.may(Rollback) {
		f.Forward = true
	} else if f.Undo = j.undo(ctx); f.Undo == nil {
		f.Restored, f.Trivial = true, !j.everDone()
	}
	if w, ok := j.work.(Failing); ok {
		w.Failed(f, before)
	}
	if f.Trivial {
		return errors.Join(f.Err, j.forget())
	}
	return f
}

func (j *Job) failure(cause error) *Failure {
	_, own := j.work.(Course)
	return &Failure{Err: cause, Job: j.id, Begun: true, Stepwise: !own}
}

// rollback undoes the job on the user's request.
func (j *Job) rollback(ctx context.Context) (*Outcome, error) {
	before := j.Record()
	err := j.undo(ctx)
	if left, ok := leavesJob(err); ok {
		return nil, left
	}
	if err != nil {
		f := j.failure(err)
		if w, ok := j.work.(Failing); ok {
			w.Failed(f, before)
		}
		return nil, f
	}
	out := j.outcome(j.Record().State)
	if !out.State.Ended() {
		out.State = journal.RolledBack // although the journal could not be written
	}
	out.Changed = out.State == journal.RolledBack
	if out.State == journal.Finished { // not all of it could be undone
		j.work.Report(out)
	}
	if out.State == journal.Cancelled {
		return out, j.forget()
	}
	return out, nil
}
