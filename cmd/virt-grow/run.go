package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/inhibit"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// changeFlags returns the flags that every command has that changes something. asks reports
// that the command asks for confirmation.
func changeFlags(asks bool) []cli.Flag {
	yes := "do not ask for confirmation"
	if !asks {
		yes = "for scripts that give it to every command: this one asks nothing"
	}
	return []cli.Flag{yesFlag(yes), dryRunFlag()}
}

func yesFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: usage, DisableDefaultText: true}
}

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "make the checks, show what would be done, and change nothing", DisableDefaultText: true}
}

// run runs a job, and shows its progress and its result.
func (p *program) run(c *cli.Context, o *job.Options, work func() (*guest.Outcome, error)) error {
	o.DryRun = c.Bool("dry-run")
	o.Store, o.Timings, o.Fault, o.Inhibit = p.store(), p.timings(), faults(), inhibit.Shutdown
	o.Origin, o.Exit = p.origin, exitCode
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
		o.Opened = func(id string) { p.opened(id); p.events.Opened(id) }
		return func() {}
	}
	p.progress = view.NewProgress(p.out, p.style(), p.outLive, now)
	o.Emit, o.Note, o.Listed = p.progress.Event, p.progress.Note, p.progress.Listed
	o.Opened = p.opened
	if !p.outLive {
		return p.progress.Stop
	}
	halt := ticking(p.progress)
	return func() { halt(); p.progress.Stop() }
}

// opened notes the job of this run.
func (p *program) opened(id string) {
	p.job = id
	if p.far != nil {
		p.far.Opened(id)
	}
}

// runGrowth is run for a growth: the plan is shown beforehand.
func (p *program) runGrowth(c *cli.Context, o *growth.Options, work func() (*guest.Outcome, error)) error {
	o.Cache = p.cache()
	o.Planned = func(made *plan.Plan) { p.showPlanned(o, made) }
	return p.run(c, &o.Options, work)
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
		Plan: made, Overlay: p.overlayDirs(made.Target, o.Scratch), Keep: o.Keep, Rehearsed: p.name == "rehearse", Exact: p.verbose})
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
	r := view.Result{Job: out.Job, Outcome: outcomes[out.State], Plan: out.Plan, Steps: out.Steps, Took: out.Took,
		ManualSteps: out.ManualSteps, Messages: out.Messages, Accept: p.line("accept", out.Job), Rollback: p.line("rollback", out.Job)}
	if out.State == journal.Cancelled && out.Plan == nil && out.Messages == nil {
		r.Outcome = view.Cancelled
	}
	if out.State == "" {
		r.Outcome = view.Planned
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
