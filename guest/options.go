package guest

import (
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
)

// Options are the options for continuing a job of any kind. Each kind has its
// own for a new job.
type Options struct {
	job.Options
	// Session has the options with which an appliance is started.
	Session session.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
}

// Outcome is the result of a job, Failure the error of a job that failed.
type (
	Outcome = job.Outcome
	Failure = job.Failure
)
