package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// The exit codes. 2 is never used: shells and Go's own runtime use it.
const (
	exitDone        = 0
	exitFailed      = 1 // failed before anything was changed
	exitRefused     = 3
	exitStale       = 4
	exitBusy        = 5
	exitWindow      = 6  // the window is too short, or ended
	exitRestored    = 7  // failed after changes; everything was undone
	exitUnrestored  = 8  // not everything could be undone: the user must act
	exitWouldChange = 10 // plan --detailed-exit-code
	exitUsage       = 64
	exitInterrupted = 130
)

// exitMeanings explain the exit codes, for the manual pages; docs/reference.md has the
// same sentences.
var exitMeanings = []struct {
	code int
	text string
}{
	{exitDone, "done, or nothing to do"},
	{exitFailed, "failed before anything was changed"},
	{exitRefused, "refused: a check found that the work would fail or not be safe"},
	{exitStale, "the plan is stale: the disk has changed since it was made"},
	{exitBusy, "another job, process or guest holds the disk"},
	{exitWindow, "the window is too short, or ended before the commit"},
	{exitRestored, "failed after changes; everything was restored and verified"},
	{exitUnrestored, "failed, and not everything could be undone; the message says what to run"},
	{exitWouldChange, "with plan --detailed-exit-code: the plan would change something"},
	{exitUsage, "the command line is wrong"},
	{exitInterrupted, "interrupted; everything was restored"},
}

// usageError is a command line that cannot be carried out.
type usageError struct {
	text string
	// excerpt shows the place of the error in a file; "" if there is none.
	excerpt string
}

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// exitCode returns the exit code for an error. No other function chooses one.
func exitCode(err error) int {
	var failure *guest.Failure
	var incomplete *batch.Incomplete
	failed := errors.As(err, &failure)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &incomplete):
		return exitOfBatch(incomplete)
	case errors.As(err, new(*runLost)):
		return exitUnrestored
	case failed && !failure.Restored:
		return exitUnrestored
	case isInterrupt(err):
		return exitInterrupted
	case failed && failure.Begun:
		return exitRestored
	case errors.As(err, new(*usageError)):
		return exitUsage
	case errors.Is(err, journal.ErrDamaged):
		return exitUnrestored
	}
	if reason, ok := refusal(err); ok {
		return exitOf(reason.Reason)
	}
	if failed && failure.Stopped {
		return exitRestored
	}
	return exitFailed
}

func exitOf(reason plan.Reason) int {
	switch reason {
	case plan.StalePlan, plan.ImageChanged, plan.DomainChanged:
		return exitStale
	case plan.InUse, plan.Locked, plan.JobActive, plan.DomainJob:
		return exitBusy
	case plan.Window:
		return exitWindow
	case plan.ShutdownTimeout:
		return exitFailed
	}
	return exitRefused
}

// refusal returns the refusal that an error is, or an equal one for errors with a reason.
func refusal(err error) (*plan.Refusal, bool) {
	if r, ok := plan.IsRefusal(err); ok {
		return r, true
	}
	var foreign *journal.SchemaError
	var unusable *remote.Unusable
	switch {
	case errors.As(err, &unusable):
		return plan.Refuse(plan.RemoteHost, unusable.Host, "%v", unusable), true
	case errors.As(err, &foreign):
		return plan.Refuse(plan.NewerJob, foreign.Job, "%v", foreign), true
	case errors.Is(err, journal.ErrNoJob):
		return plan.Refuse(plan.NotFound, "", "%v", err), true
	case errors.Is(err, journal.ErrBusy):
		return plan.Refuse(plan.Locked, "", "%v", err), true
	case errors.Is(err, block.ErrInUse):
		return plan.Refuse(plan.InUse, "", "%v", err), true
	}
	return nil, false
}

func isInterrupt(err error) bool {
	return errors.As(err, new(*interrupt)) || errors.Is(err, context.Canceled)
}

// outcomeOf returns the outcome for an exit code, for the result event.
func outcomeOf(exit int) view.Outcome {
	switch exit {
	case exitFailed:
		return view.Failed
	case exitRestored:
		return view.Restored
	case exitUnrestored:
		return view.Unrestored
	case exitInterrupted:
		return view.Stopped
	}
	return view.Refused
}

// trouble returns what is shown of an error.
func (p *program) trouble(err error) view.Trouble {
	t := view.Trouble{Exit: exitCode(err), Error: oneLine(err), Reason: view.ReasonFailed, Hint: p.hint(err)}
	r, refused := refusal(err)
	switch {
	case t.Exit == exitInterrupted:
		// The error text of the interrupted operation adds nothing.
		t.Reason, t.Error = view.ReasonInterrupted, interruption(err)
	case t.Exit == exitUsage:
		t.Reason = view.ReasonUsage
	case errors.Is(err, growth.ErrDeclined):
		t.Reason = view.ReasonDeclined
	case errors.As(err, new(*growth.Unhealthy)):
		t.Reason = view.ErrorReason(plan.HealthCheck)
	case errors.As(err, new(*remote.Lost)):
		t.Reason = view.ErrorReason(plan.RemoteHost)
	case refused:
		t.Reason, t.Subject = view.ErrorReason(r.Reason), r.Subject
	}
	return t
}

