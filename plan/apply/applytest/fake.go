// Package applytest has what tests of plan/apply and of its implementations share: a fake
// Editor and Image in memory, and a suite of behaviours for both the fake and the real
// appliance.
package applytest

import (
	"context"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Editor is an apply.Editor on a layout in memory.
type Editor struct {
	Layout *plan.Layout
	// Disk is the size of the disk in the appliance.
	Disk size.Bytes
	// Damaged makes Check refuse.
	Damaged bool
	// Written are the files that were rewritten.
	Written []plan.FileEdit
}

var _ apply.Editor = (*Editor)(nil)

// NewEditor returns an editor for a layout, on a disk that has the new size already.
func NewEditor(l *plan.Layout, disk size.Bytes) *Editor {
	e := &Editor{Layout: l.Clone(), Disk: disk}
	e.Layout.Devices[0].Size = disk
	return e
}

func (e *Editor) find(ctx context.Context, name string) (*plan.Device, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d, ok := e.Layout.Find(name)
	if !ok {
		return nil, fmt.Errorf("no device %s", name)
	}
	return d, nil
}

// Check fails if the editor is damaged.
func (e *Editor) Check(ctx context.Context, device, _ string) error {
	if _, err := e.find(ctx, device); err != nil {
		return err
	}
	if e.Damaged {
		return plan.Refuse(plan.FSDamaged, device, "%s is damaged", device)
	}
	return nil
}

// Compare fails if the editor is damaged, or the content has another size.
func (e *Editor) Compare(ctx context.Context, device string, planned plan.Content) error {
	d, err := e.find(ctx, device)
	if err != nil {
		return err
	}
	if e.Damaged || d.Content.Size != planned.Size {
		return plan.Refuse(plan.FSDamaged, device, "%s is damaged", device)
	}
	return nil
}

// Move does nothing.
func (e *Editor) Move(ctx context.Context, s plan.Step) error {
	_, err := e.find(ctx, s.Device)
	return err
}

// WriteTable sets the partitions' new ends.
func (e *Editor) WriteTable(ctx context.Context, disk string, to size.Bytes, ends []plan.End) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l := e.Layout.DiskNamed(disk)
	if l == nil || l.Table == nil {
		return errors.New("no table")
	}
	grown, err := l.Table.Grown(to, plan.Changes(ends))
	if err != nil {
		return err
	}
	l.Table = grown
	for _, p := range grown.Partitions {
		d, err := e.find(ctx, l.Partition(p.Number))
		if err != nil {
			return err
		}
		d.Start, d.Size = p.Start, p.Size
	}
	return e.reopen(ctx)
}

// reopen grows open containers to the size of their devices.
func (e *Editor) reopen(ctx context.Context) error {
	for i := range e.Layout.Devices {
		d := &e.Layout.Devices[i]
		if d.Kind != plan.Crypt {
			continue
		}
		parent, err := e.find(ctx, d.Parent)
		if err != nil {
			return err
		}
		d.Size = (parent.Size - parent.Content.Offset).Down(e.Layout.Sector)
	}
	return nil
}

// GrowCrypt grows the container to its device's end.
func (e *Editor) GrowCrypt(ctx context.Context, device string) error {
	if _, err := e.find(ctx, device); err != nil {
		return err
	}
	return e.reopen(ctx)
}

// GrowPV grows the PV to its device's end.
func (e *Editor) GrowPV(ctx context.Context, device string) error {
	d, err := e.find(ctx, device)
	if err != nil {
		return err
	}
	for i := range e.Layout.Groups {
		g := &e.Layout.Groups[i]
		if g.Name != d.Content.Group {
			continue
		}
		now := (d.Size - d.Content.Offset).Down(g.Extent)
		g.Free += now - d.Content.Size
		d.Content.Size = now
	}
	return nil
}

