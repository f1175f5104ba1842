package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// planCommand is virt-grow plan.
type planCommand struct{ *program }

func (p planCommand) command() *cli.Command {
	flags := append(requestFlags(),
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the plan to `FILE` for apply; - is standard output"},
		&cli.BoolFlag{Name: "force", Usage: "let -o replace a file that is not a plan", DisableDefaultText: true},
		&cli.BoolFlag{Name: "detailed-exit-code", Usage: "exit with 10 if the plan would change something, and with 0 if there is nothing to do", DisableDefaultText: true},
		&cli.BoolFlag{Name: "rehearse", Usage: "rehearse the edit (see virt-grow rehearse), and plan with the times it took", DisableDefaultText: true},
		scratchFlag())
	return help(&cli.Command{
		Name: "plan", Usage: "compute and show the steps; nothing is changed",
		ArgsUsage: "TARGET", Flags: slices.Concat(flags, rehearseFlags(), targetFlags(), domainFlags()), Action: p.action,
	}, "The checks that precede the edit are run, too: a plan that is shown can be carried\n   out.",
		"virt-grow plan web.qcow2 --size +10G",
		"virt-grow plan dev7 --disk vda --size +10G -o dev7.plan.json",
		"virt-grow plan win.qcow2 --size 80G --grow C: -o win.plan.json",
		"virt-grow plan dev7 --disk vda --size 30G --detailed-exit-code",
		"virt-grow plan /dev/vg0/guest --size fill --json")
}

func (p planCommand) action(c *cli.Context) error {
	if c.Bool("rehearse") {
		return p.planRehearsed(c)
	}
	if err := noneOf(c, []string{"quiesce", "max-scratch"}, "needs --rehearse"); err != nil {
		return err
	}
	r, err := request(c)
	if err != nil {
		return err
	}
	t, err := p.target(c)
	if err != nil {
		return err
	}
	output := c.String("output")
	if err := planOutput(output, t.path, c.Bool("force")).check(); err != nil {
		return err
	}
	img, err := t.image(c.Context)
	if err != nil {
		return err
	}
	defer img.Close()
	stop := p.looking("planning for " + img.Path)
	o := growth.Options{Options: job.Options{Timings: p.timings()}, Session: p.session(t.keys), Cache: p.cache()}
	made, err := growth.WithGroup(c.Context, img, t.treat, o.Session, func(d *disk.Disk) (*plan.Plan, error) {
		return growth.MakePlan(c.Context, d, growth.ByTarget(r, d), o)
	})
	stop()
	if err != nil {
		return err
	}
	return p.showPlan(c, view.PlanText{Plan: made}, output)
}

// planRehearsed makes the plan in a rehearsal.
func (p planCommand) planRehearsed(c *cli.Context) error {
	output := c.String("output")
	if err := planOutput(output, c.Args().First(), c.Bool("force")).check(); err != nil {
		return err
	}
	return p.withRehearsal(c, func(_ *growth.Options, work func() (*growth.Rehearsal, error)) error {
		stop := p.looking("rehearsing")
		out, err := work()
		stop()
		if err != nil {
			return err
		}
		return p.showPlan(c, view.PlanText{Plan: out.Plan, Rehearsed: true}, output)
	})
}

func (p planCommand) showPlan(c *cli.Context, text view.PlanText, output string) error {
	if err := p.writePlan(text, output); err != nil {
		return err
	}
	if c.Bool("detailed-exit-code") && text.Plan.Changes() {
		return errWouldChange
	}
	return nil
}

// writePlan shows the plan, and saves it.
func (p planCommand) writePlan(text view.PlanText, output string) error {
	made := text.Plan
	toOut := p.json || output == "-"
	w, s := p.out, p.style()
	if toOut {
		w, s = p.err, p.styleFor(p.errLive)
	}
	if output != "" && output != "-" {
		var file bytes.Buffer
		if err := made.Write(&file); err != nil {
			return err
		}
		if err := renameio.WriteFile(output, file.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if toOut {
		if err := made.Write(p.out); err != nil {
			return err
		}
		if p.json {
			return nil
		}
	}
	text.Overlay, text.Exact = p.overlayDirs(made.Target, ""), p.verbose
	return view.Plan(w, s, text)
}

// overlayDirs names the directories of the overlays for people.
func (p *program) overlayDirs(t plan.Target, scratch string) string {
	if scratch != "" {
		return scratch
	}
	var dirs []string
	for _, d := range t.Images() {
		dir := filepath.Dir(d.Path)
		if d.Block {
			dir = filepath.Join(p.state, "jobs")
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, " and ")
}

func readPlan(path string) (*plan.Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return plan.Read(f)
}
