package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/domain"
)

func (p *program) diskDetachCommand() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.BoolFlag{Name: "unmount", Usage: "unmount it in the guest, and take its lines out of the guest's fstab", DisableDefaultText: true},
		&cli.BoolFlag{Name: "delete", Usage: "delete the image in the end", DisableDefaultText: true},
		&cli.BoolFlag{Name: "even-mounted", Usage: "do not ask whether the guest uses it", DisableDefaultText: true},
		&cli.DurationFlag{Name: "timeout", Value: device.ReleaseLimit, Usage: "wait `TIME` for the guest to let it go"},
	}, whereFlags())
	return help(&cli.Command{
		Name: "detach", Usage: "take a disk away from a domain, once the guest has let it go",
		ArgsUsage: "DOMAIN DISK", Flags: flags, Action: p.diskDetach,
	}, "DISK is a target (vdb) or the path of its image. The guest has to have it\n   unmounted, which its agent is asked about. The image stays, unless --delete.",
		"virt-grow disk detach dev7 vdb",
		"virt-grow disk detach dev7 vdb --unmount",
		"virt-grow disk detach dev7 vdb --unmount --delete")
}

func (p *program) diskDetach(c *cli.Context) error {
	given, err := operands(c, "DOMAIN", "DISK")
	if err != nil {
		return err
	}
	r := device.DetachRequest{Disk: given[1], Delete: c.Bool("delete"), Unmount: c.Bool("unmount"),
		EvenMounted: c.Bool("even-mounted"), Limit: c.Duration("timeout")}
	if r.Limit <= 0 {
		return usage("--timeout %s: the guest needs some time", r.Limit)
	}
	if r.Unmount && r.EvenMounted {
		return usage("--unmount and --even-mounted exclude each other")
	}
	if r.Where, err = where(c); err != nil {
		return err
	}
	return p.onDevices(c, given[0], func(d *domain.Domain, o guest.Options) (*guest.Outcome, error) {
		return device.Detach(c.Context, d, r, guest.DeviceOptions(o))
	})
}
