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

// interrupt is the end of a run by a signal.
type interrupt struct{ signal os.Signal }

func (i *interrupt) Error() string { return fmt.Sprintf("interrupted (%v)", i.signal) }

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP ends.
// Further ones change nothing: what undoes the work does not listen to the
// context, and must not be cut off either.
//
// A reader that went away (SIGPIPE) does not end a run: its edit would be left
// half done because of a closed pager.
func (p *program) interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	closed := make(chan os.Signal, 1)
	signal.Notify(closed, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				p.say(ctx.Err() != nil)
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

// decides notes down when a run is past undoing: where the live commit begins,
// or that of a guest that is off has ended.
func (p *program) decides(e apply.Event) {
	if e.Step.Kind == plan.StepPivot && e.Phase == apply.Started || e.Step.Kind == plan.StepCommit && e.Phase == apply.Finished {
		p.final.Store(true)
	}
}

// say answers a signal.
func (p *program) say(again bool) {
	text := "stopping…"
	switch {
	case p.final.Load():
		text = "it is too late to undo: finishing"
	case runs[p.command] && again:
		text = "still undoing; the undo cannot be interrupted"
	case runs[p.command]:
		text = "interrupted: undoing…"
	case again:
		text = "still stopping"
	}
	// The line may hold a ^C, or a step that goes on.
	fmt.Fprintln(p.err, "\n"+p.styleFor(p.errLive).Clean(text))
}
