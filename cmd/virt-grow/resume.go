package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
)

// resumeCommand is virt-grow resume.
type resumeCommand struct{ *program }

func (p resumeCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "resume", Usage: "finish a job that was interrupted",
		ArgsUsage: "JOB", Flags: keyFlags(), Action: p.onJob(guest.Resume),
	}, "Processes that a crash left behind are ended first. A job that had not begun to\n   commit starts again on a new overlay; otherwise the commit is continued.",
		"virt-grow resume 20260131-101500-3f2a",
		"virt-grow resume 3f2a --json",
		"virt-grow resume 3f2a --key sda2:prompt")
}

// onJob returns the action of a command that works on an existing job.
func (p *program) onJob(work func(context.Context, string, guest.Options) (*guest.Outcome, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		name, err := operand(c, "JOB")
		if err != nil {
			return err
		}
		keys, err := p.readKeys(c)
		if err != nil {
			return err
		}
		o := guest.Options{Session: p.session(keys), Cache: p.cache()}
		o.Planned = func(made *plan.Plan) { p.showPlanned(&growth.Options{}, made) }
		return p.run(&o.Options, func() (*guest.Outcome, error) { return work(c.Context, name, o) })
	}
}
