package growth

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// MakePlan reads the disk and plans, and runs the checks with which the edit would begin: a
// plan that is shown can be carried out. With Saved, the plan must be equal to that one.
func MakePlan(ctx context.Context, d *disk.Disk, r plan.Request, o Options) (*plan.Plan, error) {
	sizes, err := newSizes(d, r)
	if err != nil {
		return nil, err
	}
	check := func(img *image.Image, to size.Bytes) error { return img.CheckSize(ctx, to) }
	if err := checkSizes(d, sizes, check); err != nil {
		return nil, err
	}
	if err := d.CheckOthersNotHibernated(ctx, o.Session); err != nil {
		return nil, err
	}
	var p *plan.Plan
	_, err = session.Look(ctx, d.Sources(), o.Session, o.Cache, session.For(r), func(ctx context.Context, l *plan.Layout, app *appliance.Appliance) (err error) {
		p, err = attempt{
			look: func(ctx context.Context) (*plan.Layout, error) {
				return l, addBus(ctx, l, d.Target, func(ctx context.Context, t plan.Target) (*plan.BusFindings, error) { return lookForBus(ctx, app, t) })
			},
			plan: func(_ context.Context, l *plan.Layout) (*plan.Plan, error) {
				return makePlan(l, d.Target, r, notesOf(d), o.Timings)
			},
			steps: func(p *plan.Plan) []plan.Step { return checks(p, d.Access) },
			do:    func(ctx context.Context, s plan.Step) error { return app.Check(ctx, s.Device, s.Content) },
		}.run(ctx)
		return err
	})
	if err == nil && o.Saved != nil {
		err = same(o.Saved, p)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// CheckNoJob refuses disks that an unfinished job uses: a plan for them would be stale when
// that job has ended.
func CheckNoJob(d *disk.Disk, o job.Options) error {
	locks, err := locksOf(d)
	if err != nil {
		return err
	}
	e := job.Engine{Options: o}
	return e.CheckNoJob(d.Path, locks)
}

// makePlan makes the plan for a layout, with notes about the disk and with the times that
// steps took in earlier jobs.
func makePlan(l *plan.Layout, t plan.Target, r plan.Request, notes []string, timings *job.Timings) (*plan.Plan, error) {
	p, err := plan.Build(l, t, r)
	if refusal, ok := plan.IsRefusal(err); ok && l.Lacks(refusal.Subject) {
		return nil, &missingPVs{refusal}
	}
	if err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, notes...)
	timings.Tune(p)
	return p, nil
}

// checks returns the steps that check file systems in full; none for the disk of a running
// guest.
func checks(p *plan.Plan, access block.Access) []plan.Step {
	if access == block.Shared {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s plan.Step) bool { return s.Kind != plan.StepCheck || !s.Full })
}

// checkRoom refuses if the host has too little space for what the plan writes: into the
// overlay, the same amount into the undo file, and into the image.
func checkRoom(p *plan.Plan, overlayDirs []string) error {
	needs := map[string]size.Bytes{}
	for _, dir := range overlayDirs {
		needs[dir] = 2 * p.Writes
	}
	images := map[string]bool{}
	for _, img := range p.Target.Images() {
		if dir := filepath.Dir(img.Path); !img.Block && !images[dir] {
			images[dir] = true
			needs[dir] += p.Writes
		}
	}
	return image.CheckSpace(needs)
}

// cacheGrown adds the image's new layout to the inspection cache; but not if the guest runs
// on the image, or if the plan comes from a file, without the partition table.
func (g *growth) cacheGrown() {
	guest := g.Guest()
	if g.plan == nil || len(g.edited) > 1 || g.plan.Before.Table == nil || guest != nil && (guest.Running || guest.Trial) {
		return
	}
	after := *g.plan.After
	after.Table = g.plan.Before.Table
	target := g.Target()
	g.options.Cache.Save(image.Stamps(target.Path, target.Backing), &after, time.Now())
}
