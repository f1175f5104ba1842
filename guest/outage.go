package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// growDomain grows a domain's disk: with an outage if the guest runs, else as
// an image, and with a trial where the plan has one.
func (j *job) growDomain(ctx context.Context) error {
	if err := j.saveOriginal(ctx); err != nil {
		return err
	}
	if !j.guest().Running {
		return j.grow(ctx)
	}
	s, err := j.prewarm(ctx)
	if err != nil {
		return err
	}
	agreed, err := j.estimate(ctx, s)
	if err == nil && agreed {
		err = j.hook(ctx, "pre", j.facts.Hooks.Pre)
	}
	if err != nil || !agreed {
		_ = s.Close()
		return err
	}
	ctx, stop := j.options.Window.limit(ctx, j.plan, time.Now())
	defer stop()
	return j.outage(ctx, s)
}

// prewarm boots the appliance on the closed gate while the guest still runs.
func (j *job) prewarm(ctx context.Context) (*session.Session, error) {
	j.note("starting the appliance; the guest runs on")
	s, err := j.startSession(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w (the guest was not stopped)", err)
	}
	return s, nil
}

// estimate makes the plan from the disk as the running guest has it at this
// moment, read without its lock. The plan is agreed to on that ground, and
// made again after the shutdown.
func (j *job) estimate(ctx context.Context, s *session.Session) (agreed bool, err error) {
	j.note("looking at the disk of the running guest")
	if err := s.AttachReadOnly(ctx, 0, j.image); err != nil {
		return false, err
	}
	layout, err := s.Read(ctx, j.facts.OldSize, session.For(j.facts.Request))
	if err != nil {
		return false, fmt.Errorf("cannot read the disk while the guest writes to it: %w", err)
	}
	session.IgnoreUnclean(layout)
	j.seen = layout
	if err := j.agree(ctx, layout); err != nil {
		return false, err
	}
	if !j.plan.Changes() {
		return false, j.enter(journal.Cancelled)
	}
	j.carryOut(s.Editor(j.overlay))
	if err := j.options.Window.fits(j.plan, time.Now()); err != nil {
		return false, err
	}
	if err := s.Detach(ctx); err != nil {
		return false, err
	}
	return true, j.remember(ctx)
}

// remember writes down what the health check will be held against.
func (j *job) remember(ctx context.Context) error {
	if !j.guest().Health.Agent {
		return nil
	}
	before, err := j.domain.FileSystems(ctx)
	if err != nil {
		// An agent that cannot list them now is not held to it after the start.
		j.facts.Unlisted = j.domain.Ping(ctx) == nil
		if !j.facts.Unlisted {
			return nil
		}
		return j.writeFacts()
	}
	j.facts.Before = before
	return j.writeFacts()
}

// outage is the time without the guest: shutdown, edit, and what concludes it.
func (j *job) outage(ctx context.Context, s *session.Session) error {
	if err := j.down(ctx, s); err != nil {
		_ = s.Close()
		return err
	}
	if err := j.seal(s); err != nil {
		return err
	}
	return j.conclude(ctx, false)
}

// down shuts the guest down and edits the overlay.
func (j *job) down(ctx context.Context, s *session.Session) error {
	if err := j.enter(journal.Editing); err != nil {
		return err
	}
	if err := j.run.Do(ctx, plan.Step{Kind: plan.StepShutdown, Summary: j.plan.Steps[0].Summary}); err != nil {
		return err
	}
	if err := j.stampAgain(); err != nil {
		return err
	}
	if err := j.run.Do(ctx, j.overlayStep()); err != nil {
		return err
	}
	ctx, stop := image.WatchSpace(ctx, filepath.Dir(j.overlay.Path))
	defer stop()
	if err := s.Attach(ctx, j.overlay.Path); err != nil {
		return err
	}
	if err := j.recheck(ctx, s); err != nil {
		return err
	}
	if err := j.run.Forward(ctx, editSteps(j.plan), nil); err != nil {
		return err
	}
	return s.Detach(ctx)
}

// recheck makes the plan again from the disk at rest: it has to be the one
// that was agreed to. What the outage is for is known by now: nothing is
// inspected, and only what the guest may have changed is looked at.
func (j *job) recheck(ctx context.Context, s *session.Session) error {
	layout, err := s.Appliance.ProbeAgain(ctx, j.seen, j.plan.Targets())
	if err != nil {
		return err
	}
	p, err := plan.Build(layout, j.facts.Target, resolved(j.plan))
	if err != nil {
		return err
	}
	return same(j.plan, p)
}

// resolved is the plan's request with the devices that were chosen.
func resolved(p *plan.Plan) plan.Request {
	r := p.Request
	was := r.Grow
	r.Grow = slices.Clone(was)
	for i, name := range p.Targets() {
		if len(was) == 0 {
			r.Grow = append(r.Grow, plan.Where{Amount: plan.Amount{Mode: plan.Fill}})
		}
		r.Grow[i].Name = name
	}
	return r
}

// openDomain connects a job taken up again with its domain.
func (j *job) openDomain(ctx context.Context) error {
	if j.guest() == nil {
		return nil
	}
	conn, err := domain.Connect(j.guest().Connect)
	if err != nil {
		return err
	}
	d, err := conn.Find(ctx, j.guest().UUID)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	j.takeDomain(d)
	j.connected = true
	return nil
}

// resumeDomain goes on with a domain's job whose images are all untouched.
func (j *job) resumeDomain(ctx context.Context) error {
	if j.record.State == journal.Trial {
		j.note("the overlay is complete: going on with the trial")
		if err := j.startedAgain(ctx); err != nil {
			return err
		}
		return j.conclude(ctx, false)
	}
	j.note("the image is untouched: beginning again")
	state, err := j.domain.State(ctx)
	if err != nil {
		return err
	}
	j.options.Saved, j.options.Confirm = j.plan, nil
	if !j.guest().Running || j.record.Done[string(plan.StepShutdown)] {
		if state == domain.Running {
			return &undecided{plan.Refuse(plan.DomainChanged, j.held.ID, "somebody started %s while it was to stay off", j.guest().Name)}
		}
		return j.growOff(ctx)
	}
	if state != domain.Running {
		// The request to shut down was made, and the guest has followed it.
		if err := j.run.Do(ctx, plan.Step{Kind: plan.StepShutdown}); err != nil {
			return err
		}
		return j.growOff(ctx)
	}
	j.image = &image.Image{Target: j.facts.Target, Size: j.facts.OldSize, Access: block.Shared}
	return j.growDomain(ctx)
}

// growOff edits the disk of a guest that is down already.
func (j *job) growOff(ctx context.Context) error {
	if err := j.unchangedSize(ctx); err != nil {
		return err
	}
	if err := j.stampAgain(); err != nil {
		return err
	}
	return j.grow(ctx)
}

// startedAgain starts a guest that a crash of the host ended in its trial.
func (j *job) startedAgain(ctx context.Context) error {
	if !j.record.Done[string(plan.StepStart)] {
		return nil
	}
	state, err := j.domain.State(ctx)
	if err != nil || state == domain.Running {
		return err
	}
	return j.domain.Start(ctx)
}
