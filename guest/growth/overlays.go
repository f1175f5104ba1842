package growth

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// SideOverlay is the trial overlay of a disk that does not grow.
type SideOverlay struct {
	Target string     `json:"target"`
	Image  string     `json:"image"`
	Format string     `json:"format"`
	Path   string     `json:"path"`
	Size   size.Bytes `json:"size"`
}

func (s SideOverlay) overlay() block.Overlay {
	return block.Overlay{Image: s.Image, Format: s.Format, Path: s.Path}
}

// planTrial decides which disks get an overlay for the trial: all for which it is possible,
// because after a rollback all disks must be from the same moment.
func planTrial(ctx context.Context, d *disk.Disk, o DomainOptions) error {
	g := d.Target.Guest
	if !g.Trial {
		return nil
	}
	for _, each := range d.All() {
		if each.Block && o.Scratch == "" {
			return plan.Refuse(plan.NoScratch, each.Path, "%s is a block device: it has no directory for the overlay of the trial", each.Path)
		}
	}
	for _, each := range d.All() {
		g.Disks = append(g.Disks, plan.TrialDisk{Target: each.Def.Target, Path: each.Path, Format: each.Format})
	}
	for _, other := range d.Status.Disks {
		if d.Edits(other.Target) || !other.Writable() || other.Transient {
			continue
		}
		if !hasTrialOverlay(other, o) {
			g.Unprotected = append(g.Unprotected, other.Target)
			continue
		}
		path, err := filepath.EvalSymlinks(other.Source)
		if err != nil {
			return fmt.Errorf("disk %s: %w", other.Target, err)
		}
		g.Disks = append(g.Disks, plan.TrialDisk{Target: other.Target, Path: path, Format: other.Format})
	}
	_, err := sideOverlays(ctx, d) // refuses images that cannot be read
	return err
}

// hasTrialOverlay reports whether a disk that does not grow gets an overlay.
func hasTrialOverlay(d domain.Disk, o DomainOptions) bool {
	formatted := d.Format == "qcow2" || d.Format == "raw"
	placed := d.Kind == "file" || d.Kind == "block" && o.Scratch != ""
	return !o.OnlyTarget && !d.Shared && d.Device == "disk" && formatted && placed
}

// otherImages returns the images below the trial overlays of the other disks.
func otherImages(t plan.Target) []string {
	var paths []string
	for _, d := range otherDisks(t) {
		paths = append(paths, d.Path)
	}
	return paths
}

// otherDisks returns the disks that have an overlay for the trial only. They follow the
// edited disks.
func otherDisks(t plan.Target) []plan.TrialDisk {
	if t.Guest == nil || len(t.Guest.Disks) == 0 {
		return nil
	}
	return t.Guest.Disks[1+len(t.More):]
}

// sideOverlays reads the sizes of the other disks, for their trial overlays.
func sideOverlays(ctx context.Context, d *disk.Disk) ([]SideOverlay, error) {
	var overlays []SideOverlay
	for _, other := range otherDisks(d.Target) {
		info, err := block.Inspect(ctx, other.Path, other.Format, d.Access)
		if err != nil {
			return nil, image.RefuseInUse(other.Path, err)
		}
		overlays = append(overlays, SideOverlay{Target: other.Target, Image: other.Path, Format: other.Format, Size: info.VirtualSize})
	}
	return overlays, nil
}

// placeSideOverlays names the overlays' files, in the directory scratch or next to their
// images.
func placeSideOverlays(overlays []SideOverlay, job, scratch string) {
	for i, o := range overlays {
		dir := scratch
		if dir == "" {
			dir = filepath.Dir(o.Image)
		}
		// virt-aa-helper may only read files named .qcow2, see newGrownDisk.
		overlays[i].Path = filepath.Join(dir, fmt.Sprintf("%s.%s.virt-grow-%s.qcow2", filepath.Base(o.Image), o.Target, job))
	}
}
