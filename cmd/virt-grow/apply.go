package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
)

// applyCommand is virt-grow apply.
type applyCommand struct{ *program }

func (p applyCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out a reviewed plan, or refuse if the disk has changed",
		ArgsUsage: "PLAN.json", Flags: slices.Concat(runFlags(), keyFlags(), outageFlags()), Action: p.action,
	}, "The plan is computed again from the disk and compared. If it differs in anything\n   that matters, nothing is changed.",
		"virt-grow apply win.plan.json",
		"virt-grow apply win.plan.json --dry-run",
		"virt-grow apply win.plan.json --yes --json",
		"virt-grow apply safe.plan.json --key all:file:/root/safe.key")
}

func (p applyCommand) action(c *cli.Context) error {
	path, err := operand(c, "plan file")
	if err != nil {
		return err
	}
	o, err := p.growthOptions(c)
	if err != nil {
		return err
	}
	saved, err := readPlan(path)
	if err != nil {
		return usage("%s: %v", path, err)
	}
	keys, err := p.readKeys(c)
	if err != nil {
		return err
	}
	if err := outage(c, &o); err != nil {
		return err
	}
	if g := saved.Target.Guest; g != nil {
		p.connect = g.Connect
	} else if err := noneOf(c, onlyForDomains, "is only for domains; the plan is for an image"); err != nil {
		return err
	}
	img, err := growth.OpenPlanned(c.Context, saved, c.String("scratch-dir"))
	if err != nil {
		return err
	}
	defer img.Close()
	o.Session, o.Saved = p.session(keys), saved
	return p.runGrowth(c, &o, func() (*guest.Outcome, error) { return growth.Grow(c.Context, img, saved.Request, o) })
}
