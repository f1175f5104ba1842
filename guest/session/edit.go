package session

import (
	"context"
	"fmt"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// disk is a drive from the host's side.
type disk interface {
	appliance.Export
	// CopyIn copies n bytes of the overlay's image from one place of the disk to
	// another.
	CopyIn(ctx context.Context, o block.Overlay, n, from, to size.Bytes) error
}

// editor edits the first drives: in the appliance, and what is faster or only
// possible there, on the host.
type editor struct {
	*appliance.Appliance
	drives []edited
}

// edited is one drive, and the overlay that is attached to it.
type edited struct {
	disk    disk
	name    string
	sector  size.Bytes
	overlay block.Overlay
}

var _ apply.Editor = (*editor)(nil)

// Editor edits what is in the overlays, which are attached, one for each of the first
// drives.
func (s *Session) Editor(overlays ...block.Overlay) apply.Editor {
	e := &editor{Appliance: s.Appliance}
	for i, o := range overlays {
		e.drives = append(e.drives, edited{s.gates[i], s.drives[i].Name, s.drives[i].Sector, o})
	}
	return e
}

// Move copies the partition on the host.
func (e *editor) Move(ctx context.Context, s plan.Step) error {
	d := e.driveOf(s.Device)
	if err := d.disk.CopyIn(ctx, d.overlay, s.Bytes, s.From, s.To); err != nil {
		return err
	}
	for _, v := range s.Volumes {
		if err := d.updateBootSectors(ctx, v); err != nil {
			return fmt.Errorf("the boot sector of %s: %w", v.Device, err)
		}
	}
	return nil
}

// driveOf returns the drive that a partition is on. A single drive has no name.
func (e *editor) driveOf(partition string) edited {
	for _, d := range e.drives[1:] {
		if _, ok := plan.PartitionNumber(partition, d.name); ok {
			return d
		}
	}
	return e.drives[0]
}

// updateBootSectors writes the volume's new first sector into its boot sector and
// into the copy of it that the volume keeps.
func (e edited) updateBootSectors(ctx context.Context, v plan.Volume) error {
	boot, err := e.disk.Read(ctx, e.sector, v.To)
	if err != nil {
		return err
	}
	copyAt, hasCopy := table.BackupBootSector(boot, e.sector, v.Size)
	if err := e.updateBootSector(ctx, boot, v.To, v); err != nil || !hasCopy {
		return err
	}
	second, err := e.disk.Read(ctx, e.sector, v.To+copyAt)
	if err != nil {
		return err
	}
	return e.updateBootSector(ctx, second, v.To+copyAt, v)
}

func (e edited) updateBootSector(ctx context.Context, boot []byte, at size.Bytes, v plan.Volume) error {
	fixed, ok := table.HiddenSectors(boot, e.sector, v.From, v.To)
	if !ok {
		return nil // it did not name the old first sector
	}
	return e.disk.Write(ctx, fixed, at)
}
