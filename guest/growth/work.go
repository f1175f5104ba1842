// Package growth has the kinds of job that grow a disk. The image is only read while an
// overlay is edited and verified. The guest may run on the overlay in a trial. The commit
// can be undone until it is complete. A rehearsal makes the same edit on a temporary overlay.
// Half an edit is never continued.
package growth

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// growthData is what a growth needs after a crash, besides its plan.
type growthData struct {
	Request plan.Request `json:"request"`
	grownDisk
	// More are the guest's other disks that the growth edits.
	More []grownDisk `json:"more_disks,omitempty"`
	// Keep stops before the commit.
	Keep bool `json:"keep"`
	// Overlays are the overlays of the domain's other disks, for the trial.
	Overlays []SideOverlay `json:"overlays,omitempty"`
	// Before are the file systems that the guest's agent listed before the outage.
	// Unlisted reports that the agent answered, but could not list file systems.
	Before   []domain.FS `json:"before,omitempty"`
	Unlisted bool        `json:"unlisted,omitempty"`
	// After are the file systems that the agent listed when the guest passed its health
	// check.
	After []domain.FS `json:"after,omitempty"`
	// ByHand are the volumes that the user has to extend in Windows.
	ByHand []string `json:"by_hand,omitempty"`
	Hooks  Hooks    `json:"hooks,omitzero"`
	// Snapshot is the snapshot of a running guest's disk, in a rehearsal.
	Snapshot *snapshot `json:"view,omitempty"`
}

// Hooks are the user's own commands. The host's shell runs them, with the job in the
// environment.
type Hooks struct {
	// Pre runs before the outage; if it fails, the job ends without an outage.
	Pre string `json:"pre,omitempty"`
	// Post runs after success, OnFailure if the job failed after Pre, once everything is
	// undone.
	Post      string `json:"post,omitempty"`
	OnFailure string `json:"on_failure,omitempty"`
}

// growth is the work of a job that grows an image, or a domain's disk, on an overlay.
type growth struct {
	*domainjob.Job
	data    growthData
	options Options
	edited  []editedDisk
	plan    *plan.Plan
	steps   apply.Growth // what the steps work on
	notes   []string     // notes on the disk, for the plan's warnings
	live    liveDomain   // the running guest's domain, for a rehearsal
	// start starts an appliance on empty disks of the new sizes.
	start func(context.Context) (editSession, error)

	// seen is the layout of the disks while the guest still ran.
	seen *plan.Layout
	// closed receives the end of the session after the edit; nil if no session is ending.
	closed <-chan error
	// images are the images of the disks that are edited; nil in a job that is resumed.
	images []*image.Image
	// refusedStop reports that the guest did not shut down with any method.
	refusedStop bool
	// restarted reports that a shutdown was undone by starting the guest.
	restarted bool
}

func newGrowth(j *job.Job, data growthData, o Options) *growth {
	g := &growth{Job: domainjob.New(j, nil), data: data, options: o}
	g.edited = g.editedDisks()
	g.steps.Overlays, g.start = g.disks().Images(), o.start
	if g.start == nil {
		g.start = g.startSession
	}
	return g
}

// Open opens a job of the kind.
func Open(o Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		var data growthData
		err := j.Load(&data)
		return newGrowth(j, data, o), err
	}
}

// growthSpec returns the specification of a new growth of the disk. work makes the job's
// work.
func growthSpec(ctx context.Context, kind string, d *disk.Disk, r plan.Request, newSizes []size.Bytes, o Options, work func(*growth) job.Work) (job.Spec, error) {
	s := job.Spec{Kind: kind, Target: d.Target, Agreed: o.Confirm == nil}
	var err error
	if s.Locks, err = locksOf(d); err != nil {
		return s, err
	}
	overlays, err := sideOverlays(ctx, d)
	if err != nil {
		return s, err
	}
	s.Open = func(j *job.Job) (any, job.Work, error) {
		data := newGrowthData(j, d, r, newSizes, o)
		placeSideOverlays(overlays, j.ID(), o.Scratch)
		data.Overlays = overlays
		g := newGrowth(j, data, o)
		for _, each := range d.All() {
			g.images = append(g.images, each.Image)
		}
		g.notes = notesOf(d)
		if d.Domain != nil {
			g.useDomain(d.Domain)
		}
		return data, work(g), nil
	}
	return s, nil
}

