package guest

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

// editor is the appliance, and the gate for what is done on the host.
type editor struct {
	*appliance.Appliance
	gate    *block.Gate
	overlay block.Overlay
}

var _ apply.Editor = (*editor)(nil)

// Move copies the partition on the host.
func (e *editor) Move(ctx context.Context, s plan.Step) error {
	if err := e.gate.CopyIn(ctx, e.overlay, s.Bytes, s.From, s.To); err != nil {
		return err
	}
	for _, v := range s.Volumes {
		if err := e.follow(ctx, v); err != nil {
			return fmt.Errorf("the boot sector of %s: %w", v.Device, err)
		}
	}
	return nil
}

// follow has a volume's boot sector, and the copy of it that the volume keeps,
// say where the volume begins now.
func (e *editor) follow(ctx context.Context, v plan.Volume) error {
	boot, err := e.gate.Read(ctx, e.Sector(), v.To)
	if err != nil {
		return err
	}
	copyAt, hasCopy := table.BackupBootSector(boot, e.Sector(), v.Size)
	if err := e.rename(ctx, boot, v.To, v); err != nil || !hasCopy {
		return err
	}
	second, err := e.gate.Read(ctx, e.Sector(), v.To+copyAt)
	if err != nil {
		return err
	}
	return e.rename(ctx, second, v.To+copyAt, v)
}

func (e *editor) rename(ctx context.Context, boot []byte, at size.Bytes, v plan.Volume) error {
	fixed, ok := table.HiddenSectors(boot, e.Sector(), v.From, v.To)
	if !ok {
		return nil // it never named its place
	}
	return e.gate.Write(ctx, fixed, at)
}

// editor edits what is in the overlay that is attached.
func (s *Session) editor(o block.Overlay) *editor {
	return &editor{s.app, s.gate, o}
}
