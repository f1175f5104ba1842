package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Check refuses a damaged file system, by the file system's own checker.
func (a *Appliance) Check(ctx context.Context, device, content string) error {
	err := a.checkFS(ctx, device, content)
	if content == "xfs" && err != nil && ctx.Err() == nil {
		// xfs_repair wants the log replayed first, which mounting does.
		if _, mounting := a.statfs(ctx, device); mounting == nil {
			err = a.checkFS(ctx, device, content)
		}
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if r := a.unfinished(ctx, device, content, err); r != nil {
		return r
	}
	return refuse(plan.FSDamaged, device, "the check of the "+content, err)
}

// WriteTable writes the sectors that change, and makes the kernel read the
// table again.
func (a *Appliance) WriteTable(ctx context.Context, disk string, to size.Bytes, ends []plan.End) error {
	i, err := a.diskOf(ctx, disk)
	if err != nil {
		return err
	}
	d := &a.drives[i]
	if d.table == nil {
		return fmt.Errorf("no partition table was read on %s", disk)
	}
	changes := plan.Changes(ends)
	writes, err := d.table.Grow(to, changes)
	if err != nil {
		return err
	}
	grown, err := d.table.Grown(to, changes)
	if err != nil {
		return err
	}
	stack := a.open
	if err := a.closeStack(ctx); err != nil {
		return err
	}
	for _, w := range joined(writes) {
		if err := d.Disk.Write(ctx, w.Data, w.Offset); err != nil {
			return fmt.Errorf("cannot write the %s: %w", w.What, err)
		}
	}
	d.table, d.size = grown, to
	if err := a.Refresh(ctx); err != nil {
		return err
	}
	return a.reopen(ctx, stack)
}

// joined joins adjacent writes. Their order does not matter: an overlay without all of
// them is discarded.
func joined(writes []table.Write) []table.Write {
	sorted := slices.Clone(writes)
	slices.SortFunc(sorted, func(a, b table.Write) int { return cmp.Compare(a.Offset, b.Offset) })
	var out []table.Write
	for _, w := range sorted {
		if n := len(out); n > 0 && out[n-1].Offset+size.Bytes(len(out[n-1].Data)) == w.Offset {
			last := &out[n-1]
			last.Data = append(slices.Clone(last.Data), w.Data...)
			last.What += ", " + w.What
			continue
		}
		out = append(out, w)
	}
	return out
}

// VerifyTable reads the tables back and compares every byte of them with what was
// planned.
func (a *Appliance) VerifyTable(ctx context.Context) error {
	for i := range a.drives {
		if err := a.drives[i].verifyTable(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *drive) verifyTable(ctx context.Context) error {
	if d.table == nil {
		return nil
	}
	now, err := table.Read(d.reader(ctx), d.size, d.Sector)
	if err != nil {
		return fmt.Errorf("cannot read the partition table back: %w", err)
	}
	if err := now.Err(); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	if now.Fingerprint() != d.table.Fingerprint() {
		return errors.New("the partition table on the disk is not the one that was written")
	}
	return nil
}

// GrowCrypt makes the container use its device's new size, which it does when it is
// opened. WriteTable has opened it again already; after GrowLV it is opened again here. The
// size check that follows detects a LUKS2 segment of fixed size.
func (a *Appliance) GrowCrypt(ctx context.Context, _ string) error {
	if !a.stale {
		return context.Cause(ctx)
	}
	stack := a.open
	if err := a.closeStack(ctx); err != nil {
		return err
	}
	return a.reopen(ctx, stack)
}

// GrowPV grows the PV to its device's end.
func (a *Appliance) GrowPV(ctx context.Context, device string) error {
	return a.do(ctx, func() error { return a.g.Pvresize(a.path(device)) })
}

// GrowLV grows the volume to a size, which the planner has rounded to whole extents.
func (a *Appliance) GrowLV(ctx context.Context, device string, to size.Bytes) error {
	resize := func() error { return a.g.Lvresize(a.path(device), int(to/size.MiB)) }
	if to%size.MiB != 0 {
		// Extents are not whole MiB. The size is then all free space, or was rounded.
		resize = func() error { return a.g.Lvresize_free(a.path(device), 100) }
	}
	if err := a.do(ctx, resize); err != nil {
		return err
	}
	a.stale = true
	return nil
}

// GrowFS grows the file system to its device's end.
func (a *Appliance) GrowFS(ctx context.Context, device, content string) error {
	switch content {
	case "ext2", "ext3", "ext4":
		return a.do(ctx, func() error { return a.g.Resize2fs(a.path(device)) })
	case "ntfs":
		err := a.do(ctx, func() error { return a.g.Ntfsresize(a.path(device), nil) })
		if err != nil && ctx.Err() == nil {
			return ntfsRefusal(device, err)
		}
		return err
	}
	return fmt.Errorf("cannot grow %s", content)
}

// GrowMounted has the kernel grow the file system. It refuses some that resize2fs grows,
// which the planner leaves to that. XFS and btrfs fill their device; the size of an ext4
// is given, because kernels differ in how small a last group they make.
func (a *Appliance) GrowMounted(ctx context.Context, device, content string, to size.Bytes) error {
	switch content {
	case "ext4":
		// Without this option the kernel begins to write inode tables, which the guest's
		// own kernel does later.
		return a.mountedWith(ctx, "noinit_itable", device, func() error { return a.g.Resize2fs_size(a.path(device), int64(to)) })
	case "xfs":
		return a.mounted(ctx, device, func() error {
			return a.g.Xfs_growfs("/", &guestfs.OptargsXfs_growfs{Datasec_is_set: true, Datasec: true})
		})
	case "btrfs":
		return a.mounted(ctx, device, func() error { return a.g.Btrfs_filesystem_resize("/", nil) })
	}
	return fmt.Errorf("the kernel cannot grow %s", content)
}

// mounted runs a call with the device mounted on /, and unmounts it again.
func (a *Appliance) mounted(ctx context.Context, device string, call func() error) error {
	return a.mountedWith(ctx, "", device, call)
}

// mountedWith is mounted with options of mount(8).
func (a *Appliance) mountedWith(ctx context.Context, options, device string, call func() error) error {
	if err := a.do(ctx, func() error { return a.g.Mount_options(options, a.path(device), "/") }); err != nil {
		return err
	}
	err := a.do(ctx, call)
	return errors.Join(err, a.do(ctx, func() error { return a.g.Umount("/", nil) }))
}

// DeviceSize returns the device's size according to the appliance's kernel.
func (a *Appliance) DeviceSize(ctx context.Context, device string) (size.Bytes, error) {
	return a.deviceSize(ctx, device)
}

// ContentSize returns the size that a file system or PV records of itself.
func (a *Appliance) ContentSize(ctx context.Context, device, content string) (size.Bytes, error) {
	switch content {
	case plan.ContentPV:
		return a.pvSize(ctx, device)
	case "ext2", "ext3", "ext4":
		e, err := a.extHead(ctx, device)
		if err != nil {
			return 0, err
		}
		return e.Size(), nil
	case "xfs":
		x, _, err := a.xfsHead(ctx, device)
		if err != nil {
			return 0, err
		}
		return x.Size(), nil
	case "btrfs":
		s, err := a.btrfsHead(ctx, device)
		if err != nil {
			return 0, err
		}
		return s.Size, nil
	}
	if n, ok := a.measured[device]; ok {
		delete(a.measured, device)
		return n, nil
	}
	u, err := a.statfs(ctx, device)
	return u.total, err
}

// VerifyFS checks the grown file system, mounts it read-only and lists its
// top directory.
func (a *Appliance) VerifyFS(ctx context.Context, device, content string) error {
	if err := a.checkFS(ctx, device, content); err != nil {
		if ctx.Err() == nil {
			if r := a.unfinished(ctx, device, content, err); r != nil {
				return r
			}
		}
		return fmt.Errorf("the check after the change: %w", err)
	}
	return a.MountReadOnly(ctx, device)
}

// MountReadOnly mounts the file system, lists its top directory, and unmounts it.
func (a *Appliance) MountReadOnly(ctx context.Context, device string) error {
	u, err := a.statfs(ctx, device)
	if err == nil {
		a.measured[device] = u.total
	}
	return err
}
