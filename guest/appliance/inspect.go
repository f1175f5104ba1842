package appliance

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Inspect adds the results of libguestfs inspection to a probed layout: the operating
// system, its mount points or drive letters. It takes seconds, so it is not part of Probe.
// If the disk has no operating system or several, or inspection fails because of damage,
// only the fstabs are read.
func (a *Appliance) Inspect(ctx context.Context, l *plan.Layout) error {
	defer func() { _ = silently(a.g, a.g.Umount_all) }()
	roots, err := a.systems(ctx)
	if err != nil {
		return err
	}
	if len(roots) == 1 {
		return a.describeOS(ctx, l, roots[0])
	}
	return a.ReadFstabs(ctx, l)
}

func (a *Appliance) describeOS(ctx context.Context, l *plan.Layout, root string) error {
	found := &plan.OS{}
	var mounts map[string]string
	calls := []func() error{
		func() (e error) { found.Type, e = a.g.Inspect_get_type(root); return },
		func() (e error) { found.Product, e = a.g.Inspect_get_product_name(root); return },
		func() (e error) { mounts, e = a.g.Inspect_get_mountpoints(root); return },
	}
	for _, call := range calls {
		if err := a.do(ctx, call); err != nil {
			return err
		}
	}
	if found.Type == "windows" {
		err := a.do(ctx, func() (e error) { mounts, e = a.g.Inspect_get_drive_mappings(root); return })
		if err != nil {
			return err
		}
	}
	l.OS = found
	for where, device := range mounts {
		a.noteMount(l, where, device)
	}
	if found.Root == "" {
		found.Root = a.deviceOf(root)
	}
	if err := a.lookInside(ctx, l, root); err != nil {
		return err
	}
	for i := range l.Devices {
		slices.Sort(l.Devices[i].Content.Mounted)
	}
	return nil
}

// lookInside reads what inspection does not report.
func (a *Appliance) lookInside(ctx context.Context, l *plan.Layout, root string) error {
	if err := a.do(ctx, func() error { return a.g.Mount_ro(root, "/") }); err != nil {
		return ctx.Err()
	}
	if l.OS.Type == "windows" {
		return a.findDrivers(ctx, l.OS)
	}
	return a.readFstab(ctx, l)
}

func (a *Appliance) findDrivers(ctx context.Context, os *plan.OS) error {
	for _, driver := range []string{"viostor", "vioscsi"} {
		err := a.do(ctx, func() error {
			_, err := a.g.Case_sensitive_path("/Windows/System32/drivers/" + driver + ".sys")
			return err
		})
		if err == nil {
			os.Virtio = append(os.Virtio, driver)
		}
	}
	return ctx.Err()
}

// ReadFstabs reads the fstab of every file system that may be Linux's root, for mounts by
// an offset on the disk. That takes a second for each; inspection takes many.
func (a *Appliance) ReadFstabs(ctx context.Context, l *plan.Layout) error {
	for _, d := range l.Devices {
		if !d.Content.Growable() || d.Content.Type == "ntfs" || d.Content.Problem != nil {
			continue
		}
		if err := a.do(ctx, func() error { return a.g.Mount_ro(a.path(d.Name), "/") }); err != nil {
			continue // the check reports why
		}
		err := a.readFstab(ctx, l)
		if err := errors.Join(err, a.do(ctx, a.g.Umount_all)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// fstabSize limits how much is read of an fstab, which is not trusted.
const fstabSize = 1 << 16

func (a *Appliance) readFstab(ctx context.Context, l *plan.Layout) error {
	var fstab []byte
	err := a.do(ctx, func() (e error) { fstab, e = a.g.Pread("/etc/fstab", fstabSize, 0); return })
	if err == nil {
		l.ByOffset = append(l.ByOffset, byOffset(string(fstab))...)
	}
	return ctx.Err()
}

// byOffset returns the lines of an fstab(5) that mount from a whole disk by an offset (the
// option offset= of mount(8)). Which of the guest's disks is meant cannot be known here.
func byOffset(fstab string) []plan.Offset {
	var found []plan.Offset
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "/dev/") {
			continue
		}
		for option := range strings.SplitSeq(fields[3], ",") {
			text, ok := strings.CutPrefix(option, "offset=")
			if !ok {
				continue
			}
			at, err := strconv.ParseInt(text, 0, 64)
			if err != nil {
				at = -1 // perhaps a number with a unit
			}
			found = append(found, plan.Offset{MountPoint: fields[1], At: size.Bytes(at)})
		}
	}
	return found
}

// noteMount adds a mount point or a drive letter to its device.
func (a *Appliance) noteMount(l *plan.Layout, where, device string) {
	d, ok := l.Find(a.deviceOf(device))
	if !ok {
		return
	}
	if l.OS.Type == "windows" && len(where) == 1 {
		where = strings.ToUpper(where) + ":"
	}
	d.Content.Mounted = append(d.Content.Mounted, where)
	if where == "/" || where == "C:" {
		l.OS.Root = d.Name
	}
}