// newGrowthData names the job's files.
func newGrowthData(j *job.Job, d *disk.Disk, r plan.Request, newSizes []size.Bytes, o Options) growthData {
	data := growthData{Request: r, grownDisk: newGrownDisk(j, d.Image, "", newSizes[0], o), Keep: o.Keep, Hooks: o.Hooks}
	for i, more := range d.More {
		data.More = append(data.More, newGrownDisk(j, more.Image, "."+more.Def.Target, newSizes[i+1], o))
	}
	return data
}

// newGrownDisk names the files of one disk. ending distinguishes the files of several disks
// whose images have the same name in different directories.
func newGrownDisk(j *job.Job, img *image.Image, ending string, newSize size.Bytes, o Options) grownDisk {
	dir := o.Scratch
	if dir == "" && !img.Block {
		dir = filepath.Dir(img.Path)
	}
	if dir == "" {
		dir = j.Dir() // files must not be created in /dev
	}
	// The overlay's name ends in .qcow2, because virt-aa-helper's own AppArmor profile
	// lets it read files of such names only (usr.lib.libvirt.virt-aa-helper).
	near := filepath.Join(dir, filepath.Base(img.Path)+ending)
	return grownDisk{OldSize: img.Size, NewSize: newSize, Stamp: img.Stamp,
		Overlay: j.PathNextTo(near, ".qcow2"), Undo: j.PathNextTo(near, ".undo.qcow2")}
}

// locksOf returns the locks of the images that a growth changes.
func locksOf(d *disk.Disk) ([]string, error) {
	var locks []string
	for _, each := range d.All() {
		locks = append(locks, each.Stamp.Identity())
	}
	for _, path := range otherImages(d.Target) {
		stamp, err := image.StampOf(path)
		if err != nil {
			return nil, err
		}
		locks = append(locks, stamp.Identity())
	}
	return locks, nil
}

// save writes the growth's data to the journal.
func (g *growth) save() error { return g.Save(g.data) }

// useDomain sets the domain on which the guest's steps are carried out.
func (g *growth) useDomain(d *domain.Domain) {
	g.Domain, g.Machine = d, d
	g.steps.Guest, g.live = &hostGuest{g, d}, d
}

// Connect connects the growth of a domain's disk with its domain.
func (g *growth) Connect(ctx context.Context) error {
	if g.Guest() == nil {
		return nil
	}
	if err := g.Job.Connect(ctx); err != nil {
		return err
	}
	g.useDomain(g.Domain)
	return nil
}

// Handlers returns the handlers of plan/apply.
func (g *growth) Handlers() map[plan.StepKind]apply.Handler { return g.steps.Handlers() }

// Actions returns resume and rollback until the commit cannot be undone any more.
func (g *growth) Actions(r journal.Record) []job.Action {
	switch {
	case isPivoting(r), g.isPastReturn(r):
		return []job.Action{job.Resume}
	case r.State == journal.Waiting:
		return []job.Action{job.Accept, job.Rollback}
	case r.State == journal.Opening && !g.Header().Agreed:
		return []job.Action{job.Rollback, job.Resume}
	}
	return []job.Action{job.Resume, job.Rollback}
}

// isPivoting reports whether a live commit has begun: the image then contains a part of the
// overlay, and only both together are complete.
func isPivoting(r journal.Record) bool {
	pivot := string(plan.StepPivot) + ":"
	for id := range r.Done {
		if strings.HasPrefix(id, pivot) {
			return true
		}
	}
	return strings.HasPrefix(r.Running, pivot)
}

// isPastReturn reports whether the commit is complete and cannot be undone any more: the
// saved bytes are deleted, or the guest has been started on the image.
func (g *growth) isPastReturn(r journal.Record) bool {
	if !g.isCommitted(r) {
		return false
	}
	gone := func(e editedDisk) bool { return !image.Exists(e.Undo) }
	return slices.ContainsFunc(g.edited, gone) || job.Begun(r, string(plan.StepStart)) && !startFailed(r)
}

// startFailed reports whether the guest failed to start on the grown image: then the commit
// can be undone.
func startFailed(r journal.Record) bool {
	return r.Running == string(plan.StepStart) && r.Error != ""
}

// WhyNot returns why an action is not possible.
func (g *growth) WhyNot(a job.Action, r journal.Record) string {
	switch {
	case a == job.Resume:
		return fmt.Sprintf("job %s is complete and waits for a decision", g.ID())
	case a == job.Accept:
		return fmt.Sprintf("job %s is not ready to be accepted: it is %s", g.ID(), r.State)
	case isPivoting(r) && !r.State.Ended():
		return fmt.Sprintf("job %s cannot be rolled back any more: the guest passed its check, and its overlay is being committed", g.ID())
	}
	return fmt.Sprintf("job %s is done: its changes are in the image", g.ID())
}

