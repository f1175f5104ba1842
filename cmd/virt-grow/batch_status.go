package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
)

// batchStatusCommand is virt-grow batch status.
type batchStatusCommand struct{ *program }

func (p batchStatusCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "status", Usage: "show how far the guests of a batch have come, and what to run next",
		ArgsUsage: "[BATCH]", Action: p.action,
	}, "BATCH is the name of a batch's job, or a beginning or end of it that is unique. Without\n   it, the newest batch is shown: one that has not ended, if there is any.",
		"virt-grow batch status",
		"virt-grow batch status 3f2a --json")
}

func (p batchStatusCommand) action(c *cli.Context) error {
	j, err := p.batchOrNewest(c)
	if err != nil {
		return err
	}
	s := statusCommand(p).statusOf(j)
	if p.json {
		return view.StatusJSON(p.out, s)
	}
	return view.Statuses(p.out, p.style(), s)
}
