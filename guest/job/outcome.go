package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/live"
)

// Outcome is how a run ended that did not fail.
type Outcome struct {
	Job     string
	Changed bool
	State   journal.JobState
	Plan    *plan.Plan
	Took    time.Duration
	// ManualSteps are what is left to a person.
	ManualSteps []string
	// Messages tell people what came of the job, Commands are those that a guest has
	// run for it.
	Messages []string
	Commands []live.CommandResult
}

// Failure is a run that did not reach its end.
type Failure struct {
	Err error
	Job string
	// Begun reports that something that was there before the job was being changed,
	// Stopped that the guest was shut down for the job.
	Begun, Stopped bool
	// Stepwise reports that the status lists which of the job's steps are done.
	Stepwise bool
	// Forward reports that only resume goes on from here: nothing was undone.
	Forward bool
	// Restored reports that everything is as before, and was verified to be.
	Restored bool
	// Trivial reports that the job did nothing worth telling: it is forgotten.
	Trivial bool
	// Undo is why it is not restored; nil if nothing was undone.
	Undo error
}

func (f *Failure) Error() string {
	if f.Undo != nil {
		return fmt.Sprintf("%v; and undoing it failed: %v", f.Err, f.Undo)
	}
	return f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }

// Unchanged makes an error that leaves the job as it is: nothing is undone.
func Unchanged(err error) error { return &unchanged{err} }

type unchanged struct{ error }

func (u *unchanged) Unwrap() error { return u.error }

// ForwardOnly makes an error after which nothing is undone, even if it could be: what the
// job is for is done, and only what comes after it has failed.
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
