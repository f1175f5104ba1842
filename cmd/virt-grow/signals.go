package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// interrupt is the error of a run that a signal ended.
type interrupt struct{ signal os.Signal }

func (i *interrupt) Error() string { return fmt.Sprintf("interrupted (%v)", i.signal) }

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP cancels.
// Further signals change nothing: undoing ignores the context, and must not be cut off.
//
// SIGPIPE does not end a run: a closed pager is no reason to leave an edit half done.
func (p *program) interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var fromFar <-chan os.Signal
	if p.far != nil {
		fromFar = p.far.Interrupts()
	}
	closed := make(chan os.Signal, 1)
	signal.Notify(closed, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP && p.far != nil {
					continue // the user's connection is gone, which ends no run
				}
				p.interrupt(s, ctx.Err() != nil)
				cancel(&interrupt{s})
			case s := <-fromFar:
				p.interrupt(s, ctx.Err() != nil)
				cancel(&interrupt{s})
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(closed)
		close(done)
		cancel(nil)
	}
}

// decides sets final when a run cannot be undone any more: when a live commit begins, or
// when the commit of a guest that is off has ended.
func (p *program) decides(e apply.Event) {
	if e.Step.Kind == plan.StepPivot && e.Phase == apply.Started || e.Step.Kind == plan.StepCommit && e.Phase == apply.Finished {
		p.final.Store(true)
	}
}

// interrupt says what a signal does, or passes it to the command on another host.
func (p *program) interrupt(s os.Signal, again bool) {
	if !p.elsewhere.Load() {
		p.say(again)
		return
	}
	select {
	case p.signals <- s:
	default: // enough of them wait
	}
}

// say prints what a signal does.
func (p *program) say(again bool) {
	text := "stopping…"
	switch {
	case p.final.Load():
		text = "it is too late to undo: finishing"
	case !again && isOneOf(p.name, "batch apply", "batch resume"):
		text = "interrupted: no outage begins any more; guests that are away are undone…"
	case runs[p.name] && again:
		text = "still undoing; the undo cannot be interrupted"
	case runs[p.name]:
		text = "interrupted: undoing…"
	case again:
		text = "still stopping"
	}
	if lines := p.batchProgress.Load(); lines != nil {
		lines.Say(text)
		return
	}
	// The current line may contain ^C or a running step.
	fmt.Fprintln(p.err, "\n"+p.styleFor(p.errLive).Clean(text))
}
