package growth

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/overlay"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// grownDisk has what a growth needs to know after a crash of a disk that it edits.
type grownDisk struct {
	OldSize size.Bytes `json:"old_size"`
	NewSize size.Bytes `json:"new_size"`
	Overlay string     `json:"overlay"`
	Undo    string     `json:"undo"`
	// Stamp identifies the image as it was before the job.
	Stamp image.Stamp `json:"stamp"`
}

// grown returns all disks that the growth edits.
func (d *growthData) grown() []*grownDisk {
	all := []*grownDisk{&d.grownDisk}
	for i := range d.More {
		all = append(all, &d.More[i])
	}
	return all
}

// editedDisk is a disk that the growth edits, on an overlay.
type editedDisk struct {
	overlay.Disk
	*grownDisk
	image plan.DiskTarget
}

// editedDisks returns the disks that the growth edits, in the order of the plan's layout.
func (g *growth) editedDisks() []editedDisk {
	images := g.Job.Target()
	var all []editedDisk
	for i, img := range images.Images() {
		d := g.data.grown()[i]
		e := editedDisk{grownDisk: d, image: img, Disk: overlay.Disk{Target: img.Disk, Old: d.OldSize,
			Files: block.Overlay{Image: img.Path, Format: img.Format, Path: d.Overlay, Undo: d.Undo}}}
		if g.Guest() != nil {
			e.Access = block.Shared // the guest may be running
		}
		all = append(all, e)
	}
	return all
}

// disks returns the disks that the growth edits, and the domain's other disks.
func (g *growth) disks() overlay.Set {
	var disks overlay.Set
	for _, e := range g.edited {
		disks = append(disks, e.Disk)
	}
	for _, side := range g.data.Overlays {
		disks = append(disks, overlay.Disk{Target: side.Target, Files: side.overlay(), Old: side.Size})
	}
	return disks
}

// diskNames returns the names of the edited disks, for messages.
func (g *growth) diskNames() string {
	target := g.Target()
	return strings.Join(target.Disks(), ", ")
}

// withDisks names the edited disks in a message if there are several.
func (g *growth) withDisks() string {
	if len(g.edited) == 1 {
		return ""
	}
	return " with " + g.diskNames()
}

// overlaySteps returns the steps that create the overlays of the disks that are edited.
func (g *growth) overlaySteps() (steps []plan.Step) {
	for _, e := range g.edited {
		steps = append(steps, plan.Step{Kind: plan.StepOverlay, Device: e.Target, From: e.OldSize, To: e.NewSize})
	}
	return steps
}

func (g *growth) makeOverlays(ctx context.Context) error {
	for _, s := range g.overlaySteps() {
		if err := g.Do(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// dropOverlays deletes the overlays of the disks that are edited.
func (g *growth) dropOverlays() error {
	var errs []error
	for _, e := range g.edited {
		errs = append(errs, e.Files.Drop())
	}
	return errors.Join(errs...)
}

// attachOverlays attaches the overlays to the appliance.
func (g *growth) attachOverlays(ctx context.Context, s editSession) error {
	var paths []string
	for _, e := range g.edited {
		paths = append(paths, e.Files.Path)
	}
	return s.Attach(ctx, paths...)
}

// files returns the overlays.
func (g *growth) files() (files []block.Overlay) {
	for _, e := range g.edited {
		files = append(files, e.Files)
	}
	return files
}

// oldSizes returns the sizes of the disks before the growth.
func (g *growth) oldSizes() (sizes []size.Bytes) {
	for _, e := range g.edited {
		sizes = append(sizes, e.OldSize)
	}
	return sizes
}

// drives returns the disks of the appliance, which are empty and have the new sizes.
func (g *growth) drives() (drives []session.Drive) {
	for _, e := range g.edited {
		drives = append(drives, session.Drive{Name: e.Target, Image: e.image.Path, Size: e.NewSize, Sector: e.image.SectorSize})
	}
	return drives
}

// overlayDirs returns the directories of the overlays.
func (g *growth) overlayDirs() (dirs []string) {
	for _, e := range g.edited {
		if dir := filepath.Dir(e.Overlay); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// watchSpace cancels the returned context when a directory of the overlays is almost full.
func (g *growth) watchSpace(ctx context.Context) (context.Context, context.CancelFunc) {
	var stops []context.CancelFunc
	for _, dir := range g.overlayDirs() {
		watched, stop := image.WatchSpace(ctx, dir)
		ctx, stops = watched, append(stops, stop)
	}
	return ctx, func() {
		for _, stop := range slices.Backward(stops) {
			stop()
		}
	}
}

// untouched refuses if an image has been written to since the job began.
func (g *growth) untouched() error {
	for _, e := range g.edited {
		if err := overlay.CheckUnwritten(e.image.Path, e.Stamp, g.ID()); err != nil {
			return err
		}
	}
	return nil
}

// stampAgain stores the images' present stamps: a guest may have run on them since. Reading
// the images again shows whether the plan still fits.
func (g *growth) stampAgain() error {
	changed := false
	for _, e := range g.edited {
		stamp, err := image.StampOf(e.image.Path)
		if err != nil {
			return err
		}
		changed = changed || stamp != e.Stamp
		e.Stamp = stamp
	}
	if !changed {
		return nil
	}
	return g.save()
}

// unchangedSize refuses if an image was resized meanwhile, with a better error than the
// planner's.
func (g *growth) unchangedSize(ctx context.Context) error {
	for _, e := range g.edited {
		now, err := g.steps.Overlays[e.Target].Size(ctx)
		if err != nil {
			return err
		}
		if now != e.OldSize {
			return plan.Refuse(plan.StalePlan, e.image.Path, "%s has %d bytes now, and had %d when job %s began", e.image.Path, int64(now), int64(e.OldSize), g.ID())
		}
	}
	return nil
}

// stepOn returns the ID of the disk's step of a kind.
func (e *editedDisk) stepOn(kind plan.StepKind) string {
	return plan.Step{Kind: kind, Device: e.Target}.ID()
}

// commitBegun reports whether the commit of any image has begun.
func (g *growth) commitBegun(r journal.Record) bool {
	return slices.ContainsFunc(g.edited, func(e editedDisk) bool { return job.Begun(r, e.stepOn(plan.StepCommit)) })
}

// isCommitted reports whether all overlays are committed.
func (g *growth) isCommitted(r journal.Record) bool {
	return !slices.ContainsFunc(g.edited, func(e editedDisk) bool { return !r.Done[e.stepOn(plan.StepCommit)] })
}

// newSizes returns the sizes that the request gives to the disk, and to the disks that are
// edited with it.
func newSizes(d *disk.Disk, r plan.Request) ([]size.Bytes, error) {
	first, err := r.NewSize(d.Size)
	if err != nil {
		return nil, err
	}
	sizes := []size.Bytes{first}
	for _, more := range d.More {
		to, err := r.NewSizeOf(more.Def.Target, more.Size)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, to)
	}
	return sizes, nil
}

// notesOf returns the notes about all edited disks.
func notesOf(d *disk.Disk) (notes []string) {
	for _, each := range d.All() {
		notes = append(notes, each.Notes...)
	}
	return notes
}

// checkSizes calls check with each disk that is edited, and its new size.
func checkSizes(d *disk.Disk, sizes []size.Bytes, check func(*image.Image, size.Bytes) error) error {
	for i, each := range d.All() {
		if err := check(each.Image, sizes[i]); err != nil {
			return err
		}
	}
	return nil
}
