package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// release stops what udev in the appliance starts by itself: md arrays, also those that
// lack a member, and volume groups on them. They keep their partitions in use, and the
// kernel does not read the table again while a partition is in use. unlisted also stops
// arrays that could not be started because most of their members are missing: libguestfs
// does not list them, so every name that mdadm may have given to one is tried.
func (a *Appliance) release(ctx context.Context, unlisted bool) error {
	var arrays []string
	if err := a.do(ctx, func() (e error) { arrays, e = a.g.List_md_devices(); return }); err != nil {
		return err
	}
	// Of several disks, udev activates a group as soon as the last one with a PV is read,
	// before Probe knows of the group.
	if a.groups || len(arrays) > 0 || len(a.drives) > 1 {
		if err := a.do(ctx, func() error { return a.g.Vg_activate_all(false) }); err != nil {
			return err
		}
	}
	if unlisted {
		for i := range mdNames {
			arrays = append(arrays, fmt.Sprintf("/dev/md%d", mdNames-1-i))
		}
	}
	var failed []error
	for _, array := range arrays {
		err := a.do(ctx, func() error { return a.g.Md_stop(array) })
		if err != nil && !strings.Contains(err.Error(), "No such file") {
			failed = append(failed, fmt.Errorf("%s: %w", array, err)) // an array below another one can be stopped in the next round
		}
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.blocked = errors.Join(failed...)
	return nil
}

// mdNames is the number of names for arrays: mdadm uses md127 first, then the next lower
// one; if the array's own name is a number, it uses that (mdadm(8)).
const mdNames = 128

// claims reports whether the appliance or its kernel may use a device with this content
// by itself.
func claims(content string) bool {
	return strings.HasSuffix(content, "_raid_member") ||
		slices.Contains([]string{"bcache", "mpath_member", "drbd", "zfs_member", "LVM1_member"}, content)
}

// probeHeld finds out whether partitions that the appliance may use by itself can be
// released. That must be known before a guest is stopped.
func (a *Appliance) probeHeld(ctx context.Context, l *plan.Layout) error {
	if a.known != nil {
		l.Held = a.known.Held
		return nil
	}
	var claimed []string
	for _, d := range l.Devices {
		if d.Kind == plan.Partition && claims(d.Content.Type) {
			claimed = append(claimed, fmt.Sprintf("%s (%s)", d.Name, d.Content.Type))
		}
	}
	if len(claimed) == 0 {
		return nil
	}
	a.claimed = true
	stack := a.open
	if err := a.closeStack(ctx); err != nil {
		return err
	}
	if err := a.Refresh(ctx); err != nil {
		if ctx.Err() != nil || !busy(err) {
			return err
		}
		l.Held = a.held(ctx, claimed)
	}
	return a.reopen(ctx, stack)
}

// held returns a refusal that names the arrays that use partitions, or else the content of
// the partitions.
func (a *Appliance) held(ctx context.Context, claimed []string) *plan.Refusal {
	var arrays []string
	_ = a.do(ctx, func() (e error) { arrays, e = a.g.List_md_devices(); return })
	text := strings.Join(claimed, ", ")
	if len(arrays) > 0 {
		text += ", held by " + strings.Join(arrays, ", ")
	}
	if a.blocked != nil {
		text += fmt.Sprintf(" (%v)", a.blocked)
	}
	return plan.Refuse(plan.UnsupportedLayout, a.driveName(0), "the partition table cannot be changed in the appliance, where partitions are in use: %s", text)
}

func busy(err error) bool { return strings.Contains(err.Error(), "busy") }

// probeEnds reads the last sectors of a disk and of its partitions, where some kinds of
// content keep their metadata. Metadata in the disk's last sectors that lie in a partition
// is the partition's.
func (a *Appliance) probeEnds(ctx context.Context, l *plan.Layout, drive *drive, disk *plan.DiskLayout) error {
	if a.known != nil {
		for i := range l.Devices {
			if was, ok := a.known.Find(l.Devices[i].Name); ok {
				l.Devices[i].AtEnd = was.AtEnd
			}
		}
		return nil
	}
	last := size.Bytes(0)
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.Kind != plan.Partition || d.Extended || d.Parent != disk.Name() {
			continue
		}
		last = max(last, d.End())
		var err error
		if d.AtEnd, err = drive.atEnd(ctx, d.Start, d.End()); err != nil {
			return err
		}
	}
	if last > disk.Size {
		return nil
	}
	tail, err := drive.tail(ctx, last, disk.Size)
	if err == nil {
		device, _ := l.Find(disk.Name())
		device.AtEnd = plan.FormatAtEnd(tail, disk.Size)
	}
	return err
}

// atEnd returns the kind of metadata at the end of the range from from to to.
func (d *drive) atEnd(ctx context.Context, from, to size.Bytes) (string, error) {
	tail, err := d.tail(ctx, from, to)
	return plan.FormatAtEnd(tail, to-from), err
}

// tail reads up to plan.EndRoom bytes before to. It returns nothing for a partition that
// ends beyond the disk.
func (d *drive) tail(ctx context.Context, from, to size.Bytes) ([]byte, error) {
	n := min(plan.EndRoom, to-from)
	if n <= 0 || to > d.size {
		return nil, nil
	}
	return d.Disk.Read(ctx, n, to-n)
}
