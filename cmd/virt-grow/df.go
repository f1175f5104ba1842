package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/files"
)

// dfCommand is virt-grow df.
type dfCommand struct{ *program }

func (p dfCommand) command() *cli.Command {
	mounts := &cli.BoolFlag{Name: "mounts", Usage: "also show where the guest mounts them, which takes longer", DisableDefaultText: true}
	return help(&cli.Command{
		Name: "df", Usage: "show how full the guests' file systems are",
		ArgsUsage: "TARGET...", Flags: append([]cli.Flag{mounts}, targetFlags()...), Action: p.action,
	}, "The disks are only read. Guests may be running; the figures are then those of this\n   moment, and may be inconsistent. All disks of one domain are read in one appliance;\n   disks of two domains never share an appliance.",
		"virt-grow df dev7",
		"virt-grow df dev7 dev8 web.qcow2",
		"virt-grow df dev7 --mounts --json")
}

func (p dfCommand) action(c *cli.Context) error {
	names := c.Args().Slice()
	if len(names) == 0 {
		return usage("df: TARGET is missing")
	}
	keys, err := p.readKeys(c)
	if err != nil {
		return err
	}
	var targets []target
	for _, name := range names {
		t, err := p.targetOf(c, name)
		if err != nil {
			return err
		}
		t.keys = keys
		targets = append(targets, t)
	}
	var guests []view.GuestUsage
	for _, t := range targets {
		found, err := p.usage(c.Context, t, c.Bool("mounts"))
		if err != nil && (len(targets) == 1 || c.Context.Err() != nil) {
			return err
		}
		if err != nil {
			// The other guests are shown all the same.
			trouble := p.trouble(err)
			found.Trouble = &trouble
			p.complain(err, trouble)
		}
		if !slices.ContainsFunc(guests, func(g view.GuestUsage) bool { return g.UUID != "" && g.UUID == found.UUID }) {
			guests = append(guests, found)
		}
	}
	if p.json {
		err = view.UsageJSON(p.out, guests)
	} else {
		err = view.Usage(p.out, p.style(), guests)
	}
	if err == nil && slices.ContainsFunc(guests, func(g view.GuestUsage) bool { return g.Trouble != nil }) {
		err = errShown
	}
	return err
}

// usage reads how full one guest's file systems are.
func (p dfCommand) usage(ctx context.Context, t target, where bool) (view.GuestUsage, error) {
	p.subject = t.name()
	u := view.GuestUsage{Target: p.subject}
	g, err := t.disks(ctx)
	if err != nil {
		return u, err
	}
	defer g.Close()
	u.UUID, u.Running, u.Notes = g.UUID, g.Running, g.Notes
	stop := p.looking(fmt.Sprintf("looking at %s", g.Name))
	u.FileSystems, err = files.Usage(ctx, g, where, p.session(t.keys))
	stop()
	return u, err
}

// name returns the TARGET as the user gave it.
func (t target) name() string {
	if t.domain != "" {
		return t.domain
	}
	return t.path
}
