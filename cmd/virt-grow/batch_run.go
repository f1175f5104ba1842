package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
)

// batchRunFlags returns the flags of the commands that begin with guests of a batch.
func batchRunFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "parallel", Usage: "let up to `N` guests be away at the same time, instead of the batch's number", DefaultText: "the batch's number"},
		&cli.StringFlag{Name: "window-end", Usage: "every guest must be back by `TIME`, instead of the end of the batch's window: 04:00, or 2026-01-31T04:00:00Z"},
	}
}

// batchOptions returns the options of every run of a batch, and reads batchRunFlags.
func (p *program) batchOptions(c *cli.Context) (batch.Options, error) {
	common := p.growthsOptions()
	common.Origin, common.Exit = sync.OnceValue(p.origin), exitCode // once for the jobs of all guests
	o := batch.Options{Options: common.Options, Capacity: batch.HostCapacity(),
		Jobs: &batch.Growths{Connect: p.connect, Options: common, Keys: p.inventoryKeys}}
	o.DryRun = c.Bool("dry-run")
	if c.IsSet("parallel") {
		if o.Parallel = c.Int("parallel"); o.Parallel < 1 {
			return o, usage("--parallel %d: must be at least 1", o.Parallel)
		}
	}
	var err error
	o.End, err = windowEnd(c.String("window-end"), now())
	return o, err
}

// runBatch runs a batch, and shows its progress and its result. guests is the number of those
// that have not ended.
func (p *program) runBatch(o *batch.Options, guests int, work func() error) error {
	if o.DryRun {
		return p.previewBatch(work)
	}
	stop := p.watchBatch(o, guests)
	err := work()
	stop()
	shown := p.guestsOf(p.job)
	if !p.json && len(shown) > 0 {
		fmt.Fprintln(p.out)
		err = errors.Join(err, view.GuestsOfBatch(p.out, p.style(), shown))
	}
	if err == nil && p.json {
		p.events.Result(view.ResultEvent{Job: p.job, Changed: true, Outcome: p.outcomeOfJob(), Guests: shown})
	}
	return err
}

// previewBatch shows the result of a dry run.
func (p *program) previewBatch(work func() error) error {
	if err := work(); err != nil {
		return err
	}
	shown := p.guestsOf(p.job)
	if p.json {
		p.newEvents().Result(view.ResultEvent{Job: p.job, Outcome: view.Planned, Guests: shown})
		return nil
	}
	if len(shown) > 0 {
		if err := view.GuestsOfBatch(p.out, p.style(), shown); err != nil {
			return err
		}
	}
	return view.Results(p.out, p.style(), view.Result{Outcome: view.Planned})
}

// watchBatch connects the events of a batch to the view.
func (p *program) watchBatch(o *batch.Options, guests int) (stop func()) {
	o.Opened = p.opened
	if p.json {
		p.events = p.newEvents()
		o.Opened = func(id string) { p.opened(id); p.events.Opened(id) }
		o.Note, o.Observer = p.events.Note, view.NewBatchEvents(p.events)
		return func() {}
	}
	progress := view.NewBatchProgress(p.out, p.style(), p.outLive, guests, now)
	o.Note, o.Observer = progress.Say, progress
	if !p.outLive {
		return progress.Stop
	}
	p.batchProgress.Store(progress)
	halt := ticking(progress)
	return func() { halt(); p.batchProgress.Store(nil); progress.Stop() }
}

// guestsOf returns the guests of a batch; none for another job.
func (p *program) guestsOf(id string) []view.BatchGuest {
	if id == "" {
		return nil
	}
	e := p.engine()
	s, err := e.Status(id)
	if err != nil {
		return nil
	}
	return shownGuests(e, s)
}

func shownGuests(e *job.Engine, s job.Status) []view.BatchGuest {
	var shown []view.BatchGuest
	for _, g := range batch.Standings(e, s) {
		shown = append(shown, view.BatchGuestOf(g))
	}
	return shown
}

