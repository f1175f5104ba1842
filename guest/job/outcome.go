package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/live"
)

// Outcome is the result of a run that did not fail.
type Outcome struct {
	Job     string
	Changed bool
	State   journal.JobState
	Plan    *plan.Plan
	Took    time.Duration
	// Steps are what a dry run would do.
	Steps []plan.Step
	// ManualSteps are what the user still has to do.
	ManualSteps []string
	// Messages say what the job did, Commands are the commands that a guest has
	// run for it.
	Messages []string
	Commands []live.CommandResult
}

// Failure is the error of a run that failed.
type Failure struct {
	Err error
	Job string
	// Begun reports that the job has begun to change existing files or domains,
	// Stopped that the guest was shut down for the job.
	Begun, Stopped bool
	// Stepwise reports that the status lists which of the job's steps are done.
	Stepwise bool
	// Forward reports that nothing was undone, and that only resume is possible.
	Forward bool
	// Restored reports that everything is as before, and was verified to be.
	Restored bool
	// Trivial reports that the job did nothing of interest: its directory is deleted.
	Trivial bool
	// Undo is the error of the undo; nil if nothing was undone.
	Undo error
}

func (f *Failure) Error() string {
	if f.Undo != nil {
		return fmt.Sprintf("%v; and undoing it failed: %v", f.Err, f.Undo)
	}
	return f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }

// Unchanged returns an error that leaves the job in its state: nothing is undone.
func Unchanged(err error) error { return &unchanged{err} }

type unchanged struct{ error }

func (u *unchanged) Unwrap() error { return u.error }

// ForwardOnly returns an error after which nothing is undone, even if that is possible: the
// main work of the job is done, and only a later step has failed.
func ForwardOnly(err error) error { return &forwardOnly{err} }

type forwardOnly struct{ error }

func (f *forwardOnly) Unwrap() error { return f.error }

// leavesJob returns the error that Unchanged wraps, and whether there is one.
func leavesJob(err error) (error, bool) {
	var u *unchanged
	if errors.As(err, &u) {
		return u.error, true
	}
	return nil, false
}
