// Package overlay changes the images of a job through overlays: each has an overlay that
// is edited and committed, and an undo file with the bytes that the commit overwrites.
// plan/apply defines the order of these steps.
package overlay

import (
	"context"
	"errors"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Disk is one image, with its files.
type Disk struct {
	// Target names the disk in the job's steps, as apply.Overlays does.
	Target string
	Files  block.Overlay
	// Old is the image's size before the job.
	Old size.Bytes
	// Access is how the image's size is read: a guest may run on the image.
	Access block.Access
}

var _ apply.Image = Disk{}

func (d Disk) CreateOverlay(ctx context.Context, to size.Bytes) error {
	return d.refuseInUse(d.Files.Create(ctx, to))
}

// DropOverlay also deletes the bitmaps that were kept for a live commit.
func (d Disk) DropOverlay(context.Context) error {
	return errors.Join(d.Files.Drop(), d.Files.DropBitmaps())
}

func (d Disk) SaveUndo(ctx context.Context) error {
	return d.refuseInUse(d.Files.SaveUndo(ctx, d.Old))
}

func (d Disk) DropUndo(context.Context) error {
	if d.Files.Undo == "" {
		return nil
	}
	return d.Files.DropUndo()
}

func (d Disk) Commit(ctx context.Context) error { return d.refuseInUse(d.Files.Commit(ctx)) }

func (d Disk) Revert(ctx context.Context) error {
	return d.refuseInUse(d.Files.Revert(ctx, d.Old))
}

func (d Disk) Size(ctx context.Context) (size.Bytes, error) {
	info, err := block.Inspect(ctx, d.Files.Image, d.Files.Format, d.Access)
	return info.VirtualSize, d.refuseInUse(err)
}

func (d Disk) refuseInUse(err error) error { return image.RefuseInUse(d.Files.Image, err) }

// CheckUnwritten returns a refusal if the image was written to since the job began,
// when it had the stamp.
func CheckUnwritten(path string, was image.Stamp, job string) error {
	now, err := image.StampOf(path)
	if err != nil || now == was {
		return err
	}
	return plan.Refuse(plan.ImageChanged, job, "another program has written to %s since job %s began (%s, %d bytes; was %s, %d bytes)",
		path, job, now.Time.Format(time.RFC3339), now.Bytes, was.Time.Format(time.RFC3339), was.Bytes)
}

// Set is the disks that a job changes.
type Set []Disk

// Images returns the disks by their names.
func (s Set) Images() apply.Overlays {
	images := apply.Overlays{}
	for _, d := range s {
		images[d.Target] = d
	}
	return images
}

// Sync puts the overlays' bytes on the disk, because the gate does not.
func (s Set) Sync() error {
	for _, d := range s {
		if err := d.Files.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Paths returns all files that the job may have.
func (s Set) Paths() []string {
	var paths []string
	for _, d := range s {
		paths = append(paths, d.Files.Path)
		if d.Files.Undo != "" {
			paths = append(paths, d.Files.Undo, d.Files.Bitmaps())
		}
	}
	return paths
}
