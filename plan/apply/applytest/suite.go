package applytest

import (
	"context"
	"errors"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Suite tests the behaviours that every Editor must have, on a disk for which p is a plan.
// It carries out all steps of the plan.
func Suite(t *testing.T, e apply.Editor, p *plan.Plan) {
	ctx := context.Background()
	t.Run("sizes before", func(t *testing.T) { sizes(t, ctx, e, p.Before) })
	t.Run("cancelled calls change nothing", func(t *testing.T) {
		cause := errors.New("stop")
		stopped, cancel := context.WithCancelCause(ctx)
		cancel(cause)
		for _, s := range p.Steps {
			if err := do(stopped, e, p, s); s.Edits() && !errors.Is(err, cause) {
				t.Errorf("%s on a cancelled context: %v", s.ID(), err)
			}
		}
		sizes(t, ctx, e, p.Before)
	})
	for _, s := range p.Steps {
		t.Run(s.ID(), func(t *testing.T) {
			if err := do(ctx, e, p, s); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("sizes after", func(t *testing.T) { sizes(t, ctx, e, p.After) })
	t.Run("unknown devices", func(t *testing.T) {
		if _, err := e.DeviceSize(ctx, "sda99"); err == nil {
			t.Error("sda99 has a size")
		}
		if err := e.GrowFS(ctx, "sda99", "xfs"); err == nil {
			t.Error("sda99 grew")
		}
		if err := e.GrowMounted(ctx, "sda99", "xfs", size.GiB); err == nil {
			t.Error("sda99 grew, mounted")
		}
	})
}

// do makes the Editor's call for one step.
func do(ctx context.Context, e apply.Editor, p *plan.Plan, s plan.Step) error {
	switch s.Kind {
	case plan.StepCheck:
		if s.Full {
			return e.Check(ctx, s.Device, s.Content)
		}
		d, _ := p.Before.Find(s.Device)
		return e.Compare(ctx, s.Device, d.Content)
	case plan.StepTable:
		return e.WriteTable(ctx, s.Device, p.After.DiskNamed(s.Device).Size, s.Ends)
	case plan.StepCrypt:
		return e.GrowCrypt(ctx, s.Device)
	case plan.StepPV:
		return e.GrowPV(ctx, s.Device)
	case plan.StepLV:
		return e.GrowLV(ctx, s.Device, s.To)
	case plan.StepFS:
		if s.Mounted {
			return e.GrowMounted(ctx, s.Device, s.Content, s.To)
		}
		return e.GrowFS(ctx, s.Device, s.Content)
	case plan.StepVerify:
		if err := e.VerifyTable(ctx); err != nil || s.Content == "" {
			return err
		}
		if !s.Full {
			return e.MountReadOnly(ctx, s.Device)
		}
		return e.VerifyFS(ctx, s.Device, s.Content)
	}
	return nil
}

// sizes compares every device and growable content with the layout.
func sizes(t *testing.T, ctx context.Context, e apply.Editor, l *plan.Layout) {
	t.Helper()
	for _, d := range l.Devices {
		if d.Extended || d.Kind == plan.Disk {
			continue // the disk has its new size from the start
		}
		got, err := e.DeviceSize(ctx, d.Name)
		if err != nil || got != d.Size {
			t.Errorf("%s has %d bytes, want %d (%v)", d.Name, got, d.Size, err)
		}
		if !d.Content.Growable() && d.Content.Type != plan.ContentPV {
			continue
		}
		n, err := e.ContentSize(ctx, d.Name, d.Content.Type)
		if err != nil || n != d.Content.Size {
			t.Errorf("the %s on %s has %d bytes, want %d (%v)", d.Content.Type, d.Name, n, d.Content.Size, err)
		}
	}
}
