package plan

import (
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// newSizes returns the sizes that the disks get.
func newSizes(l *Layout, target Target, r Request) ([]size.Bytes, error) {
	var sizes []size.Bytes
	images := target.Images()
	for i, d := range l.Disks() {
		to, err := r.NewSize(d.Size)
		if i > 0 {
			to, err = r.NewSizeOf(d.Name(), d.Size)
		}
		if err != nil {
			return nil, err
		}
		if i < len(images) && images[i].Block && to != d.Size {
			img := images[i]
			return nil, Refuse(UnsupportedLayout, img.Path, "cannot grow the block device %s: it has %s, and %s were requested", img.Path, d.Size, to)
		}
		sizes = append(sizes, to)
	}
	return sizes, nil
}

// imageGrowth is what a plan does to one image.
type imageGrowth struct {
	// disk names it in the steps; "" where it is the only one.
	disk     string
	from, to size.Bytes
	moves    size.Bytes
}

// images returns what the plan does to each image.
func (p *Plan) images() []imageGrowth {
	var all []imageGrowth
	for i, d := range p.Before.Disks() {
		img := imageGrowth{disk: d.Disk, from: d.Size, to: p.After.Disks()[i].Size}
		for _, s := range p.Steps {
			if part, ok := p.Before.Find(s.Device); ok && s.Kind == StepMove && part.Parent == d.Name() {
				img.moves += s.Bytes
			}
		}
		all = append(all, img)
	}
	return all
}

// overlaySteps returns the steps that create the overlay of each image.
func overlaySteps(images []imageGrowth) (steps []Step) {
	for _, img := range images {
		s := Step{Kind: StepOverlay, Device: img.disk, From: img.from, To: img.to,
			Summary: fmt.Sprintf("create an overlay of %s; the image is only read from here on", img.to)}
		if img.disk != "" {
			s.Summary = fmt.Sprintf("create an overlay of %s for %s; its image is only read from here on", img.to, img.disk)
		}
		steps = append(steps, s)
	}
	return steps
}

// commitSteps returns the steps that commit the overlays into images that are not in use.
// The bytes that they overwrite are saved for all images before the first commit.
func commitSteps(images []imageGrowth) []Step {
	var undo, commit []Step
	for _, img := range images {
		u := Step{Kind: StepUndo, Device: img.disk, Summary: "save the bytes that the commit will overwrite"}
		c := Step{Kind: StepCommit, Device: img.disk, From: img.from, To: img.to, Bytes: img.moves, Summary: "commit the overlay into the image"}
		if img.disk != "" {
			u.Summary = fmt.Sprintf("save the bytes of %s that the commit will overwrite", img.disk)
			c.Summary = fmt.Sprintf("commit the overlay of %s into its image", img.disk)
		}
		undo, commit = append(undo, u), append(commit, c)
	}
	return append(undo, commit...)
}

// onDisk is the builder's view of one disk.
type onDisk struct {
	*builder
	// disk is the disk as it is before.
	disk    *DiskLayout
	newSize size.Bytes
}

func newBuilder(l *Layout, r Request, newSizes []size.Bytes) *builder {
	b := &builder{before: l, after: l.Clone(), request: r}
	for i, d := range l.Disks() {
		b.disks = append(b.disks, &onDisk{b, d, newSizes[i]})
		b.after.Disks()[i].Size = newSizes[i]
		b.now(d.Name()).Size = newSizes[i]
	}
	return b
}

// isOn reports whether the device is a partition of the disk.
func (b *onDisk) isOn(d *Device) bool { return d.Kind == Partition && d.Parent == b.disk.Name() }

// grows reports whether the disk gets larger.
func (b *onDisk) grows() bool { return b.newSize > b.disk.Size }

// sector returns the sector size of the disk that a device lies on.
func (b *builder) sector(d *Device) size.Bytes {
	for _, disk := range b.before.under(d) {
		return b.before.DiskNamed(disk).Sector
	}
	return b.before.Sector
}
