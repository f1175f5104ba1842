package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
)

// acceptCommand is virt-grow accept.
type acceptCommand struct{ *program }

func (p acceptCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "accept", Usage: "commit a job that waits for a decision, or close a job as it is",
		ArgsUsage: "JOB", Action: func(c *cli.Context) error {
			if c.Bool("as-is") {
				return p.onJob(guest.Close)(c)
			}
			return p.onJob(guest.Accept)(c)
		},
		Flags: append(changeFlags(false),
			&cli.BoolFlag{Name: "as-is", Usage: "close the job without finishing or undoing anything, and list what it leaves behind", DisableDefaultText: true}),
	}, "The overlay is committed into the image and deleted. If the image has been\n   written to in the meantime, nothing is changed. A job that can no longer be rolled\n   back, such as an online growth, is closed. --as-is closes any job that resume and\n   rollback cannot end, for example because its domain or its image is gone.",
		"virt-grow accept 20260131-101500-3f2a",
		"virt-grow accept 3f2a --as-is",
		"virt-grow accept 3f2a --json")
}
