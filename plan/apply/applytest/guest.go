package applytest

import (
	"context"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// Guest is an apply.Guest in memory. It changes its Image as a guest changes its disk.
type Guest struct {
	Image *Image
	// More are its other disks that grow, by target.
	More map[string]*Image
	// Runs reports that it runs, Overlay that its disks are the overlays.
	Runs, Overlay bool
	// WasRunning reports whether it ran before the job.
	WasRunning bool
	// Sick makes the health check fail.
	Sick bool
	// Committed are the disks that were pivoted.
	Committed []string
}

var _ apply.Guest = (*Guest)(nil)

// ShutDown stops the guest.
func (g *Guest) ShutDown(ctx context.Context) error { g.Runs = false; return ctx.Err() }

// StartAgain restores its run state.
func (g *Guest) StartAgain(context.Context) error {
	if g.Overlay {
		return errors.New("started again on the overlay")
	}
	g.Runs = g.WasRunning
	return nil
}

// Redirect points it to the overlay.
func (g *Guest) Redirect(context.Context) error {
	overlay := g.Image.Overlay
	for _, i := range g.More {
		overlay = overlay && i.Overlay
	}
	if g.Runs || !overlay {
		return fmt.Errorf("redirected while running %t, with an overlay %t", g.Runs, overlay)
	}
	g.Overlay = true
	return nil
}

// Restore points it to the image.
func (g *Guest) Restore(context.Context) error { g.Overlay = false; return nil }

// Start starts it.
func (g *Guest) Start(ctx context.Context) error { g.Runs = true; return ctx.Err() }

// Stop stops it at once.
func (g *Guest) Stop(context.Context) error { g.Runs = false; return nil }

// Extend fails if the guest is off.
func (g *Guest) Extend(ctx context.Context, _ plan.Step) error {
	if !g.Runs {
		return errors.New("extended while off")
	}
	return ctx.Err()
}

// CheckHealth fails a sick guest.
func (g *Guest) CheckHealth(ctx context.Context) error {
	if g.Sick || !g.Runs {
		return errors.New("sick")
	}
	return ctx.Err()
}

// Pivot writes the overlay into the image.
func (g *Guest) Pivot(ctx context.Context, target string) error {
	image := g.Image
	if other := g.More[target]; other != nil {
		image = other
	}
	if !image.Overlay {
		return errors.New("pivot without overlay")
	}
	g.Committed = append(g.Committed, target)
	image.Bytes, g.Overlay = "new", false
	return ctx.Err()
}
