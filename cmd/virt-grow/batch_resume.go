package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/job"
)

// batchResumeCommand is virt-grow batch resume.
type batchResumeCommand struct{ *program }

func (p batchResumeCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "resume", Usage: "finish the guests of a batch that were interrupted, and go on with those that are left",
		ArgsUsage: "BATCH", Flags: append([]cli.Flag{yesFlag("also begin with the guests that are left"), dryRunFlag()}, batchRunFlags()...),
		Action: p.actOnBatch(func(e *job.Engine, c *cli.Context, id string) (*guest.Outcome, error) { return e.Resume(c.Context, id) }),
	}, "What has begun is finished first. The guests that are left begin only with --yes, and\n   only if they are back before the window ends: a window by the time of day is its next\n   one. Guests that have failed need a new plan.",
		"virt-grow batch resume 3f2a",
		"virt-grow batch resume 3f2a --yes --window-end 04:00")
}
