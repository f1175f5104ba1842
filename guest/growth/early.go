package growth

import (
	"context"
	"errors"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
)

// checkEarly checks the file systems in full while the guest runs, on a snapshot of its
// disks, in the appliance that is used for the edit afterwards. The guest's file systems are
// not frozen: the replay of their journals makes them consistent.
func (g *growth) checkEarly(ctx context.Context, s editSession) error {
	if len(g.plan.SnapshotChecks()) == 0 {
		return nil
	}
	g.Note("checking the file systems on a snapshot; the guest keeps running")
	err := g.checkOnSnapshot(ctx, s)
	return errors.Join(err, g.endEarly(context.WithoutCancel(ctx)))
}

// checkOnSnapshot takes the snapshot, and runs the steps on overlays of it.
func (g *growth) checkOnSnapshot(ctx context.Context, s editSession) error {
	use := snapshotUse{quiesce: "no", refusal: plan.CheckUnfinished}
	if _, err := g.takeSnapshot(ctx, use); err != nil {
		return err
	}
	edited := slices.Clone(g.edited)
	defer func() { g.edited = edited }()
	if err := g.overlaySnapshot(ctx); err != nil {
		return err
	}
	ctx, stop := g.watchSpace(ctx)
	defer stop()
	ctx, watched, err := g.watchScratch(ctx, use)
	if err != nil {
		return err
	}
	defer func() { _ = watched() }()
	if err := g.runOnSnapshot(ctx, s); err != nil {
		return err
	}
	return s.Detach(ctx)
}

func (g *growth) runOnSnapshot(ctx context.Context, s editSession) error {
	if err := g.attachOverlays(ctx, s); err != nil {
		return err
	}
	contents := func(*plan.Layout) plan.Closeness { return plan.LookAtContents }
	layout, err := s.Read(ctx, contents, g.oldSizes()...)
	if err != nil {
		return err
	}
	g.carryOut(s)
	for _, step := range g.plan.SnapshotChecks() {
		if d, ok := layout.Find(step.Device); ok && d.Content.Problem != nil && d.Content.Problem.Reason == plan.FSDamaged {
			return d.Content.Problem
		}
		if err := g.doLimited(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// endEarly ends the snapshot of an early check, and deletes its files. It can be called
// again.
func (g *growth) endEarly(ctx context.Context) error {
	if g.data.Snapshot == nil {
		return nil
	}
	if err := errors.Join(g.endSnapshot(ctx), g.dropOverlays()); err != nil {
		return err
	}
	g.data.Snapshot = nil
	return g.save()
}
