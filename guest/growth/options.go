package growth

import (
	"context"
	"errors"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// The kinds of job. A rehearsal commits nothing.
const (
	Kind          = "growth"
	KindRehearsal = "rehearsal"
)

// Options are what a growth takes.
type Options struct {
	job.Options
	// Session is how an appliance is started.
	Session session.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
	// Scratch is the directory for overlays; "" is each image's own.
	Scratch string

	// Keep stops before the commit.
	Keep bool
	// Window is how long a guest may be away.
	Window Window
	// Hooks are commands to run around the outage.
	Hooks Hooks
	// Confirm asks about it; nil agrees to everything. It is not called for
	// a plan without steps.
	Confirm func(context.Context, *plan.Plan) error
	// Saved is a reviewed plan: anything else is refused as stale.
	Saved *plan.Plan
	// start boots an appliance on an empty disk of the new size; nil does it on this
	// host. Tests have another.
	start func(context.Context) (editSession, error)
}

// ErrDeclined says that a person said no to the plan.
var ErrDeclined = errors.New("not agreed to")
