package main

import (
	"reflect"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// applyCommand is virt-grow apply.
type applyCommand struct{ *program }

func (p applyCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out a reviewed plan, or refuse if the disk has changed",
		ArgsUsage: "PLAN.json", Flags: slices.Concat(runFlags(), keyFlags(), outageFlags()), Action: p.action,
	}, "The plan is computed again from the disk and compared. If it differs in anything\n   that matters, nothing is changed.",
		"virt-grow apply win.plan.json",
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
	img, err := p.planned(c, saved)
	if err != nil {
		return err
	}
	defer img.Close()
	if img.Size != saved.OldSize {
		return plan.Refuse(plan.StalePlan, img.Path, "%s has %d bytes; it had %d when the plan was made", img.Path, int64(img.Size), int64(saved.OldSize))
	}
	if g := saved.Target.Guest; g != nil && !reflect.DeepEqual(g, img.Target.Guest) {
		return plan.Refuse(plan.StalePlan, g.Name, "domain %s has changed since the plan was made: its state, its disks or its agent", g.Name)
	}
	o.Session, o.Saved = p.session(keys), saved
	return p.runGrowth(&o, func() (*guest.Outcome, error) { return growth.Grow(c.Context, img, saved.Request, o) })
}

// planned opens the disk that a plan was made for.
func (p applyCommand) planned(c *cli.Context, saved *plan.Plan) (*disk.Disk, error) {
	t := saved.Target
	if g := t.Guest; g != nil {
		p.connect = g.Connect
		treat := optionsOf(t)
		treat.Scratch = c.String("scratch-dir")
		return p.openDomain(c.Context, g.UUID, treat)
	}
	if err := noneOf(c, onlyForDomains, "is only for domains; the plan is for an image"); err != nil {
		return nil, err
	}
	return disk.OpenImage(c.Context, t.Path, image.Options{Format: t.Format, Sector: t.SectorSize})
}
