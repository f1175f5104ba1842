package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func (p *program) growCommand() *cli.Command {
	flags := slices.Concat(requestFlags(), runFlags(), targetFlags(), domainFlags(), outageFlags())
	return help(&cli.Command{
		Name: "grow", Usage: "plan, ask for confirmation, and grow the disk and what is inside",
		ArgsUsage: "TARGET", Flags: flags, Action: p.grow,
	}, "Every change is made on an overlay; the image is only read until the result is\n   verified. A domain is shut down, started again on the overlay, and checked. If the\n   check passes, the overlay is committed into the image. Ctrl-C undoes the run.",
		"virt-grow grow dev7 --disk vda --size +10G",
		"virt-grow grow dev7 --disk vda --size +10G --yes --window-end 04:00 --accept manual",
		"virt-grow grow web.qcow2 --size +10G",
		"virt-grow grow win.qcow2 --size 80G --grow C: --yes --json",
		"virt-grow grow win7 --size +20G --grow C: --ntfs guest",
		"virt-grow grow data.raw --size 2T --grow vg0/data=1.5T --keep-overlay",
		"virt-grow grow safe.qcow2 --size +10G --key sda2:prompt")
}

// runFlags returns the flags of commands that change an image.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation", DisableDefaultText: true},
		&cli.BoolFlag{Name: "keep-overlay", Usage: "stop before the commit, and wait for virt-grow accept or rollback", DisableDefaultText: true},
		scratchFlag(),
	}
}

func (p *program) grow(c *cli.Context) error {
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
	return p.runGrowth(&o, func() (*guest.Outcome, error) { return growth.Grow(c.Context, img, r, o) })
}

// readAgreed reads --yes. Without --yes, standard input must be a terminal.
func (p *program) readAgreed(c *cli.Context) error {
	p.agreed = c.Bool("yes")
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
	for _, d := range made.Deletes() {
		question := fmt.Sprintf("%s will be deleted with everything on it. Type %s to confirm: ", d, d.Name)
		if err := p.ask(ctx, question, d.Name); err != nil {
			return err
		}
	}
	return nil
}

// ask asks a question. Any answer but the agreed ones is a refusal.
func (p *program) ask(ctx context.Context, question string, agreed ...string) error {
	fmt.Fprint(p.human(), question)
	answer, ok := p.answer(ctx.Done())
	if !ok {
		return context.Cause(ctx)
	}
	if !slices.Contains(agreed, answer) {
		return growth.ErrDeclined
	}
	return nil
}

// run runs a job, and shows its progress and its result.
func (p *program) run(o *job.Options, work func() (*guest.Outcome, error)) error {
	o.Store, o.Timings, o.Fault = p.store(), p.timings(), faults()
	stop := p.watch(o)
	shown := o.Emit
	o.Emit = func(e apply.Event) { p.decides(e); shown(e) }
	out, err := work()
	stop()
	if err != nil {
		return err
	}
	return p.ended(out)
}

// watch connects a run's events to the view.
func (p *program) watch(o *job.Options) (stop func()) {
	if p.json {
		p.events = p.newEvents()
		o.Emit, o.Note, o.Listed = p.events.Event, p.events.Note, p.events.Listed
		o.Opened = func(id string) { p.job = id; p.events.Opened(id) }
		return func() {}
	}
	p.progress = view.NewProgress(p.out, p.style(), p.outLive, now)
	o.Emit, o.Note, o.Listed = p.progress.Event, p.progress.Note, p.progress.Listed
	o.Opened = func(id string) { p.job = id }
	if !p.outLive {
		return p.progress.Stop
	}
	halt := ticking(p.progress)
	return func() { halt(); p.progress.Stop() }
}

// runGrowth is run for a growth: the plan is shown beforehand.
func (p *program) runGrowth(o *growth.Options, work func() (*guest.Outcome, error)) error {
	o.Cache = p.cache()
	o.Planned = func(made *plan.Plan) { p.showPlanned(o, made) }
	return p.run(&o.Options, work)
}

// showPlanned shows the plan, as text or as an event.
func (p *program) showPlanned(o *growth.Options, made *plan.Plan) {
	if p.json {
		p.events.Planned(made)
		if o.Confirm != nil { // the user confirms on standard error
			p.present(o, made)
		}
		return
	}
	p.progress.Hold()
	p.present(o, made)
	p.progress.Release()
	p.progress.Listed(made.Steps)
}

// present shows the plan as text.
func (p *program) present(o *growth.Options, made *plan.Plan) {
	if !made.Changes() {
		return // the result says so
	}
	_ = view.Plan(p.human(), p.style(), view.PlanText{
		Plan: made, Overlay: p.overlayDir(made.Target, o.Scratch), Keep: o.Keep, Rehearsed: p.command == "rehearse", Exact: p.verbose})
	fmt.Fprintln(p.human())
}

// outcomes name the states a job can end a run in.
var outcomes = map[journal.JobState]view.Outcome{
	journal.Finished: view.Done, journal.Waiting: view.Waiting,
	journal.RolledBack: view.RolledBack, journal.Cancelled: view.Unchanged,
	journal.Closed: view.Closed,
}

// ended shows the result of a run without an error.
func (p *program) ended(out *guest.Outcome) error {
	r := view.Result{Job: out.Job, Outcome: outcomes[out.State], Plan: out.Plan, Took: out.Took,
		ManualSteps: out.ManualSteps, Messages: out.Messages, Accept: p.line("accept", out.Job), Rollback: p.line("rollback", out.Job)}
	if out.State == journal.Cancelled && out.Plan == nil && out.Messages == nil {
		r.Outcome = view.Cancelled
	}
	if out.State == journal.Waiting {
		r.Overlay = p.overlayOf(out.Job)
	}
	if !p.json {
		if p.outLive || out.Took > 0 {
			fmt.Fprintln(p.out)
		}
		return view.Results(p.out, p.style(), r)
	}
	e := view.ResultEvent{Job: out.Job, Changed: out.Changed, Outcome: r.Outcome, Seconds: out.Took.Seconds(), Overlay: r.Overlay, ManualSteps: r.ManualSteps, Messages: r.Messages, Commands: out.Commands}
	if out.State == journal.Waiting {
		e.Next = r.Accept
	}
	p.events.Result(e)
	return nil
}

// overlayOf returns the path of a job's overlay.
func (p *program) overlayOf(job string) string {
	s, err := p.engine().Status(job)
	if err != nil {
		return ""
	}
	return s.Details.Overlay
}

// now returns the time for the views.
func now() time.Time { return time.Now() }
