package guest

import (
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
)

// Options are what a job of any kind takes when it is taken up again. Each kind has its
// own for a new job.
type Options struct {
	job.Options
	// Session is how an appliance is started.
	Session session.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
}

// Outcome is how a job command ended, Failure one that did not reach its end.
type (
	Outcome = job.Outcome
	Failure = job.Failure
)
