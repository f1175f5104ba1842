package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
)

// growCommand is virt-grow grow.
type growCommand struct{ *program }

func (p growCommand) command() *cli.Command {
	flags := slices.Concat(requestFlags(), runFlags(), targetFlags(), domainFlags(), outageFlags())
	return help(&cli.Command{
		Name: "grow", Usage: "plan, ask for confirmation, and grow the disk and what is inside",
		ArgsUsage: "TARGET", Flags: flags, Action: p.action,
	}, "Every change is made on an overlay; the image is only read until the result is\n   verified. A domain is shut down, started again on the overlay, and checked. If the\n   check passes, the overlay is committed into the image. Ctrl-C undoes the run.",
		"virt-grow grow dev7 --disk vda --size +10G",
		"virt-grow grow dev7 --disk vda --size +10G --dry-run",
		"virt-grow grow dev7 --disk vda:+10G --disk vdb:+50G --grow / --grow /data",
		"virt-grow grow dev7 --disk vda --size +10G --yes --window-end 04:00 --accept manual",
		"virt-grow grow web.qcow2 --size +10G",
		"virt-grow grow win.qcow2 --size 80G --grow C: --yes --json",
		"virt-grow grow win7 --size +20G --grow C: --ntfs guest",
		"virt-grow grow data.raw --size 2T --grow vg0/data=1.5T --keep-overlay",
		"virt-grow grow safe.qcow2 --size +10G --key sda2:prompt")
}

// runFlags returns the flags of commands that change an image.
func runFlags() []cli.Flag {
	return append(changeFlags(true),
		&cli.BoolFlag{Name: "keep-overlay", Usage: "stop before the commit, and wait for virt-grow accept or rollback", DisableDefaultText: true},
		&cli.DurationFlag{Name: "check-timeout", Usage: "give up if the full check of a file system takes longer than `TIME`", DefaultText: "no limit"},
		scratchFlag())
}

func (p growCommand) action(c *cli.Context) error {
	r, err := request(c)
	if err != nil {
		return err
	}
	o, err := p.growthOptions(c)
	if err != nil {
		return err
	}
	t, err := p.target(c)
	if err != nil {
		return err
	}
	if err := outage(c, &o); err != nil {
		return err
	}
	img, err := t.image(c.Context)
	if err != nil {
		return err
	}
	defer img.Close()
	o.Session = p.session(t.keys)
	return p.runGrowth(c, &o, func() (*guest.Outcome, error) {
		return growth.WithGroup(c.Context, img, t.treat, o.Session, func(d *disk.Disk) (*guest.Outcome, error) {
			return growth.Grow(c.Context, d, growth.ByTarget(r, d), o)
		})
	})
}

// readAgreed reads --yes. Without --yes, standard input must be a terminal. A dry run does
// nothing that would have to be confirmed.
func (p *program) readAgreed(c *cli.Context) error {
	p.agreed = c.Bool("yes") || c.Bool("dry-run")
	if !p.agreed && !p.asks {
		return usage("standard input is not a terminal, so the plan cannot be confirmed: use --yes")
	}
	return nil
}

// growthOptions reads runFlags.
func (p *program) growthOptions(c *cli.Context) (growth.Options, error) {
	var o growth.Options
	if err := p.readAgreed(c); err != nil {
		return o, err
	}
	o.Keep = c.Bool("keep-overlay")
	if !p.agreed {
		o.Confirm = p.confirm
	}
	var err error
	o.Scratch, err = scratchDir(c)
	return o, err
}

func scratchFlag() cli.Flag {
	return &cli.StringFlag{Name: "scratch-dir", Usage: "create the overlay in `DIRECTORY` (default: the image's directory)"}
}

// scratchDir returns the directory for the overlay; "" is the image's own.
func scratchDir(c *cli.Context) (string, error) {
	given := c.String("scratch-dir")
	if given == "" {
		return "", nil
	}
	dir, err := filepath.Abs(given)
	if err == nil && !isDirectory(dir) {
		err = usage("--scratch-dir %s is not a directory", dir)
	}
	return dir, err
}

// confirm asks the user to confirm the plan, and then each partition that it deletes.
func (p *program) confirm(ctx context.Context, made *plan.Plan) error {
	p.hold()
	defer p.release()
	if err := p.ask(ctx, "\nContinue? [y/N] ", "y", "yes"); err != nil {
		return err
	}
	return p.confirmDeletes(ctx, made, "")
}

// confirmDeletes asks the user to confirm each partition that a plan deletes. of says whose it
// is; "" if there is only one guest or image.
func (p *program) confirmDeletes(ctx context.Context, made *plan.Plan, of string) error {
	for _, d := range made.Deletes() {
		question := fmt.Sprintf("%s%s will be deleted with everything on it. Type %s to confirm: ", d, of, d.Name)
		if err := p.ask(ctx, question, d.Name); err != nil {
			return err
		}
	}
	return nil
}
