package growth

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// growDomain grows a domain's disk: with an outage if the guest runs, else like an image; and
// with a trial if the plan has one.
func (g *growth) growDomain(ctx context.Context) error {
	if err := g.SaveOriginal(ctx); err != nil {
		return err
	}
	if !g.Guest().Running {
		return g.grow(ctx)
	}
	s, err := g.prewarm(ctx)
	if err != nil {
		return err
	}
	agreed, err := g.estimate(ctx, s)
	if err == nil && agreed {
		err = g.checkEarly(ctx, s)
	}
	if err == nil && agreed {
		err = g.admit(ctx)
	}
	if err == nil && agreed {
		err = g.options.Window.Fits(g.plan, time.Now())
	}
	if err == nil && agreed {
		err = g.Hook(ctx, "pre", g.data.Hooks.Pre)
	}
	if err != nil || !agreed {
		_ = s.Close()
		return err
	}
	ctx, stop := g.options.Window.limit(ctx, g.plan, time.Now())
	defer stop()
	return g.outage(ctx, s)
}

// admit waits until the outage, or the edit of a disk that no guest runs on, may begin.
func (g *growth) admit(ctx context.Context) error {
	if g.options.Admit == nil {
		return nil
	}
	return g.options.Admit(ctx, g.plan)
}

// prewarm starts the appliance on the closed gate while the guest still runs.
func (g *growth) prewarm(ctx context.Context) (editSession, error) {
	g.Note("starting the appliance%s; the guest keeps running", g.withDisks())
	s, err := g.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w (the guest was not shut down)", err)
	}
	return s, nil
}

// estimate makes the plan from the disk of the running guest, which it reads without the
// image's lock. The user confirms this plan. It is made again after the shutdown.
func (g *growth) estimate(ctx context.Context, s editSession) (agreed bool, err error) {
	p, err := attempt{
		look:   func(ctx context.Context) (*plan.Layout, error) { return g.lookWhileRunning(ctx, s) },
		plan:   g.confirm,
		begin:  func() error { return g.options.Window.Fits(g.plan, time.Now()) },
		detach: s.Detach,
	}.run(ctx)
	switch {
	case err != nil:
		return false, err
	case !p.Changes():
		return false, g.Enter(journal.Cancelled)
	}
	return true, g.remember(ctx)
}

// lookWhileRunning inspects the disk of the running guest, which is never clean.
func (g *growth) lookWhileRunning(ctx context.Context, s editSession) (*plan.Layout, error) {
	g.Note("inspecting the disk of the running guest")
	for i, img := range g.images {
		if err := s.AttachReadOnly(ctx, i, img); err != nil {
			return nil, err
		}
	}
	layout, err := s.Read(ctx, session.For(g.data.Request), g.oldSizes()...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the disk while the guest writes to it: %w", err)
	}
	session.IgnoreUnclean(layout)
	if err := addBus(ctx, layout, g.Target(), s.FindForBus); err != nil {
		return nil, err
	}
	g.seen = layout
	return layout, nil
}

// remember saves what the health check will compare with.
func (g *growth) remember(ctx context.Context) error {
	if !g.Guest().Health.Agent {
		return nil
	}
	before, err := g.Domain.FileSystems(ctx)
	if err != nil {
		// If the agent cannot list them now, the check does not require it later.
		g.data.Unlisted = g.Domain.Ping(ctx) == nil
		if !g.data.Unlisted {
			return nil
		}
		return g.save()
	}
	g.data.Before = before
	return g.save()
}

// outage shuts the guest down, edits the overlay, and starts the guest.
func (g *growth) outage(ctx context.Context, s editSession) error {
	if err := g.down(ctx, s); err != nil {
		_ = s.Close()
		return err
	}
	if err := g.seal(s); err != nil {
		return err
	}
	return g.commitOrTrial(ctx, false)
}

// down shuts the guest down and edits the overlay.
func (g *growth) down(ctx context.Context, s editSession) error {
	g.keepHostUp()
	if err := g.Enter(journal.Editing); err != nil {
		return err
	}
	if err := g.Do(ctx, g.shutdownStep()); err != nil {
		return err
	}
	if err := g.stampAgain(); err != nil {
		return err
	}
	if err := g.makeOverlays(ctx); err != nil {
		return err
	}
	ctx, stop := g.watchSpace(ctx)
	defer stop()
	a := g.attempt(s)
	a.look = func(ctx context.Context) (*plan.Layout, error) { return g.lookAgain(ctx, s) }
	a.plan = g.recheck
	_, err := a.run(ctx)
	return err
}

