package guest

import (
	"context"
	"errors"

	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// Options are what every job command takes: the engine's, and each kind's own.
type Options struct {
	job.Options
	GrowthOptions
	// Session is how an appliance is started, for kinds that need one.
	Session session.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
	// Scratch is the directory for overlays; "" is each image's own.
	Scratch string
}

// Files are what a change of files takes of the options.
func (o Options) Files() files.Options {
	return files.Options{Options: o.Options, Session: o.Session, Scratch: o.Scratch}
}

// Devices are what a job on a domain's devices takes of the options.
func (o Options) Devices() device.Options {
	return device.Options{Options: o.Files(), Cache: o.Cache}
}

// GrowthOptions are a growth's own.
type GrowthOptions struct {
	// Keep stops before the commit.
	Keep bool
	// Window is how long a guest may be away.
	Window Window
	// Hooks are commands to run around the outage.
	Hooks Hooks
	// Planned is told the plan before anything is done about it; may be nil.
	Planned func(*plan.Plan)
	// Confirm asks about it; nil agrees to everything. It is not called for
	// a plan without steps.
	Confirm func(context.Context, *plan.Plan) error
	// Saved is a reviewed plan: anything else is refused as stale.
	Saved *plan.Plan
}

// ErrDeclined says that a person said no to the plan.
var ErrDeclined = errors.New("not agreed to")

// Outcome is how a job command ended, Failure one that did not reach its end.
type (
	Outcome = job.Outcome
	Failure = job.Failure
)
