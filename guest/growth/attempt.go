package growth

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// attempt is one pass over a disk in an appliance: read the disk, plan, and carry out steps
// of the plan. Growths, rehearsals, estimates and plans have different functions in it.
type attempt struct {
	// look attaches the disk to the appliance, and reads its layout.
	look func(context.Context) (*plan.Layout, error)
	// plan makes the plan, and asks for confirmation.
	plan func(context.Context, *plan.Layout) (*plan.Plan, error)
	// begin is called before the steps; may be nil. For a plan that changes nothing,
	// begin and the functions below are not called.
	begin func() error
	// steps selects the steps to carry out; nil selects none. do carries one out.
	steps func(*plan.Plan) []plan.Step
	do    func(context.Context, plan.Step) error
	// detach flushes everything, and detaches the disk; may be nil.
	detach func(context.Context) error
}

// run returns the plan, also if it changes nothing.
func (a attempt) run(ctx context.Context) (*plan.Plan, error) {
	layout, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	p, err := a.plan(ctx, layout)
	if err != nil || !p.Changes() {
		return p, err
	}
	if a.begin != nil {
		if err := a.begin(); err != nil {
			return p, err
		}
	}
	if a.steps != nil {
		for _, s := range a.steps(p) {
			if err := a.do(ctx, s); err != nil {
				return p, err
			}
		}
	}
	if a.detach == nil {
		return p, nil
	}
	return p, a.detach(ctx)
}

// attempt edits the overlay with a plan that is made and confirmed now. It carries out all
// steps, even those that were done before, because the overlay is new.
func (g *growth) attempt(s editSession) attempt {
	return attempt{
		look: func(ctx context.Context) (*plan.Layout, error) {
			return g.lookAtOverlay(ctx, s, s.ReadAtRest)
		},
		plan:   g.confirm,
		begin:  func() error { g.carryOut(s); return nil },
		steps:  editSteps,
		do:     g.doLimited,
		detach: s.Detach,
	}
}

// lookAtOverlay attaches the overlay, and reads it as the session does with read.
func (g *growth) lookAtOverlay(ctx context.Context, s editSession, read func(context.Context, session.Inspection, ...size.Bytes) (*plan.Layout, error)) (*plan.Layout, error) {
	if err := g.attachOverlays(ctx, s); err != nil {
		return nil, err
	}
	g.Note("inspecting the disk")
	layout, err := read(ctx, session.For(g.data.Request), g.oldSizes()...)
	if err != nil {
		return nil, err
	}
	return layout, addBus(ctx, layout, g.Target(), s.FindForBus)
}

// carryOut sets the plan and the session with which the steps are carried out.
func (g *growth) carryOut(s editSession) {
	g.steps.Plan, g.steps.Editor = g.plan, s.Editor(g.files()...)
}

// doLimited carries a step out. A full check that takes longer than the user's limit is
// ended: what it would have found is not known.
func (g *growth) doLimited(ctx context.Context, s plan.Step) error {
	if limit := g.options.CheckLimit; limit > 0 && s.Full {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, plan.Refuse(plan.CheckUnfinished, s.Device,
			"the check of the %s on %s did not end within %s", s.Content, s.Device, limit))
		defer cancel()
	}
	return g.Do(ctx, s)
}