// keepHostUp keeps the host from being shut down while the guest is away or in its trial: the
// shutdown would stop the guest on its overlay.
func (g *growth) keepHostUp() {
	if guest := g.Guest(); guest != nil {
		work := "is being grown"
		if len(guest.Moves) > 0 {
			work = "moves to another bus"
		}
		g.KeepHostUp(fmt.Sprintf("%s %s (job %s)", guest.Name, work, g.ID()))
	}
}

// shutdownStep returns the shutdown step of the plan.
func (g *growth) shutdownStep() plan.Step {
	i := slices.IndexFunc(g.plan.Steps, func(s plan.Step) bool { return s.Kind == plan.StepShutdown })
	return g.plan.Steps[i]
}

// lookAgain reads the disk after the shutdown. It reads only what the guest may have changed,
// without an inspection, because the targets of the growth are known.
func (g *growth) lookAgain(ctx context.Context, s editSession) (*plan.Layout, error) {
	if err := g.attachOverlays(ctx, s); err != nil {
		return nil, err
	}
	layout, err := s.ReadAgain(ctx, g.seen, g.plan.Targets())
	if err == nil {
		// The step that writes files refuses one that has changed since. Whether the guest
		// starts from the new bus is decided by the trial.
		layout.Bus = g.seen.Bus
	}
	return layout, err
}

// recheck makes the plan again, and refuses if it differs from the confirmed one.
func (g *growth) recheck(_ context.Context, layout *plan.Layout) (*plan.Plan, error) {
	p, err := plan.Build(layout, g.Target(), resolved(g.plan))
	if err != nil {
		return nil, err
	}
	return g.plan, same(g.plan, p)
}

// resolved returns the plan's request with the devices that were chosen.
func resolved(p *plan.Plan) plan.Request {
	r := p.Request
	was := r.Grow
	r.Grow = slices.Clone(was)
	for i, name := range p.Targets() {
		if len(was) == 0 {
			r.Grow = append(r.Grow, plan.GrowTarget{Amount: plan.Amount{Mode: plan.Fill}})
		}
		r.Grow[i].Name = name
	}
	return r
}

// resumeDomain continues a domain's job whose images are all untouched.
func (g *growth) resumeDomain(ctx context.Context) error {
	if g.Record().State == journal.Trial {
		g.Note("the overlay is complete: continuing with the trial")
		if err := g.startedAgain(ctx); err != nil {
			return err
		}
		return g.commitOrTrial(ctx, false)
	}
	g.Note("the image is untouched: starting again")
	state, err := g.Domain.State(ctx)
	if err != nil {
		return err
	}
	g.options.Saved, g.options.Confirm = g.plan, nil
	if !g.Guest().Running || g.Record().Done[string(plan.StepShutdown)] {
		if state == domain.Running {
			return job.Unchanged(plan.Refuse(plan.DomainChanged, g.ID(), "%s was started while it had to stay off", g.Guest().Name))
		}
		return g.growOff(ctx)
	}
	if state != domain.Running {
		// The guest was asked to shut down before the crash, and has shut down since.
		g.keepHostUp()
		if err := g.Do(ctx, plan.Step{Kind: plan.StepShutdown}); err != nil {
			return err
		}
		return g.growOff(ctx)
	}
	g.images = nil
	for _, e := range g.edited {
		g.images = append(g.images, &image.Image{Target: e.image.Target(), Size: e.OldSize, Access: block.Shared})
	}
	return g.growDomain(ctx)
}

// growOff edits the disk of a guest that is off.
func (g *growth) growOff(ctx context.Context) error {
	g.keepHostUp()
	if err := g.unchangedSize(ctx); err != nil {
		return err
	}
	if err := g.stampAgain(); err != nil {
		return err
	}
	return g.grow(ctx)
}

// startedAgain starts a guest whose trial was ended by a crash of the host.
func (g *growth) startedAgain(ctx context.Context) error {
	if !g.Record().Done[string(plan.StepStart)] {
		return nil
	}
	state, err := g.Domain.State(ctx)
	if err != nil || state == domain.Running {
		return err
	}
	return g.Domain.Start(ctx)
}
