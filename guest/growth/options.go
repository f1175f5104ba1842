package growth

import (
	"context"
	"errors"
	"time"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// The kinds of job.
const (
	Kind          = "growth"
	KindRehearsal = "rehearsal"
	// KindBus is a growth that also moves disks to another bus; nothing has to grow.
	KindBus = "bus"
)

// Options are what a growth takes.
type Options struct {
	job.Options
	// Session has the options with which an appliance is started.
	Session session.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
	// Scratch is the directory for overlays; "" is the directory of each image.
	Scratch string

	// Keep stops before the commit.
	Keep bool
	// Window is how long a guest may be away.
	Window Window
	// CheckLimit is how long the full check of one file system may take; 0 is no limit.
	CheckLimit time.Duration
	// Hooks are commands to run around the outage.
	Hooks Hooks
	// Confirm asks for confirmation of the plan; nil confirms every plan. It is not
	// called for a plan without steps.
	Confirm func(context.Context, *plan.Plan) error
	// Saved is a reviewed plan: any other plan is refused as stale.
	Saved *plan.Plan
	// Admit is called when everything before the outage is done: the appliance has booted,
	// the plan is confirmed, and the early check has passed. It returns when the guest may
	// be shut down, or an error if it must not be. If no guest runs on the disk, it is
	// called before the edit. nil admits at once.
	Admit func(context.Context, *plan.Plan) error
	// start starts an appliance on an empty disk of the new size; nil is the default.
	// Tests replace it.
	start func(context.Context) (editSession, error)
}

// ErrDeclined reports that the user did not confirm the plan.
var ErrDeclined = errors.New("the plan was not confirmed")
