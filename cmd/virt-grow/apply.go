package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/plan"
)

func (p *program) applyCommand() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out a reviewed plan, or refuse if the disk has changed",
		ArgsUsage: "PLAN.json", Flags: append(runFlags(), keyFlags()...), Action: p.applyPlan,
	}, "The plan is made anew from the disk and compared; if it differs in anything\n   that matters, nothing is touched.",
		"virt-grow apply win.plan.json",
		"virt-grow apply win.plan.json --yes --json",
		"virt-grow apply safe.plan.json --key all:file:/root/safe.key")
}

func (p *program) applyPlan(c *cli.Context) error {
	path, err := operand(c, "plan file")
	if err != nil {
		return err
	}
	o, err := p.runOptions(c)
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
	img, err := guest.Open(c.Context, saved.Target.Path, guest.OpenOptions{Format: saved.Target.Format, Sector: saved.Target.SectorSize})
	if err != nil {
		return err
	}
	if img.Size != saved.OldSize {
		return plan.Refuse(plan.StalePlan, img.Path, "%s has %d bytes, and had %d when the plan was made", img.Path, int64(img.Size), int64(saved.OldSize))
	}
	o.Session, o.Saved = p.session(keys), saved
	return p.run(&o, func() (*guest.Outcome, error) { return guest.Grow(c.Context, img, saved.Request, o) })
}
