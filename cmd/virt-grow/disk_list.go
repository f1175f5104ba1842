package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// diskListCommand is virt-grow disk list.
type diskListCommand struct{ *program }

func (p diskListCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "list", Usage: "list a domain's disks, and warn about problems",
		ArgsUsage: "DOMAIN", Action: p.action,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "inspect", Usage: "inspect the content of the disks now, in one appliance", DisableDefaultText: true},
		}, keyFlags()...),
	}, "Images are only read, also those of a running guest. Their content is shown as of\n   the last inspection (disk list --inspect, inspect or plan), unless the image has\n   been written to since.",
		"virt-grow disk list dev7",
		"virt-grow disk list dev7 --inspect",
		"virt-grow disk list dev7 --json")
}

func (p diskListCommand) action(c *cli.Context) error {
	name, err := operand(c, "DOMAIN")
	if err != nil {
		return err
	}
	p.subject = name
	keys, err := p.readKeys(c)
	if err != nil {
		return err
	}
	list, err := p.disksOf(c.Context, name, c.Bool("inspect"), p.session(keys))
	if err != nil {
		return err
	}
	if p.json {
		return view.DisksJSON(p.out, list)
	}
	for _, d := range list.Disks {
		if d.Inside != nil {
			d.Inside.At = d.Inside.At.Local()
		}
	}
	return view.Disks(p.out, p.style(), list, p.hintFor)
}

func (p diskListCommand) disksOf(ctx context.Context, name string, look bool, o session.Options) (*plan.DiskList, error) {
	d, err := p.domainNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	stop := p.looking("inspecting the disks of " + d.Name)
	list, err := disk.List(ctx, d, look, o, p.cache())
	stop()
	return list, errors.Join(err, d.Close())
}
