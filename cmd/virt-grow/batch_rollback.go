package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/job"
)

// batchRollbackCommand is virt-grow batch rollback.
type batchRollbackCommand struct{ *program }

func (p batchRollbackCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "rollback", Usage: "undo all guests of a batch that can be undone, the newest first",
		ArgsUsage: "BATCH", Flags: changeFlags(false),
		Action: p.actOnBatch(func(e *job.Engine, c *cli.Context, id string) (*guest.Outcome, error) {
			return e.Rollback(c.Context, id)
		}),
	}, "Guests that wait for a decision, or were interrupted before their commit, run on their\n   untouched images again. Guests that are grown stay as they are, and are named. The batch\n   has then ended: the guests that are left do not begin.",
		"virt-grow batch rollback 3f2a")
}
