package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/job"
)

// batchAcceptCommand is virt-grow batch accept.
type batchAcceptCommand struct{ *program }

func (p batchAcceptCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "accept", Usage: "commit all guests of a batch that wait for a decision",
		ArgsUsage: "BATCH", Flags: changeFlags(false),
		Action: p.actOnBatch(func(e *job.Engine, c *cli.Context, id string) (*guest.Outcome, error) { return e.Accept(c.Context, id) }),
	}, "Each guest that has passed its health check with accept: manual is committed while it\n   runs. virt-grow accept JOB does it for one of them. If no guest waits, and nothing is\n   unfinished, the batch is closed: the guests that are left are given up.",
		"virt-grow batch accept 3f2a")
}
