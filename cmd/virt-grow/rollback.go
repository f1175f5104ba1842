package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
)

// rollbackCommand is virt-grow rollback.
type rollbackCommand struct{ *program }

func (p rollbackCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "rollback", Usage: "undo an unfinished job",
		ArgsUsage: "JOB", Flags: changeFlags(false), Action: p.onJob(guest.Rollback),
	}, "Processes that a crash left behind are ended first. Before the commit the overlay\n   is deleted; after it, the saved bytes are written back and verified.",
		"virt-grow rollback 20260131-101500-3f2a",
		"virt-grow rollback 3f2a --dry-run",
		"virt-grow rollback 3f2a --json")
}
