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
		Name: "accept", Usage: "commit a job that waits for a decision (--keep-overlay), or close one as it is",
		ArgsUsage: "JOB", Action: func(c *cli.Context) error {
			if c.Bool("as-is") {
				return p.onJob(guest.Close)(c)
			}
			return p.onJob(accept)(c)
		},
		Flags: []cli.Flag{&cli.BoolFlag{Name: "as-is", Usage: "close the job: nothing more is done or taken back, and what it leaves is listed", DisableDefaultText: true}},
	}, "The overlay is written into the image, and deleted. If the image was written\n   to meanwhile, nothing is touched. A job that cannot be taken back any more, such\n   as one of online, is closed. --as-is closes any job that resume and rollback\n   cannot end: its domain is gone, for example, or its image.",
		"virt-grow accept 20260131-101500-3f2a",
		"virt-grow accept 3f2a --as-is",
		"virt-grow accept 3f2a --json")
}

// accept refuses jobs that ended otherwise: what was to be committed is gone.
func accept(ctx context.Context, name string, o guest.Options) (*guest.Outcome, error) {
	if listed, err := o.Store.Read(name); err == nil {
		if facts, err := factsOf(listed.Record); err == nil && facts.Kind.Closable(listed.Record) {
			return guest.Close(ctx, name, o)
		}
	}
	out, err := guest.Accept(ctx, name, o)
	if err == nil && out.State != journal.Finished {
		return nil, plan.Refuse(plan.JobState, out.Job, "there is nothing to accept: job %s is %s", out.Job, out.State)
	}
	return out, err
}
