package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/domain"
)

// diskDetachCommand is virt-grow disk detach.
type diskDetachCommand struct{ *program }

func (p diskDetachCommand) command() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.BoolFlag{Name: "unmount", Usage: "unmount the disk in the guest, and remove its lines from the guest's fstab", DisableDefaultText: true},
		&cli.BoolFlag{Name: "delete", Usage: "delete the image afterwards", DisableDefaultText: true},
		&cli.BoolFlag{Name: "even-mounted", Usage: "do not check whether the guest uses the disk", DisableDefaultText: true},
		&cli.DurationFlag{Name: "timeout", Value: device.ReleaseLimit, Usage: "wait `TIME` for the guest to release the disk"},
	}, whereFlags(), changeFlags(false))
	return help(&cli.Command{
		Name: "detach", Usage: "detach a disk from a domain once the guest has released it",
		ArgsUsage: "DOMAIN DISK", Flags: flags, Action: p.action,
	}, "DISK is a target (vdb) or the path of its image. The guest must have unmounted it,\n   which is checked through the guest's agent. The image is kept, unless --delete.",
		"virt-grow disk detach dev7 vdb",
		"virt-grow disk detach dev7 vdb --unmount",
		"virt-grow disk detach dev7 vdb --unmount --delete")
}

func (p diskDetachCommand) action(c *cli.Context) error {
	given, err := operands(c, "DOMAIN", "DISK")
	if err != nil {
		return err
	}
	r := device.DetachRequest{Disk: given[1], Delete: c.Bool("delete"), Unmount: c.Bool("unmount"),
		EvenMounted: c.Bool("even-mounted"), Limit: c.Duration("timeout")}
	if r.Limit <= 0 {
		return usage("--timeout %s: must be longer than zero", r.Limit)
	}
	if r.Unmount && r.EvenMounted {
		return usage("--unmount and --even-mounted cannot be used together")
	}
	if r.Scope, err = where(c); err != nil {
		return err
	}
	return p.onDevices(c, given[0], func(d *domain.Domain, o device.Options) (*guest.Outcome, error) {
		return device.Detach(c.Context, d, r, o)
	})
}