// Run grows the disk, or continues a growth.
func (g *growth) Run(ctx context.Context, a job.Action) error {
	defer g.awaitClosed()
	var err error
	if g.plan == nil {
		if g.plan, err = g.Plan(); err != nil {
			return err
		}
		g.steps.Plan = g.plan
	}
	if a != job.Start { // a run that was killed may have left the snapshot of its early check
		if err := g.endEarly(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	switch a {
	case job.Rollback:
		g.keepHostUp()
		return g.back(ctx)
	case job.Resume:
		err = g.resume(ctx)
	case job.Accept:
		err = g.accept(ctx)
	case job.Start:
		err = g.begin(ctx)
	}
	if err == nil {
		g.ended(g.Record().State)
	}
	return err
}

// ended does what is left at the end of a run.
func (g *growth) ended(s journal.JobState) {
	if s == journal.Finished || s == journal.Waiting {
		g.notExtended()
	}
	if s == journal.Finished {
		g.cacheGrown()
		g.afterwards("post", g.data.Hooks.Post)
	}
}

// begin grows the disk, with an outage if it is a running domain's.
func (g *growth) begin(ctx context.Context) error {
	if g.Guest() != nil {
		return g.growDomain(ctx)
	}
	return g.grow(ctx)
}

// afterwards runs a hook at the end of the job: its failure changes nothing.
func (g *growth) afterwards(phase, command string) {
	if err := g.Hook(context.Background(), phase, command); err != nil {
		g.Note("%v", err)
	}
}

// Report adds the plan, and what the user has to do.
func (g *growth) Report(out *job.Outcome) {
	out.Plan = g.plan
	if out.Changed {
		out.ManualSteps = g.manualSteps()
	}
}

// Failed reports what happened to the image and the guest, and runs the OnFailure hook of a
// job that failed after its Pre hook.
func (g *growth) Failed(f *job.Failure, before journal.Record) {
	f.Begun = f.Forward || g.commitBegun(before)
	started := job.Begun(before, string(plan.StepStart))
	asked := started || job.Begun(before, string(plan.StepShutdown))
	f.Stopped = asked
	if f.Restored {
		// A guest that did not shut down was never away.
		f.Stopped = started || before.Done[string(plan.StepShutdown)] || g.restarted
		_, refused := plan.IsRefusal(f.Err)
		f.Trivial = before.State == journal.Opening || refused && !f.Begun && !asked
	}
	if (f.Restored || f.Undo != nil) && before.State != journal.Opening {
		g.afterwards("on-failure", g.data.Hooks.OnFailure)
	}
}

// Details returns the sizes, and the job's files.
func (g *growth) Details() job.Details {
	d := job.Details{OldSize: g.data.OldSize, NewSize: g.data.NewSize, Overlay: g.data.Overlay, Undo: g.data.Undo}
	for i, e := range g.edited {
		d.Files = append(d.Files, e.Files.Bitmaps())
		if i > 0 {
			d.Others, d.Files = append(d.Others, e.Overlay), append(d.Files, e.Undo)
			d.More = append(d.More, job.DiskGrowth{Disk: e.Target, OldSize: e.OldSize, NewSize: e.NewSize})
		}
	}
	for _, side := range g.data.Overlays {
		d.Others = append(d.Others, side.Path)
	}
	d.SeenBefore, d.SeenAfter = seenBy(g.data.Before), seenBy(g.data.After)
	return d
}

// seenBy returns the agent's list for the job's details.
func seenBy(agent []domain.FS) (all []job.FileSystem) {
	for _, f := range agent {
		all = append(all, job.FileSystem{MountPoint: f.MountPoint, Type: f.Type, Total: f.Total, Used: f.Used})
	}
	return all
}

// back undoes every step that was begun, in reverse order.
func (g *growth) back(ctx context.Context) error {
	steps := g.Steps()
	if len(steps) == 0 {
		steps = g.overlaySteps()
	}
	commits := func(e editedDisk) bool { return g.Begins(e.stepOn(plan.StepCommit)) > 0 }
	committed := slices.ContainsFunc(g.edited, commits)
	err := g.Undo(ctx, steps)
	if _, refused := plan.IsRefusal(err); refused {
		return job.Unchanged(err) // the user has to check the image first
	}
	if err == nil && !committed && g.Guest() == nil {
		// A revert has compared every byte that it restored; without a revert, the
		// file itself must be unchanged.
		if changed := g.untouched(); changed != nil {
			g.Note("%v", changed)
		}
	}
	return err
}
