package appliance

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
)

// Make creates the content of a new, empty disk, and returns the resulting layout.
func (a *Appliance) Make(ctx context.Context, d plan.NewDisk) (*plan.Layout, error) {
	for _, make := range []func(context.Context, plan.NewDisk) error{a.makeTable, a.makeVolume, a.makeFS} {
		if err := make(ctx, d); err != nil {
			return nil, err
		}
	}
	return a.verifyMade(ctx, d)
}

// makeTable writes a table with one partition.
func (a *Appliance) makeTable(ctx context.Context, d plan.NewDisk) error {
	if d.Table == plan.TableNone {
		return nil
	}
	start, end := d.Partition()
	calls := []func() error{
		func() error { return a.g.Part_init("/dev/sda", d.Table) },
		func() error {
			return a.g.Part_add("/dev/sda", "primary", int64(start/a.drives[0].Sector), int64(end/a.drives[0].Sector)-1)
		},
	}
	if d.Table == plan.TableGPT {
		calls = append(calls,
			func() error { return a.g.Part_set_gpt_type("/dev/sda", 1, d.PartitionType()) },
			func() error { return a.g.Part_set_name("/dev/sda", 1, "data") })
	} else {
		id, err := strconv.ParseInt(d.PartitionType(), 0, 16)
		if err != nil {
			return err
		}
		calls = append(calls, func() error { return a.g.Part_set_mbr_id("/dev/sda", 1, int(id)) })
	}
	return a.each(ctx, calls)
}

func (a *Appliance) each(ctx context.Context, calls []func() error) error {
	for _, call := range calls {
		if err := a.do(ctx, call); err != nil {
			return err
		}
	}
	return nil
}

// makeVolume creates the volume group, with one volume that fills it.
func (a *Appliance) makeVolume(ctx context.Context, d plan.NewDisk) error {
	if d.Group == "" {
		return nil
	}
	a.open, a.groups = append(a.open, opened{}), true
	return a.each(ctx, []func() error{
		func() error { return a.g.Pvcreate(a.path(d.Carrier())) },
		func() error { return a.g.Vgcreate(d.Group, []string{a.path(d.Carrier())}) },
		func() error { return a.g.Lvcreate_free(d.Volume, d.Group, 100) },
	})
}

func (a *Appliance) makeFS(ctx context.Context, d plan.NewDisk) error {
	options := &guestfs.OptargsMkfs{Label_is_set: d.Label != "", Label: d.Label}
	return a.do(ctx, func() error { return a.g.Mkfs(d.FS, a.path(d.Device()), options) })
}

// verifyMade reads the disk again, and checks its content.
func (a *Appliance) verifyMade(ctx context.Context, d plan.NewDisk) (*plan.Layout, error) {
	if err := a.do(ctx, a.g.Sync); err != nil {
		return nil, err
	}
	if err := a.closeStack(ctx); err != nil {
		return nil, err
	}
	if err := a.Refresh(ctx); err != nil {
		return nil, err
	}
	l, err := a.Probe(ctx, d.Size)
	if err != nil {
		return nil, err
	}
	if err := judgeMade(l, d); err != nil {
		return nil, err
	}
	return l, a.VerifyFS(ctx, d.Device(), d.FS)
}

// judgeMade compares the layout with the request.
func judgeMade(l *plan.Layout, d plan.NewDisk) error {
	device, ok := l.Find(d.Device())
	if !ok {
		return fmt.Errorf("there is no %s on the new disk", d.Device())
	}
	content := device.Content
	switch {
	case content.Problem != nil:
		return content.Problem
	case content.Type != d.FS:
		return fmt.Errorf("%s has %q, not %s", d.Device(), content.Type, d.FS)
	case content.Label != d.Label:
		return fmt.Errorf("the %s has the label %q, not %q", d.FS, content.Label, d.Label)
	case content.UUID == "":
		return errors.New("the new file system has no UUID")
	case device.Size != d.Room():
		return fmt.Errorf("%s has %d bytes, not %d", d.Device(), int64(device.Size), int64(d.Room()))
	}
	return nil
}
