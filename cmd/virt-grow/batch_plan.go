package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/inhibit"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// batchPlanCommand is virt-grow batch plan.
type batchPlanCommand struct{ *program }

func (p batchPlanCommand) command() *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the plans to `FILE` for batch apply; - is standard output"},
		&cli.BoolFlag{Name: "force", Usage: "let -o replace a file that is not a batch", DisableDefaultText: true},
		&cli.BoolFlag{Name: "only-possible", Usage: "plan the other guests if some are refused", DisableDefaultText: true},
		&cli.BoolFlag{Name: "rehearse", Usage: "rehearse each edit (see virt-grow rehearse), and plan with the times it took", DisableDefaultText: true},
	}, rehearseFlags()...)
	return help(&cli.Command{
		Name: "plan", Usage: "plan the growth of all guests in an inventory; nothing is changed",
		ArgsUsage: "INVENTORY", Flags: flags, Action: p.action,
	}, "INVENTORY is a YAML file, or - for standard input. All guests are looked at, also if\n   some are refused: then nothing is written, unless --only-possible is given, and the\n   exit code is 3.",
		"virt-grow batch plan fleet.yaml -o batch.json",
		"virt-grow batch plan fleet.yaml -o batch.json --rehearse",
		"virt-grow batch plan fleet.yaml -o batch.json --only-possible",
		"virt-grow df --above 80% --suggest +30% | virt-grow batch plan - --json")
}

func (p batchPlanCommand) action(c *cli.Context) error {
	path, err := operand(c, "INVENTORY")
	if err != nil {
		return err
	}
	if !c.Bool("rehearse") {
		if err := noneOf(c, []string{"quiesce", "max-scratch"}, "needs --rehearse"); err != nil {
			return err
		}
	}
	rehearse, err := p.rehearseOptions(c)
	if err != nil {
		return err
	}
	output := c.String("output")
	if err := batchOutput(output, path, c.Bool("force")).check(); err != nil {
		return err
	}
	inv, source, err := p.readInventory(path)
	if err != nil {
		return err
	}
	p.connectFor(inv)
	looker := &batch.Growths{Connect: p.connect, Keys: p.inventoryKeys, Options: p.growthsOptions()}
	if c.Bool("rehearse") {
		looker.Rehearse = &rehearse
	}
	b, err := p.plan(c.Context, inv, source, looker)
	if err != nil {
		return err
	}
	return p.planned(b, output, c.Bool("only-possible"))
}

// growthsOptions returns the options of every growth of a batch.
func (p *program) growthsOptions() growth.Options {
	return growth.Options{
		Options: job.Options{Store: p.store(), Timings: p.timings(), Fault: faults(), Inhibit: inhibit.Shutdown},
		Session: p.session(nil), Cache: p.cache(),
	}
}

// connectFor uses the inventory's libvirt, unless --connect names another one.
func (p *program) connectFor(inv *inventory.Inventory) {
	if inv.Connect != "" && !p.connectGiven {
		p.connect = inv.Connect
	}
}

// plan looks at all guests.
func (p batchPlanCommand) plan(ctx context.Context, inv *inventory.Inventory, source batch.Source, l *batch.Growths) (*batch.Batch, error) {
	conn, err := domain.Connect(p.connect) // an error here is not one of a guest
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	doing := "planning for"
	if l.Rehearse != nil {
		doing = "rehearsing"
	}
	stop := p.looking(fmt.Sprintf("%s %d guests", doing, len(inv.Guests)))
	answers, err := batch.Ask(ctx, inv, l, batch.Appliances(), func(name string, i, of int) {
		if p.progress != nil {
			p.progress.Note(fmt.Sprintf("%s %s (%d of %d)", doing, name, i, of))
		}
	})
	stop()
	if err != nil {
		return nil, err
	}
	return batch.New(inv, source, p.connect, now(), answers, p.refusalOf)
}

// refusalOf returns the refusal for a guest's error, with its hint.
func (p *program) refusalOf(a batch.Answer) *batch.Refusal {
	alone := &program{console: p.console, name: p.name, state: p.state, subject: a.Guest.Name}
	t := alone.trouble(a.Err)
	return &batch.Refusal{Reason: batch.Reason(t.Reason), Message: t.Error, Hint: t.Hint}
}

// planned shows the batch, and writes it if it may be carried out.
func (p batchPlanCommand) planned(b *batch.Batch, output string, onlyPossible bool) error {
	refused := len(b.Refused()) > 0
	usable := len(b.Planned()) > 0 && (!refused || onlyPossible)
	toOut := p.json || output == "-"
	text := view.BatchText{Batch: b, OnlyPossible: onlyPossible}
	if usable && output != "" && output != "-" {
		if err := b.WriteFile(output); err != nil {
			return err
		}
		text.Apply = p.line("batch", "apply", output)
	}
	if p.json || toOut && usable {
		if err := b.Write(p.out); err != nil {
			return err
		}
	}
	if !p.json {
		w, s := p.out, p.style()
		if toOut {
			w, s = p.err, p.styleFor(p.errLive)
		}
		if err := view.Batch(w, s, text); err != nil {
			return err
		}
	}
	if !usable {
		return &shownError{exitRefused}
	}
	return nil
}

// readInventory reads the inventory in a file, or on standard input.
func (p *program) readInventory(path string) (*inventory.Inventory, batch.Source, error) {
	text, err := p.document(path)
	if err != nil {
		return nil, batch.Source{}, err
	}
	name, err := absolute(path)
	if err != nil {
		return nil, batch.Source{}, err
	}
	inv, err := inventory.Parse(path, text)
	var place *inventory.Error
	switch {
	case errors.As(err, &place):
		return nil, batch.Source{}, &usageError{text: place.Place(), excerpt: place.Excerpt()}
	case err != nil:
		return nil, batch.Source{}, usage("%v", err)
	}
	return inv, batch.SourceOf(name, text), nil
}

// inventoryKeys reads the keys of one guest. A key that is missing is not asked for: the
// guests of a batch do not wait for a person.
func (p *program) inventoryKeys(given []inventory.Key) (appliance.KeyFinder, error) {
	var keys keyring
	for _, k := range given {
		value, err := keyFromFile(k.File)
		if err != nil {
			return nil, fmt.Errorf("key for %s: %v", k.ID, err) // not a usage error: the other guests are planned
		}
		keys = append(keys, key{id: k.ID, value: value})
	}
	return keys.find, nil
}
