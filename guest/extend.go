package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/plan"
)

// Extend has Windows extend a volume, through its agent. If the agent runs no programs,
// a person has to do it. If Windows cannot do it, the trial has failed; without a trial
// it is left to a person as well.
func (h *hostGuest) Extend(ctx context.Context, s plan.Step) error {
	limit := plan.Seconds(h.guest().Health.Limit)
	ctx, stop := context.WithTimeoutCause(ctx, limit, h.unhealthy("not done within %s", limit))
	defer stop()
	err := h.agent().Await(ctx, h.stillRuns)
	var said string
	if err == nil {
		said, err = h.domain.Exec(ctx, plan.PowerShell(s.Script))
	}
	switch {
	case err == nil:
		if said != "" {
			h.note("Windows: %s", said)
		}
		return nil
	case errors.Is(err, domain.ErrMayNotExec), !h.guest().Trial:
		h.note("%s has to be extended by hand: %v", s.Device, err)
		return h.byHand(s.Device)
	}
	return fmt.Errorf("%s: %w", s.Summary, err)
}

// agent acts in the running guest.
func (j *job) agent() *inside.Guest { return inside.New(j.domain.Name, j.domain) }

// byHand saves that a volume is left to a person.
func (j *job) byHand(device string) error {
	if slices.Contains(j.facts.ByHand, device) {
		return nil
	}
	j.facts.ByHand = append(j.facts.ByHand, device)
	return j.writeFacts()
}

// notExtended gives the volumes that are left to a person their old size in the plan's
// layout of afterwards.
func (j *job) notExtended() {
	for _, name := range j.facts.ByHand {
		was, ok := j.plan.Before.Find(name)
		if now, there := j.plan.After.Find(name); ok && there {
			now.Size, now.Content.Size = was.Size, was.Content.Size
		}
	}
}

// toDo is what a person has to do when the job is done.
func (j *job) toDo() []string {
	if j.plan == nil {
		return nil
	}
	todo := slices.Clone(j.plan.ToDo)
	for _, s := range j.plan.Steps {
		if s.Kind == plan.StepExtend && slices.Contains(j.facts.ByHand, s.Device) {
			todo = append(todo, s.ByHand())
		}
	}
	return todo
}
