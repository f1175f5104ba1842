package main

import (
	"bytes"
	"context"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/batch"
)

// batchApplyCommand is virt-grow batch apply.
type batchApplyCommand struct{ *program }

func (p batchApplyCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out the plans of a batch",
		ArgsUsage: "BATCH.json|-", Flags: append(changeFlags(true), batchRunFlags()...), Action: p.action,
	}, "The canaries grow first, one after the other and alone. Then up to --parallel guests\n   are away at the same time, while the next ones are prepared. After a canary or too\n   many guests have failed, no outage begins any more. A guest that cannot be back\n   before the window ends does not begin. Ctrl-C undoes the guests that are away.",
		"virt-grow batch apply batch.json",
		"virt-grow batch apply batch.json --dry-run",
		"virt-grow batch apply batch.json --yes --parallel 2 --window-end 04:00",
		"virt-grow batch apply batch.json --yes --json")
}

func (p batchApplyCommand) action(c *cli.Context) error {
	path, err := operand(c, "batch file")
	if err != nil {
		return err
	}
	if err := p.readAgreed(c); err != nil {
		return err
	}
	text, err := p.readReviewed(path)
	if err != nil {
		return err
	}
	return p.apply(c, path, text)
}

// apply carries out the batch with a text, which was read from path.
func (p batchApplyCommand) apply(c *cli.Context, path string, text []byte) error {
	o, err := p.batchOptions(c)
	if err != nil {
		return err
	}
	b, err := batch.Read(bytes.NewReader(text))
	if err != nil {
		return usage("%s: %v", path, err)
	}
	if path, err = absolute(path); err != nil {
		return err
	}
	if err := p.confirmBatch(c.Context, b); err != nil {
		return err
	}
	if o.DryRun {
		if err := p.showPossible(b); err != nil {
			return err
		}
	}
	return p.runBatch(&o, len(b.Planned()), func() error {
		_, err := batch.Apply(c.Context, b, path, o)
		return err
	})
}

// showPossible shows the guests that will be grown.
func (p batchApplyCommand) showPossible(b *batch.Batch) error {
	return view.Batch(p.human(), p.style(), view.BatchText{Batch: b, OnlyPossible: true})
}

// confirmBatch shows the batch and asks the user to confirm it, and then each partition that
// a plan deletes.
func (p batchApplyCommand) confirmBatch(ctx context.Context, b *batch.Batch) error {
	if p.agreed {
		return nil
	}
	if err := p.showPossible(b); err != nil {
		return err
	}
	if err := p.ask(ctx, "\nContinue? [y/N] ", "y", "yes"); err != nil {
		return err
	}
	for _, g := range b.Planned() {
		if err := p.confirmDeletes(ctx, g.Plan, " of "+g.Name); err != nil {
			return err
		}
	}
	return nil
}
