package growth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Grow grows the image in a new job: read the disk, plan, ask, edit the overlay, verify,
// commit. The appliance starts once, on the closed gate, while the overlay is created.
func Grow(ctx context.Context, d *disk.Disk, r plan.Request, o Options) (*job.Outcome, error) {
	sizes, err := newSizes(d, r)
	if err != nil {
		return nil, err
	}
	check := func(img *image.Image, to size.Bytes) error { return img.CheckGrowth(ctx, to, o.Scratch) }
	if err := checkSizes(d, sizes, check); err != nil {
		return nil, err
	}
	if err := d.CheckOthersNotHibernated(ctx, o.Session); err != nil {
		return nil, err
	}
	if o.DryRun {
		return preview(ctx, d, r, o)
	}
	kind := Kind
	if guest := d.Target.Guest; guest != nil && len(guest.Moves) > 0 {
		kind = KindBus
	}
	spec, err := growthSpec(ctx, kind, d, r, sizes, o, func(g *growth) job.Work { return g })
	if err != nil {
		return nil, err
	}
	e := job.Engine{Options: o.Options}
	return e.Run(ctx, spec)
}

// preview makes and shows the plan, and does nothing.
func preview(ctx context.Context, d *disk.Disk, r plan.Request, o Options) (*job.Outcome, error) {
	if o.Note != nil {
		o.Note("reading the disk")
	}
	p, err := MakePlan(ctx, d, r, o)
	if err != nil {
		return nil, err
	}
	if o.Planned != nil {
		o.Planned(p)
	}
	out := &job.Outcome{Plan: p}
	if !p.Changes() {
		out.State = journal.Cancelled
	}
	return out, nil
}

// grow does the whole job on a new overlay.
func (g *growth) grow(ctx context.Context) error {
	s, err := g.prepare(ctx)
	if err != nil {
		return err
	}
	watched, stop := g.watchSpace(ctx)
	done, err := g.edit(watched, s)
	stop()
	if err != nil || !done {
		_ = s.Close()
		return err
	}
	if err := g.seal(s); err != nil {
		return err
	}
	if g.data.Keep {
		return g.Enter(journal.Waiting)
	}
	return g.commitOrTrial(ctx, false)
}

// seal flushes the overlay to the disk after the edit. The session has detached it, and
// ends while the job goes on: a guest that is off does not wait for it.
func (g *growth) seal(s editSession) error {
	closed := make(chan error, 1)
	g.closed = closed
	go func() { closed <- s.Close() }()
	return g.disks()[:len(g.edited)].Sync()
}

// awaitClosed waits for the end of the session after the edit. An error there says
// nothing about the overlay.
func (g *growth) awaitClosed() {
	if g.closed == nil {
		return
	}
	if err := <-g.closed; err != nil {
		g.Note("%v", err)
	}
	g.closed = nil
}

// prepare starts the appliance and creates the overlay at the same time.
func (g *growth) prepare(ctx context.Context) (editSession, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		session editSession
		err     error
	}
	booted := make(chan result, 1)
	go func() {
		s, err := g.start(ctx)
		booted <- result{s, err}
	}()
	g.Note("starting the appliance%s", g.withDisks())
	err := g.makeOverlays(ctx)
	if err != nil {
		cancel(err)
	}
	r := <-booted
	if err != nil {
		if r.session != nil {
			_ = r.session.Close()
		}
		return nil, err
	}
	return r.session, r.err
}

// edit plans, and edits the overlay. done is false if there is nothing to do.
func (g *growth) edit(ctx context.Context, s editSession) (done bool, err error) {
	a := g.attempt(s)
	a.begin = func() error {
		// A guest that was running has been shut down by an earlier run of the job.
		if guest := g.Guest(); guest == nil || !guest.Running {
			if err := g.admit(ctx); err != nil {
				return err
			}
		}
		g.carryOut(s)
		return g.Enter(journal.Editing)
	}
	p, err := a.run(ctx)
	if err != nil || p.Changes() {
		return err == nil, err
	}
	if err := g.dropOverlays(); err != nil {
		return false, err
	}
	return false, g.Enter(journal.Cancelled)
}

// editSteps returns the steps between the making of the overlay and its commit.
func editSteps(p *plan.Plan) []plan.Step {
	steps := p.Steps[:concluding(p)]
	around := func(s plan.Step) bool {
		return s.Kind == plan.StepSnapshotCheck || s.Kind == plan.StepShutdown || s.Kind == plan.StepOverlay
	}
	return slices.DeleteFunc(slices.Clone(steps), around)
}

