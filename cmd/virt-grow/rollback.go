package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
)

func (p *program) rollbackCommand() *cli.Command {
	return help(&cli.Command{
		Name: "rollback", Usage: "take back what a job has done that is not finished",
		ArgsUsage: "JOB", Action: p.onJob(guest.Rollback),
	}, "What a crash left running is ended first. Before the commit the overlay is\n   deleted; after it, the saved bytes are put back and compared.",
		"virt-grow rollback 20260131-101500-3f2a",
		"virt-grow rollback 3f2a --json")
}