// outcomeOfJob returns the outcome for the state of this run's job.
func (p *program) outcomeOfJob() view.Outcome {
	s, err := p.engine().Status(p.job)
	if err != nil {
		return view.Done
	}
	return outcomes[s.Record.State]
}

// exitOfBatch returns the exit code of a run after which guests are not grown: that of the
// guest for which a person has most to do.
func exitOfBatch(e *batch.Incomplete) int {
	codes := []int{}
	if e.Cause != nil {
		codes = append(codes, exitInterrupted)
	}
	for _, g := range e.Guests {
		codes = append(codes, exitOfGuest(g))
	}
	for _, code := range []int{exitUnrestored, exitInterrupted, exitRestored, exitWindow, exitFailed, exitBusy, exitStale} {
		if slices.Contains(codes, code) {
			return code
		}
	}
	return exitRefused
}

func exitOfGuest(g batch.Standing) int {
	switch {
	case g.Outcome == batch.Unfinished, g.Outcome == batch.Running:
		return exitUnrestored
	case g.Outcome == batch.Interrupted:
		return exitInterrupted
	case g.Reason == plan.Window:
		return exitWindow
	case g.Outcome == batch.Restored:
		return exitRestored
	case g.Outcome == batch.Broken:
		return exitFailed
	case g.Outcome == batch.Refused, g.Outcome == batch.Waiting && g.Reason != "":
		return exitOf(g.Reason)
	}
	return exitDone
}

// hintBatch returns the commands that go on with a batch.
func (p *program) hintBatch(e *batch.Incomplete) string {
	is := func(o ...batch.Outcome) bool {
		return slices.ContainsFunc(e.Guests, func(g batch.Standing) bool { return slices.Contains(o, g.Outcome) })
	}
	switch {
	case is(batch.Unfinished, batch.Running):
		return p.line("batch", "status", e.Job) + " shows what to do; " + p.line("batch", "resume", e.Job) + " finishes what has begun, " + p.line("batch", "rollback", e.Job) + " undoes what can be undone"
	case is(batch.Left, batch.Interrupted):
		return p.line("batch", "resume", e.Job, "--yes") + " begins with the guests that are left"
	}
	return p.line("report", e.Job) + " writes the record of the batch; the guests that failed need a new plan"
}

// batchOrNewest returns the status of the batch that the operand names, or of the newest one
// if there is none.
func (p *program) batchOrNewest(c *cli.Context) (job.Status, error) {
	if c.Args().Present() {
		return p.onBatch(c)
	}
	return batch.Newest(p.engine())
}

// onBatch returns the status of the batch that the operand names.
func (p *program) onBatch(c *cli.Context) (job.Status, error) {
	name, err := operand(c, "BATCH")
	if err != nil {
		return job.Status{}, err
	}
	s, err := p.engine().Status(name)
	if err == nil && s.Err == nil && s.Header.Kind != batch.Kind {
		err = plan.Refuse(plan.JobState, s.ID, "job %s is not a batch", s.ID)
	}
	return s, err
}

// actOnBatch returns the action of a command that does something with all guests of a batch.
func (p *program) actOnBatch(act func(*job.Engine, *cli.Context, string) (*guest.Outcome, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		s, err := p.onBatch(c)
		if err != nil {
			return err
		}
		o, err := p.batchOptions(c)
		if err != nil {
			return err
		}
		o.Begin, p.job = c.Bool("yes"), s.ID
		open := 0
		for _, g := range batch.Standings(p.engine(), s) {
			if g.Outcome.Open() {
				open++
			}
		}
		return p.runBatch(&o, open, func() error {
			e := guest.Engine(guest.Options{Options: o.Options})
			e.Kinds[batch.Kind] = batch.Open(o)
			_, err := act(e, c, s.ID)
			return err
		})
	}
}