// concluding returns where the steps after the edit begin.
func concluding(p *plan.Plan) int {
	return slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepUndo || s.Kind == plan.StepSwitch })
}

// confirm makes the plan from the present layout, compares it with a reviewed plan, and asks
// for confirmation.
func (g *growth) confirm(ctx context.Context, layout *plan.Layout) (*plan.Plan, error) {
	p, err := makePlan(layout, g.Target(), g.data.Request, g.notes, g.Timings())
	if err != nil {
		return nil, err
	}
	g.plan = p
	if saved := g.options.Saved; saved != nil {
		if err := same(saved, p); err != nil {
			return nil, err
		}
	}
	if g.options.Planned != nil {
		g.options.Planned(p)
	}
	if !p.Changes() {
		return p, nil
	}
	if err := checkRoom(p, g.overlayDirs()); err != nil {
		return nil, err
	}
	if g.options.Confirm != nil {
		if err := g.options.Confirm(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, g.Agree(p)
}

// same refuses a saved plan if the present disk results in another plan.
func same(saved, now *plan.Plan) error {
	path := now.Target.Path
	stale := func(format string, args ...any) error { return plan.Refuse(plan.StalePlan, path, format, args...) }
	switch {
	case !reflect.DeepEqual(saved.Target, now.Target):
		return stale("the plan is for another image: %s (%s)", saved.Target.Path, saved.Target.Format)
	case saved.OldSize != now.OldSize:
		return stale("%s has %d bytes, and had %d when the plan was made", path, int64(now.OldSize), int64(saved.OldSize))
	case saved.Fingerprint != now.Fingerprint:
		return stale("what is on %s is not what the plan was made for", path)
	case !reflect.DeepEqual(withoutEstimates(saved.Steps), withoutEstimates(now.Steps)):
		return stale("the steps of the plan are not those that this version would take on %s", path)
	}
	return nil
}

// withoutEstimates returns the steps without estimates and texts for people.
func withoutEstimates(steps []plan.Step) []plan.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Summary, steps[i].Seconds, steps[i].Files = "", 0, 0
	}
	return steps
}

// commitOrTrial carries out the steps after the edit: the commit, or the trial and the pivot.
// If the user has to decide, it stops before the commit, unless accepted is set.
func (g *growth) commitOrTrial(ctx context.Context, accepted bool) error {
	g.keepHostUp()
	err := g.concludeSteps(ctx, accepted)
	r := g.Record()
	switch {
	case err == nil:
	case isPivoting(r):
		err = job.ForwardOnly(fmt.Errorf("the guest passed its check, but the live commit failed: %w", err))
	case g.isCommitted(r) && !startFailed(r):
		err = job.ForwardOnly(fmt.Errorf("the image is grown, but a later step failed: %w", err))
	}
	return err
}

func (g *growth) concludeSteps(ctx context.Context, accepted bool) error {
	for _, s := range g.plan.Steps[concluding(g.plan):] {
		if g.Record().Done[s.ID()] {
			continue
		}
		if s.Kind == plan.StepPivot && g.Guest().Manual && !accepted {
			return g.Enter(journal.Waiting)
		}
		if g.isCommitted(g.Record()) || s.Kind == plan.StepPivot {
			// The disk is grown, or the guest has passed its check: an interrupt
			// is ignored from here on.
			ctx = context.WithoutCancel(ctx)
		}
		if err := g.phase(s); err != nil {
			return err
		}
		err := g.Do(ctx, s)
		if errors.Is(err, domain.ErrNotBegun) {
			// The image is untouched, so the job can still be rolled back.
			_ = g.NotBegun(s.ID())
			if g.Guest().Manual && !isPivoting(g.Record()) {
				return g.waitOn(err)
			}
		}
		if err != nil {
			return err
		}
	}
	return g.Enter(journal.Finished)
}

// waitOn leaves a job that the user has accepted in its state: a rollback would lose what the
// guest wrote in its trial.
func (g *growth) waitOn(cause error) error {
	if err := g.Enter(journal.Waiting); err != nil {
		return err
	}
	return job.Unchanged(plan.Refuse(plan.JobState, g.ID(), "job %s still waits for a decision, and its guest runs on the overlay: %v", g.ID(), cause))
}

// phase saves the state of the job before a step that changes the state.
func (g *growth) phase(s plan.Step) error {
	switch s.Kind {
	case plan.StepSwitch:
		return g.Enter(journal.Trial)
	case plan.StepPivot:
		return g.Enter(journal.Committing)
	case plan.StepUndo:
		if err := g.untouched(); err != nil {
			return err
		}
		return g.Enter(journal.Committing)
	}
	return nil
}
