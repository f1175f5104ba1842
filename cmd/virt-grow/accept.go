package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func (p *program) acceptCommand() *cli.Command {
	return help(&cli.Command{
		Name: "accept", Usage: "commit a job that waits for a decision (--keep-overlay)",
		ArgsUsage: "JOB", Action: p.onJob(accept),
	}, "The overlay is written into the image, and deleted. If the image was written\n   to meanwhile, nothing is touched.",
		"virt-grow accept 20260131-101500-3f2a",
		"virt-grow accept 3f2a --json")
}

// accept refuses jobs that ended otherwise: what was to be committed is gone.
func accept(ctx context.Context, name string, o guest.Options) (*guest.Outcome, error) {
	out, err := guest.Accept(ctx, name, o)
	if err == nil && out.State != journal.Finished {
		return nil, plan.Refuse(plan.JobState, out.Job, "there is nothing to accept: job %s is %s", out.Job, out.State)
	}
	return out, err
}
