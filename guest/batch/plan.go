package batch

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// Looker finds guests and plans their growth.
type Looker interface {
	// Find returns which domain the inventory names. It is quick, and is called for all
	// guests before the first call of Look.
	Find(ctx context.Context, g inventory.Guest) (Identity, error)
	// Look plans a guest's growth. It is called for several guests at the same time.
	Look(ctx context.Context, g inventory.Guest, id Identity) (Looked, error)
}

// Identity is a domain's name and UUID.
type Identity struct{ Name, UUID string }

// Looked is the result of a look at a guest.
type Looked struct {
	Plan *plan.Plan
	// Rehearsed is how long the rehearsal took, if there was one.
	Rehearsed time.Duration
}

// Answer is what came of one guest of an inventory: a plan, or an error.
type Answer struct {
	Guest inventory.Guest
	// Identity is that of the domain; it has the name of the inventory if the domain was
	// not found.
	Identity
	Looked
	Err error
}

// Ask plans the growth of all guests, and looks at several of them at the same time. An
// error of one guest does not hide the others. looking is called before each look, and may
// be nil. The only error is that the context has ended.
func Ask(ctx context.Context, inv *inventory.Inventory, l Looker, atATime int, looking func(name string, i, of int)) ([]Answer, error) {
	answers := make([]Answer, len(inv.Guests))
	for i, g := range inv.Guests {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		answers[i] = Answer{Guest: g, Identity: Identity{Name: g.Name}}
		if id, err := l.Find(ctx, g); err != nil {
			answers[i].Err = err
		} else {
			answers[i].Identity = id
		}
	}
	refuseTwice(answers)
	var looks errgroup.Group
	looks.SetLimit(max(atATime, 1))
	for i := range answers {
		a := &answers[i]
		if a.Err != nil {
			continue
		}
		looks.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			if looking != nil {
				looking(a.Name, i+1, len(answers))
			}
			a.Looked, a.Err = l.Look(ctx, a.Guest, a.Identity)
			return nil
		})
	}
	_ = looks.Wait() // each answer has its own error
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return answers, nil
}

// refuseTwice refuses all entries for a domain that the inventory has twice, by its name and
// by its UUID: it is not known which of them is meant.
func refuseTwice(answers []Answer) {
	entries := map[string][]int{}
	for i, a := range answers {
		if a.Err == nil {
			entries[a.UUID] = append(entries[a.UUID], i)
		}
	}
	for _, same := range entries {
		if len(same) < 2 {
			continue
		}
		for _, i := range same {
			other := same[0]
			if other == i {
				other = same[1]
			}
			a := &answers[i]
			a.Err = plan.Refuse(plan.ListedTwice, a.Name, "the inventory lists domain %s twice: as %s and as %s", a.Name, a.Guest.Name, answers[other].Guest.Name)
		}
	}
}

// Refuse turns the error of a guest into a refusal.
type Refuse func(Answer) *Refusal

// New returns the batch for the answers. made is the present time. It refuses a window that
// has ended.
func New(inv *inventory.Inventory, source Source, connect string, made time.Time, answers []Answer, refuse Refuse) (*Batch, error) {
	b := &Batch{Schema: Schema, Inventory: source, Made: made, Connect: connect, Window: inv.Window,
		Parallel: inv.Parallel, StopAfter: inv.StopAfter}
	canaries := inv.Canaries()
	for _, a := range answers {
		g := Guest{Name: a.Name, UUID: a.UUID, Disks: a.Guest.Disks, Treatment: a.Guest.Treatment}
		if a.Err != nil {
			g.Name = a.Guest.Name // of one domain that is listed twice, each entry is refused
			g.Refusal = refuse(a)
		} else {
			g.Plan, g.Rehearsed, g.Outage = a.Plan, a.Rehearsed.Seconds(), a.Plan.Outage().Seconds()
		}
		if slices.Contains(canaries, a.Guest.Name) {
			b.Canary = append(b.Canary, g.Name)
		}
		b.Guests = append(b.Guests, g)
	}
	window, err := windowLength(inv.Window, made)
	if err != nil {
		return nil, err
	}
	b.Expected = Expect(b.Runs(), b.Parallel, window)
	return b, nil
}

// windowLength returns how long the window is for a batch that starts as early as possible;
// 0 if it has no end.
func windowLength(w inventory.Window, now time.Time) (time.Duration, error) {
	start, end, err := w.At(now)
	if err != nil || end.IsZero() {
		return 0, err
	}
	if start.Before(now) {
		start = now
	}
	if !start.Before(end) {
		return 0, plan.Refuse(plan.Window, "", "the window has ended (%s)", end.Format(time.RFC3339))
	}
	return end.Sub(start), nil
}

// Runs returns the runs of the guests that have a plan, in their order.
func (b *Batch) Runs() []Run {
	var runs []Run
	for _, g := range b.Planned() {
		runs = append(runs, RunOf(g.Plan, slices.Contains(b.Canary, g.Name)))
	}
	return runs
}
