package growth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/plan"
)

// Extend makes Windows extend a volume, through its agent. If the agent runs no programs, the
// user has to extend it. If Windows cannot extend it, the trial has failed; without a trial,
// the user has to extend it as well.
func (h *hostGuest) Extend(ctx context.Context, s plan.Step) error {
	limit := plan.Seconds(h.Guest().Health.Limit)
	ctx, stop := context.WithTimeoutCause(ctx, limit, h.unhealthy("not done within %s", limit))
	defer stop()
	err := inside.New(h.Guest().Name, h.domain).Await(ctx, h.stillRuns)
	var said string
	if err == nil {
		said, err = h.domain.Exec(ctx, plan.PowerShell(s.Script))
	}
	switch {
	case err == nil:
		if said != "" {
			h.Note("Windows: %s", said)
		}
		return nil
	case errors.Is(err, domain.ErrMayNotExec), !h.Guest().Trial:
		h.Note("%s has to be extended by hand: %v", s.Device, err)
		return h.byHand(s.Device)
	}
	return fmt.Errorf("%s: %w", s.Summary, err)
}

// byHand saves that the user has to extend a volume.
func (g *growth) byHand(device string) error {
	if slices.Contains(g.data.ByHand, device) {
		return nil
	}
	g.data.ByHand = append(g.data.ByHand, device)
	return g.save()
}

// notExtended sets the old size, in the plan's layout after the growth, of the volumes that
// the user has to extend.
func (g *growth) notExtended() {
	for _, name := range g.data.ByHand {
		was, ok := g.plan.Before.Find(name)
		if now, there := g.plan.After.Find(name); ok && there {
			now.Size, now.Content.Size = was.Size, was.Content.Size
		}
	}
}

// manualSteps returns what the user has to do when the job is done.
func (g *growth) manualSteps() []string {
	if g.plan == nil {
		return nil
	}
	todo := slices.Clone(g.plan.ManualSteps)
	for _, s := range g.plan.Steps {
		if s.Kind == plan.StepExtend && slices.Contains(g.data.ByHand, s.Device) {
			todo = append(todo, s.ByHand())
		}
	}
	return todo
}
