package growth

import (
	"context"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// resume continues a growth that was interrupted. Half an edit is never continued.
func (g *growth) resume(ctx context.Context) error {
	state := g.Record().State
	if state == journal.Committing {
		g.Note("the commit had begun: continuing it")
		return g.commitOrTrial(ctx, true)
	}
	if g.Guest() != nil && state != journal.Opening {
		return g.resumeDomain(ctx)
	}
	// The overlay may contain half an edit: it is created again.
	g.Note("the image is untouched: starting again with a new overlay")
	if state == journal.Opening && !g.Header().Agreed {
		if err := g.dropOverlays(); err != nil {
			return err
		}
		return g.Enter(journal.Cancelled)
	}
	if err := g.unchangedSize(ctx); err != nil {
		return err
	}
	if err := g.stampAgain(); err != nil {
		return err
	}
	if g.plan != nil {
		g.options.Saved = g.plan
	}
	g.options.Confirm = nil
	if g.Guest() != nil {
		return g.resumeDomain(ctx)
	}
	return g.grow(ctx)
}

// accept commits the overlay of a growth that waits.
func (g *growth) accept(ctx context.Context) error {
	if err := g.unchangedBefore(); err != nil {
		return err
	}
	return g.commitOrTrial(ctx, true)
}

// unchangedBefore refuses to commit an overlay into an image that has changed since. The job
// stays in its state: the user has to decide.
func (g *growth) unchangedBefore() error {
	if g.commitBegun(g.Record()) {
		return nil
	}
	err := g.untouched()
	if _, refused := plan.IsRefusal(err); refused {
		return job.Unchanged(err)
	}
	return err
}
