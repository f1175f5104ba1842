package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
)

// applyCommand is virt-grow apply.
type applyCommand struct{ *program }

func (p applyCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "apply", Usage: "carry out a reviewed plan, or refuse if the disk has changed",
		ArgsUsage: "PLAN.json|BATCH.json|-", Flags: slices.Concat(runFlags(), keyFlags(), outageFlags()), Action: p.action,
	}, "The plan is computed again from the disk and compared. If it differs in anything\n   that matters, nothing is changed. A batch is carried out as by virt-grow batch apply.\n   - is standard input, and needs --yes or --dry-run.",
		"virt-grow apply win.plan.json",
		"virt-grow apply win.plan.json --dry-run",
		"virt-grow apply win.plan.json --yes --json",
		"virt-grow apply - --yes <win.plan.json",
		"virt-grow apply - --yes --connect qemu+ssh://root@web/system <win.plan.json",
		"virt-grow apply safe.plan.json --key all:file:/root/safe.key")
}

// readReviewed reads a plan or a batch, from a file or standard input ("-").
func (p *program) readReviewed(path string) ([]byte, error) {
	text, err := p.document(path)
	if path == "-" && err == nil && !p.agreed {
		return nil, usage("the plan comes from standard input, so it cannot be confirmed there: use --yes")
	}
	return text, err
}

// document reads a file, or standard input for "-".
func (p *program) document(path string) ([]byte, error) {
	in := p.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usage("%v", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, batch.MaxFile+1))
	switch {
	case err != nil:
		return nil, usage("cannot read %s: %v", path, err)
	case len(text) > batch.MaxFile:
		return nil, usage("%s is larger than %d bytes", path, batch.MaxFile)
	}
	return text, nil
}

// absolute returns the absolute path of a document; standard input stays "-".
func absolute(path string) (string, error) {
	if path == "-" {
		return path, nil
	}
	return filepath.Abs(path)
}

// isBatch reports whether a document is a batch, by its schema.
func isBatch(text []byte) bool {
	var document struct{ Schema string }
	return json.Unmarshal(text, &document) == nil && document.Schema == batch.Schema
}

// batch carries out a batch. It takes the flags that batch apply has, too.
func (p applyCommand) batch(c *cli.Context, path string, text []byte) error {
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
	return command.apply(c, path, text)
}

func (p applyCommand) action(c *cli.Context) error {
	path, err := operand(c, "plan file")
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
	if isBatch(text) {
		return p.batch(c, path, text)
	}
	o, err := p.growthOptions(c)
	if err != nil {
		return err
	}
	saved, err := plan.Read(bytes.NewReader(text))
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
