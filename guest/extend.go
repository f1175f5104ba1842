package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
)

// Extend has Windows extend a volume, through its agent. Where the agent may not
// run programs, a person has to; where Windows could not do it the trial has
// failed, unless there is none.
func (h *hostGuest) Extend(ctx context.Context, s plan.Step) error {
	limit := plan.Seconds(h.guest().Health.Limit)
	ctx, stop := context.WithTimeoutCause(ctx, limit, h.unhealthy("not done within %s", limit))
	defer stop()
	err := h.agentAnswers(ctx)
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

// agentAnswers waits for the agent of a guest that has just been started.
func (h *hostGuest) agentAnswers(ctx context.Context) error {
	return awaitAgent(ctx, h.domain, h.stillRuns)
}

// awaitAgent waits for a guest's agent for as long as runs says that the guest does.
func awaitAgent(ctx context.Context, d *domain.Domain, runs func(context.Context) error) error {
	for d.Ping(ctx) != nil {
		if err := runs(ctx); err != nil {
			return err
		}
		if err := domain.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// byHand writes down that a volume is left to a person.
func (j *job) byHand(device string) error {
	if slices.Contains(j.facts.ByHand, device) {
		return nil
	}
	j.facts.ByHand = append(j.facts.ByHand, device)
	return j.writeFacts()
}

// notExtended takes what is left to a person out of what the plan says is
// bigger now.
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
