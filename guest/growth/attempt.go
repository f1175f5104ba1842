package growth

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// attempt is one pass over a disk in an appliance: look, plan, and carry steps of the
// plan out. Growths, rehearsals, estimates and plans differ in its parts.
type attempt struct {
	// look shows the disk to the appliance, and reads it.
	look func(context.Context) (*plan.Layout, error)
	// plan makes the plan, and has it agreed to.
	plan func(context.Context, *plan.Layout) (*plan.Plan, error)
	// begin is called before the steps; may be nil. It is not called for a plan that
	// changes nothing, nor is what follows.
	begin func() error
	// steps selects those to carry out; nil selects none. do carries one out.
	steps func(*plan.Plan) []plan.Step
	do    func(context.Context, plan.Step) error
	// detach writes everything out, and takes the disk away; may be nil.
	detach func(context.Context) error
}

// run returns the plan, which may be one that changes nothing.
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

// attempt edits the overlay by a plan that is made and agreed to now. Its steps are
// done whether they were done before or not: the overlay is a fresh one.
func (g *growth) attempt(s editSession) attempt {
	return attempt{
		look: func(ctx context.Context) (*plan.Layout, error) {
			return g.lookAtOverlay(ctx, s, s.ReadAtRest)
		},
		plan:   g.agree,
		begin:  func() error { g.carryOut(s); return nil },
		steps:  editSteps,
		do:     g.Do,
		detach: s.Detach,
	}
}

// lookAtOverlay attaches the overlay, and reads it as the session does with read.
func (g *growth) lookAtOverlay(ctx context.Context, s editSession, read func(context.Context, session.Inspection, ...size.Bytes) (*plan.Layout, error)) (*plan.Layout, error) {
	if err := g.attachOverlays(ctx, s); err != nil {
		return nil, err
	}
	g.Note("looking at the disk")
	return read(ctx, session.For(g.data.Request), g.oldSizes()...)
}

// carryOut has the steps carried out by the plan, and in the overlay, from here on.
func (g *growth) carryOut(s editSession) {
	g.steps.Plan, g.steps.Editor = g.plan, s.Editor(g.files()...)
}
