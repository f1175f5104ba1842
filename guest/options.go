package guest

import (
	"context"
	"errors"

	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Options are what every job command takes.
type Options struct {
	Session session.Options
	// Rates are how long steps took before, Cache is the inspection cache; either may
	// be nil.
	Rates *Rates
	Cache *session.Cache
	Store journal.Store
	// Scratch is the directory for the overlay; "" is the image's own.
	Scratch string
	// Keep stops before the commit.
	Keep bool
	// Window is how long a guest may be away.
	Window Window
	// Hooks are commands to run around the outage.
	Hooks Hooks
	// Planned is told the plan before anything is done about it, Listed the steps
	// of a job without one; may be nil.
	Planned func(*plan.Plan)
	Listed  func([]plan.Step)
	// Confirm asks about it; nil agrees to everything. It is not called for
	// a plan without steps.
	Confirm func(context.Context, *plan.Plan) error
	// Saved is a reviewed plan: anything else is refused as stale.
	Saved *plan.Plan
	// Emit is told of steps, Note of what goes on between them; may be nil.
	Emit func(apply.Event)
	Note func(text string)
	// Opened is told the job's name as soon as there is one; may be nil.
	Opened func(id string)
	// Fault makes steps fail in tests, by name.
	Fault func(ctx context.Context, point string) error
}

// ErrDeclined says that a person said no to the plan.
var ErrDeclined = errors.New("not agreed to")

// Outcome is how a job command ended, Failure one that did not reach its end.
type (
	Outcome = engine.Outcome
	Failure = engine.Failure
)
