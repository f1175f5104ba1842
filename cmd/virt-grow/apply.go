package main

import (
	"encoding/json"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/growth"
)

// applyCommand is virt-grow apply.
type applyCommand struct{ *program }

func (p applyCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out a reviewed plan, or refuse if the disk has changed",
		ArgsUsage: "PLAN.json|BATCH.json", Flags: slices.Concat(runFlags(), keyFlags(), outageFlags()), Action: p.action,
	}, "The plan is computed again from the disk and compared. If it differs in anything\n   that matters, nothing is changed. A batch is carried out as by virt-grow batch apply.",
		"virt-grow apply win.plan.json",
		"virt-grow apply win.plan.json --dry-run",
		"virt-grow apply win.plan.json --yes --json",
		"virt-grow apply safe.plan.json --key all:file:/root/safe.key")
}

// isBatch reports whether a file is a batch, by its schema.
func isBatch(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var file struct{ Schema string }
	return json.Unmarshal(text, &file) == nil && file.Schema == batch.Schema
}

// batch carries out a batch. It takes the flags that batch apply has, too.
func (p applyCommand) batch(c *cli.Context) error {
	command := batchApplyCommand(p)
	var known []string
	for _, f := range command.command().Flags {
		known = append(known, f.Names()...)
	}
	for _, name := range c.LocalFlagNames() {
		if !slices.Contains(known, name) {
			return usage("--%s is not for a batch: its inventory says how its guests are treated", name)
		}
	}
	p.name = "batch apply"
	return command.action(c)
}

func (p applyCommand) action(c *cli.Context) error {
	path, err := operand(c, "plan file")
	if err != nil {
		return err
	}
	if isBatch(path) {
		return p.batch(c)
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