// GrowLV allocates free extents.
func (e *Editor) GrowLV(ctx context.Context, device string, to size.Bytes) error {
	d, err := e.find(ctx, device)
	if err != nil {
		return err
	}
	for i := range e.Layout.Groups {
		g := &e.Layout.Groups[i]
		if g.Name != d.Group {
			continue
		}
		if g.Free < to-d.Size {
			return fmt.Errorf("insufficient free space in %s", g.Name)
		}
		g.Free -= to - d.Size
	}
	d.Size = to
	return nil
}

// GrowFS grows the file system to its device's end.
func (e *Editor) GrowFS(ctx context.Context, device, _ string) error {
	d, err := e.find(ctx, device)
	if err == nil {
		d.Content.Size = d.Size
	}
	return err
}

// GrowMounted grows the file system to a size.
func (e *Editor) GrowMounted(ctx context.Context, device, _ string, to size.Bytes) error {
	d, err := e.find(ctx, device)
	if err == nil {
		d.Content.Size = to
	}
	return err
}

// DeviceSize returns the device's present size.
func (e *Editor) DeviceSize(ctx context.Context, device string) (size.Bytes, error) {
	d, err := e.find(ctx, device)
	if err != nil {
		return 0, err
	}
	return d.Size, nil
}

// ContentSize returns the content's present size.
func (e *Editor) ContentSize(ctx context.Context, device, _ string) (size.Bytes, error) {
	d, err := e.find(ctx, device)
	if err != nil {
		return 0, err
	}
	return d.Content.Size, nil
}

// VerifyTable succeeds: the model has no separate table.
func (e *Editor) VerifyTable(ctx context.Context) error { return context.Cause(ctx) }

// VerifyFS fails if the editor is damaged.
func (e *Editor) VerifyFS(ctx context.Context, device, content string) error {
	return e.Check(ctx, device, content)
}

// MountReadOnly fails if the editor is damaged.
func (e *Editor) MountReadOnly(ctx context.Context, device string) error {
	return e.Check(ctx, device, "")
}

// WriteFiles records the edits.
func (e *Editor) WriteFiles(ctx context.Context, edits []plan.FileEdit) error {
	e.Written = append(e.Written, edits...)
	return context.Cause(ctx)
}

// Image is an apply.Image in memory. Bytes stands for the image's content: "old", "new", or
// "torn" after half a commit.
type Image struct {
	Old, New      size.Bytes
	Bytes         string
	Overlay, Undo bool
	// Tear makes the next commit stop half-way.
	Tear error
}

var _ apply.Image = (*Image)(nil)

// CreateOverlay creates the overlay.
func (i *Image) CreateOverlay(ctx context.Context, to size.Bytes) error {
	i.Overlay, i.New = true, to
	return context.Cause(ctx)
}

// DropOverlay deletes the overlay.
func (i *Image) DropOverlay(context.Context) error { i.Overlay = false; return nil }

// SaveUndo requires the overlay and a complete image.
func (i *Image) SaveUndo(context.Context) error {
	if !i.Overlay || i.Bytes != "old" {
		return errors.New("nothing to save")
	}
	i.Undo = true
	return nil
}

// DropUndo deletes the saved bytes.
func (i *Image) DropUndo(context.Context) error { i.Undo = false; return nil }

// Commit requires the overlay and the saved bytes.
func (i *Image) Commit(context.Context) error {
	if !i.Overlay || !i.Undo {
		return errors.New("commit without overlay or undo")
	}
	if i.Tear != nil {
		err := i.Tear
		i.Bytes, i.Tear = "torn", nil
		return err
	}
	i.Bytes = "new"
	return nil
}

// Revert requires the saved bytes.
func (i *Image) Revert(context.Context) error {
	if !i.Undo {
		return errors.New("revert without the saved bytes")
	}
	i.Bytes = "old"
	return nil
}

// Size returns the size that belongs to the bytes.
func (i *Image) Size(context.Context) (size.Bytes, error) {
	if i.Bytes == "old" {
		return i.Old, nil
	}
	return i.New, nil
}