func interruption(err error) string {
	var i *interrupt
	if errors.As(err, &i) {
		return i.Error()
	}
	return "interrupted"
}

func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

// runs are the commands that print events with --json.
var runs = map[string]bool{"grow": true, "apply": true, "rehearse": true, "online": true, "bus": true, "resume": true, "accept": true, "rollback": true,
	"batch apply": true, "batch resume": true, "batch accept": true, "batch rollback": true,
	"edit": true, "copy-in": true, "disk create": true, "disk convert": true,
	"disk attach": true, "disk add": true, "disk detach": true, "media insert": true, "media eject": true}

// finish shows an error, and returns the exit code.
func (p *program) finish(err error) int {
	var shown *shownError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &shown):
		return shown.exit
	}
	t := p.trouble(err)
	switch {
	case p.json && runs[p.name]:
		p.result(err, t)
	case p.json:
		_ = view.TroubleJSON(p.out, t)
	}
	p.complain(err, t)
	return t.Exit
}

// shownError is the error of a command that has shown its failure itself.
type shownError struct{ exit int }

func (e *shownError) Error() string { return "the command has shown its error" }

var errShown = &shownError{exitFailed}

// errWouldChange ends plan --detailed-exit-code for a plan with steps.
var errWouldChange = &shownError{exitWouldChange}

func (p *program) result(err error, t view.Trouble) {
	var failure *guest.Failure
	r := view.ResultEvent{Job: p.job, Outcome: outcomeOf(t.Exit), Guests: p.guestsOf(p.job), Trouble: &t}
	if errors.As(err, new(*batch.Incomplete)) {
		r.Outcome, r.Changed = p.outcomeOfJob(), true
	}
	if errors.As(err, new(*runLost)) { // what the job there does until it ends is not known here
		r.Changed, r.Next = true, p.lookThere()
	}
	if errors.As(err, &failure) {
		r.Job = failure.Job
		r.Changed = !failure.Restored && failure.Begun
		if !failure.Restored {
			r.Next = p.line("rollback", failure.Job)
		}
		if failure.Forward {
			r.Next = p.line("resume", failure.Job)
		}
	}
	if p.events == nil {
		p.events = p.newEvents()
	}
	p.events.Result(r)
}

// complain prints an error, its hint and the state of the image.
func (p *program) complain(err error, t view.Trouble) {
	s := p.styleFor(p.errLive)
	fmt.Fprintln(p.err, "virt-grow: "+s.Clean(t.Error))
	var wrong *usageError
	if errors.As(err, &wrong) && wrong.excerpt != "" {
		for _, line := range strings.Split(wrong.excerpt, "\n") {
			fmt.Fprintln(p.err, s.Clean(line))
		}
	}
	if t.Hint != "" {
		fmt.Fprintln(p.err, "hint: "+s.Clean(t.Hint))
	}
	if text := p.aftermath(err, t); text != "" {
		fmt.Fprintln(p.err, s.Clean(text))
	}
	var failed *block.ExecError
	if p.verbose && errors.As(err, &failed) {
		fmt.Fprintf(p.err, "%s\n", s.Clean(fmt.Sprintf("failed command: %q (%v)", failed.Argv, failed.Err)))
	}
}

// aftermath describes the state of the image after an error.
func (p *program) aftermath(err error, t view.Trouble) string {
	var failure *guest.Failure
	job := errors.As(err, &failure)
	switch {
	case job && failure.Forward, errors.As(err, new(*batch.Incomplete)):
		return ""
	case job && !failure.Restored && failure.Stepwise && failure.Begun:
		return "Some steps are done: " + p.line("status", failure.Job) + " lists them."
	case job && !failure.Restored && failure.Stopped && !failure.Begun:
		return "The image itself was not written to. The guest may be off, or may run on its overlay; the status shows which."
	case job && failure.Stopped && !failure.Begun:
		return "Everything was undone: the domain uses its original image, which was only read, and is in the state it was in before."
	case job && !failure.Restored && failure.Begun:
		return "The image is partly written. Do not start the guest."
	case job && !failure.Restored:
		return "The image itself was not written to."
	case job && failure.Begun:
		return "Everything was restored and verified."
	case job && strings.HasPrefix(p.name, "disk "):
		return "The new image was removed, and nothing else was changed."
	case job, t.Exit == exitInterrupted, t.Exit == exitFailed && runs[p.name]:
		return "Nothing was changed."
	}
	return ""
}
