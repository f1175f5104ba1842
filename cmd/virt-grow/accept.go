package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
)

func (p *program) acceptCommand() *cli.Command {
	return help(&cli.Command{
		Name: "accept", Usage: "commit a job that waits for a decision (--keep-overlay), or close one as it is",
		ArgsUsage: "JOB", Action: func(c *cli.Context) error {
			if c.Bool("as-is") {
				return p.onJob(guest.Close)(c)
			}
			return p.onJob(guest.Accept)(c)
		},
		Flags: []cli.Flag{&cli.BoolFlag{Name: "as-is", Usage: "close the job: nothing more is done or taken back, and what it leaves is listed", DisableDefaultText: true}},
	}, "The overlay is written into the image, and deleted. If the image was written\n   to meanwhile, nothing is touched. A job that cannot be taken back any more, such\n   as one of online, is closed. --as-is closes any job that resume and rollback\n   cannot end: its domain is gone, for example, or its image.",
		"virt-grow accept 20260131-101500-3f2a",
		"virt-grow accept 3f2a --as-is",
		"virt-grow accept 3f2a --json")
}
