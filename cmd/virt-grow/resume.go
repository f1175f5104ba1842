package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// resumeCommand is virt-grow resume.
type resumeCommand struct{ *program }

func (p resumeCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "resume", Usage: "finish a job that was interrupted",
		ArgsUsage: "JOB", Action: p.action,
		Flags: slices.Concat([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "resume every job that was interrupted, one after the other; the exit code is 1 if one of them fails", DisableDefaultText: true},
		}, keyFlags(), changeFlags(false)),
	}, "Processes that a crash left behind are ended first. A job that had not begun to\n   commit starts again on a new overlay; otherwise the commit is continued.",
		"virt-grow resume 20260131-101500-3f2a",
		"virt-grow resume 3f2a --json",
		"virt-grow resume --all --dry-run",
		"virt-grow resume 3f2a --key sda2:prompt")
}

func (p resumeCommand) action(c *cli.Context) error {
	if !c.Bool("all") {
		return p.onJob(guest.Resume)(c)
	}
	if err := noOperand(c); err != nil {
		return err
	}
	all, err := p.engine().List()
	if err != nil {
		return err
	}
	var failed error
	for _, j := range all {
		if !slices.Contains(j.Actions, job.Resume) {
			continue
		}
		p.job = ""
		switch err := p.work(c, j.ID, guest.Resume); {
		case c.Context.Err() != nil:
			return err
		case err != nil:
			p.finish(err) // the others are resumed all the same
			failed = errShown
		}
	}
	return failed
}

// jobAction is an action on an existing job.
type jobAction func(context.Context, string, guest.Options) (*guest.Outcome, error)

// onJob returns the action of a command that works on an existing job.
func (p *program) onJob(do jobAction) cli.ActionFunc {
	return func(c *cli.Context) error {
		name, err := operand(c, "JOB")
		if err != nil {
			return err
		}
		return p.work(c, name, do)
	}
}

// work carries out an action on a job.
func (p *program) work(c *cli.Context, name string, do jobAction) error {
	keys, err := p.readKeys(c)
	if err != nil {
		return err
	}
	o := guest.Options{Session: p.session(keys), Cache: p.cache()}
	o.Planned = func(made *plan.Plan) { p.showPlanned(&growth.Options{}, made) }
	return p.run(c, &o.Options, func() (*guest.Outcome, error) { return do(c.Context, name, o) })
}
