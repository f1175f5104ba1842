package batch

import (
	"context"
	"runtime"

	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
)

// Grow carries out a guest's plan. It refuses the plan if the guest has changed since.
func (l *Growths) Grow(ctx context.Context, g Guest, w Watch) (*job.Outcome, error) {
	o, err := l.options(g, w)
	if err != nil {
		return nil, err
	}
	d, err := growth.OpenPlanned(ctx, g.Plan, o.Scratch)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	o.Saved = g.Plan
	return growth.Grow(ctx, d, g.Plan.Request, o)
}

// Continue does an action on the job of a guest.
func (l *Growths) Continue(ctx context.Context, g Guest, id string, a job.Action, w Watch) (*job.Outcome, error) {
	o, err := l.options(g, w)
	if err != nil {
		return nil, err
	}
	e := engine(o)
	switch a {
	case job.Accept:
		return e.Accept(ctx, id)
	case job.Rollback:
		return e.Rollback(ctx, id)
	}
	return e.Resume(ctx, id)
}

// Status reads the status of a job.
func (l *Growths) Status(id string) (job.Status, error) { return engine(l.Options).Status(id) }

func engine(o growth.Options) *job.Engine {
	return &job.Engine{Options: o.Options, Kinds: job.Kinds{growth.Kind: growth.Open(o)}}
}

// options returns the options for the job of one guest.
func (l *Growths) options(g Guest, w Watch) (growth.Options, error) {
	o := l.Options
	o.Treat(g.Treatment)
	o.Opened, o.Emit, o.Note, o.Planned, o.Listed = w.Opened, w.Step, w.Note, w.Planned, nil
	o.Admit, o.Window.End = w.Admit, w.End
	if runtime.NumCPU() <= processorsPerAppliance {
		o.Session.Processors = 1 // the guest that is away meanwhile needs the other one
	}
	if l.Keys == nil || len(g.Treatment.Keys) == 0 {
		return o, nil
	}
	var err error
	o.Session.Keys, err = l.Keys(g.Treatment.Keys)
	return o, err
}
