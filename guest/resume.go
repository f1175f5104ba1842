package guest

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// reopen takes hold of a job that another process left.
func reopen(ctx context.Context, name string, o Options) (*job, error) {
	held, err := o.Store.Hold(name)
	if errors.Is(err, journal.ErrBusy) {
		return nil, plan.Refuse(plan.JobActive, name, "job %s is being worked on by a running virt-grow", name)
	}
	if errors.Is(err, journal.ErrNoJob) {
		return nil, plan.Refuse(plan.NotFound, name, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	record := journal.Replay(held.Log.Entries())
	if len(record.Facts) == 0 {
		// It ended before its first entry was on disk: it did nothing.
		return nil, errors.Join(plan.Refuse(plan.NotFound, name, "job %s ended before it did anything; it is gone now", held.ID),
			os.RemoveAll(held.Dir), held.Close())
	}
	facts, err := factsOf(record)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	j := newJob(held, facts, o)
	locks := facts.Locks
	if len(locks) == 0 {
		locks = []string{facts.Stamp.Identity()}
	}
	if j.unlock, err = holdDisks(o.Store, facts.Target.Path, locks); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	for _, prepare := range []func(context.Context) error{j.restorePlan, j.openDomain, j.endLeftovers} {
		if err := prepare(ctx); err != nil {
			return nil, errors.Join(err, j.close())
		}
	}
	return j, nil
}

// restorePlan reads the plan the job had agreed to.
func (j *job) restorePlan(context.Context) error {
	if !j.record.Planned {
		return nil
	}
	f, err := os.Open(j.held.PlanPath())
	if err != nil {
		return err
	}
	defer f.Close()
	if j.plan, err = plan.Read(f); err != nil {
		return err
	}
	j.growth.Plan, j.steps = j.plan, j.plan.Steps
	return nil
}

// Resume brings a job that was cut off to its end.
func Resume(ctx context.Context, name string, o Options) (*Outcome, error) {
	if o.moved(name) {
		return o.Engine().Resume(ctx, name)
	}
	return again(ctx, name, o, func(w ways) way { return w.resume })
}

// Accept commits a job that waits for a decision.
func Accept(ctx context.Context, name string, o Options) (*Outcome, error) {
	if o.moved(name) {
		return o.Engine().Accept(ctx, name)
	}
	out, err := again(ctx, name, o, func(w ways) way { return w.accept })
	if err == nil && out.State != journal.Finished {
		return nil, plan.Refuse(plan.JobState, out.Job, "there is nothing to accept: job %s is %s", out.Job, out.State)
	}
	return out, err
}

// Rollback takes back whatever a job has done.
func Rollback(ctx context.Context, name string, o Options) (*Outcome, error) {
	if o.moved(name) {
		return o.Engine().Rollback(ctx, name)
	}
	return again(ctx, name, o, func(w ways) way { return w.rollback })
}

type way func(*job, context.Context) (*Outcome, error)

// ways are what can become of a job of one kind.
type ways struct{ resume, accept, rollback way }

func (k Kind) ways() ways {
	if k == Rehearsing {
		return ways{resume: (*job).dropRehearsal, accept: (*job).nothingToAccept, rollback: (*job).dropRehearsal}
	}
	return ways{
		resume:   func(j *job, ctx context.Context) (*Outcome, error) { return j.goOn(ctx, j.resume) },
		accept:   func(j *job, ctx context.Context) (*Outcome, error) { return j.goOn(ctx, j.accept) },
		rollback: (*job).rollback,
	}
}

func again(ctx context.Context, name string, o Options, choose func(ways) way) (*Outcome, error) {
	begun := time.Now()
	j, err := reopen(ctx, name, o)
	if err != nil {
		return nil, err
	}
	out, err := choose(j.facts.Kind.ways())(j, ctx)
	if out != nil && !j.record.State.Ended() {
		out.Took = time.Since(begun)
	}
	return out, errors.Join(err, j.close())
}

// goOn does what is left of a growth.
func (j *job) goOn(ctx context.Context, work func(context.Context) error) (*Outcome, error) {
	if j.record.State.Ended() {
		return &Outcome{Job: j.held.ID, State: j.record.State, Plan: j.plan}, nil
	}
	return j.finish(ctx, work)
}

func (j *job) nothingToAccept(context.Context) (*Outcome, error) {
	return nil, plan.Refuse(plan.JobState, j.held.ID, "job %s has nothing to accept: it is %s", j.held.ID, j.record.State)
}

func (j *job) resume(ctx context.Context) error {
	switch j.record.State {
	case journal.Waiting:
		return j.decide()
	case journal.Committing:
		j.note("the commit had begun: going on with it")
		return j.conclude(ctx, true)
	}
	if j.guest() != nil && j.record.State != journal.Opening {
		return j.resumeDomain(ctx)
	}
	// What is in the overlay may be half of anything: it is made again.
	j.note("the image is untouched: beginning again with a fresh overlay")
	if j.record.State == journal.Opening && !j.facts.Agreed {
		if err := j.overlay.Drop(); err != nil {
			return err
		}
		return j.enter(journal.Cancelled)
	}
	if err := j.unchangedSize(ctx); err != nil {
		return err
	}
	if err := j.stampAgain(); err != nil {
		return err
	}
	if j.plan != nil {
		j.options.Saved = j.plan
	}
	j.options.Confirm = nil
	if j.guest() != nil {
		return j.resumeDomain(ctx)
	}
	return j.grow(ctx)
}

// stampAgain takes the image as it is now for the one to grow: a guest may have
// run on it since. Whether the plan still fits is seen when it is read again.
func (j *job) stampAgain() error {
	stamp, err := image.StampOf(j.facts.Target.Path)
	if err != nil || stamp == j.facts.Stamp {
		return err
	}
	j.facts.Stamp = stamp
	return j.writeFacts()
}

// unchangedSize gives a better error than the planner could when the image was
// resized meanwhile.
func (j *job) unchangedSize(ctx context.Context) error {
	now, err := (&hostImage{j}).Size(ctx)
	if err != nil {
		return err
	}
	if now != j.facts.OldSize {
		return plan.Refuse(plan.StalePlan, j.facts.Target.Path, "%s has %d bytes now, and had %d when job %s began", j.facts.Target.Path, int64(now), int64(j.facts.OldSize), j.held.ID)
	}
	return nil
}

func (j *job) decide() error {
	return &undecided{plan.Refuse(plan.JobState, j.held.ID, "job %s is complete and waits for a decision", j.held.ID)}
}

// undecided is a refusal that must not undo the job it is about.
type undecided struct{ *plan.Refusal }

func (u *undecided) Unwrap() error { return u.Refusal }

func (j *job) accept(ctx context.Context) error {
	if j.record.State != journal.Waiting && j.record.State != journal.Committing {
		return &undecided{plan.Refuse(plan.JobState, j.held.ID, "job %s is not ready to be accepted: it is %s", j.held.ID, j.record.State)}
	}
	if err := j.unchangedBefore(); err != nil {
		return err
	}
	return j.conclude(ctx, true)
}

// unchangedBefore keeps an overlay from being committed into an image that
// went on without it. The job stays as it is: a person has to choose.
func (j *job) unchangedBefore() error {
	if j.begun(string(plan.StepCommit)) {
		return nil
	}
	if err := j.untouched(); err != nil {
		if r, ok := plan.IsRefusal(err); ok {
			return &undecided{r}
		}
		return err
	}
	return nil
}

func (j *job) rollback(ctx context.Context) (*Outcome, error) {
	out := &Outcome{Job: j.held.ID, State: j.record.State, Plan: j.plan}
	switch {
	case j.pivoting():
		return nil, plan.Refuse(plan.JobState, j.held.ID, "job %s cannot be rolled back any more: the guest passed its check, and its overlay is being committed", j.held.ID)
	case j.record.State == journal.Finished, j.pastReturn():
		return nil, plan.Refuse(plan.JobState, j.held.ID, "job %s is done: its changes are in the image", j.held.ID)
	case j.record.State.Ended():
		return out, nil
	}
	if err := j.back(context.WithoutCancel(ctx)); err != nil {
		if r, ok := plan.IsRefusal(err); ok {
			return nil, r // a person has to look first
		}
		return nil, &Failure{Err: err, Job: j.held.ID, Begun: j.record.State == journal.Committing}
	}
	out.State, out.Changed = journal.RolledBack, true
	return out, nil
}

// pastReturn says that the commit is complete and cannot be taken back: the
// saved bytes are gone, or the guest has been started on it.
func (j *job) pastReturn() bool {
	if !j.record.Done[string(plan.StepCommit)] {
		return false
	}
	return !image.Exists(j.overlay.Undo) || j.begun(string(plan.StepStart))
}
