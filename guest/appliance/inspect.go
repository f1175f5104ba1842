package appliance

import (
	"context"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// Inspect adds what libguestfs inspection knows to a probed layout: the
// operating system, its mount points or drive letters. It takes seconds, so
// Probe leaves it to whoever needs it. A disk without an operating system, or
// with several, stays as it is.
func (a *Appliance) Inspect(ctx context.Context, l *plan.Layout) error {
	var roots []string
	if err := a.do(ctx, func() (e error) { roots, e = a.g.Inspect_os(); return }); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return nil // inspection gives up on some damaged disks; so what
	}
	defer func() { _ = silently(a.g, a.g.Umount_all) }()
	if len(roots) != 1 {
		return nil
	}
	return a.describeOS(ctx, l, roots[0])
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
		found.Root = deviceOf(root)
	}
	for i := range l.Devices {
		slices.Sort(l.Devices[i].Content.Mounted)
	}
	return nil
}

// noteMount writes a mount point or a drive letter to its device.
func (a *Appliance) noteMount(l *plan.Layout, where, device string) {
	d, ok := l.Find(deviceOf(device))
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

// deviceOf is our name for what inspection calls a device; a btrfs subvolume
// is "btrfsvol:/dev/sda2/root" there.
func deviceOf(mountable string) string {
	if rest, ok := strings.CutPrefix(mountable, "btrfsvol:/dev/"); ok {
		device, _, _ := strings.Cut(rest, "/")
		return device
	}
	return nameOf(mountable)
}
