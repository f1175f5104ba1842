package plan

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Partitions between the one that grows and the free space behind them move to the end of
// that space. Their order, numbers and identities stay, and the next growth finds the rest
// of the space right behind the partition that grew.
//
// Partitions move by multiples of Granule, so they keep their alignment: an extended
// partition that begins two sectors before a MiB does so again, and its logical partition,
// two sectors behind it, stays aligned to a MiB.

// unit is what is placed as a whole: a partition, or the extended partition with all its
// logical ones.
type unit struct {
	device *Device
	// lead is the space before a logical partition, from its EBR on.
	lead size.Bytes
	// grows reports that the unit needs need bytes; 0 is all the free space.
	grows bool
	need  size.Bytes
	// weight is the unit's part of the remaining space, relative to the weights of the
	// others; share reports that the request gives it, in percent.
	weight size.Bytes
	share  bool
	// start and end are the unit's new place.
	start, end size.Bytes
}

func (u unit) fills() bool { return u.grows && u.need == 0 }

func (u unit) moves() bool { return u.start != u.device.Start }

// from returns the first offset from at on that a unit can move to.
func (u unit) from(at size.Bytes) size.Bytes {
	return u.device.Start + (at - u.device.Start).Up(Granule)
}

// upTo returns the last offset that a unit of n bytes can move to, if it must end at limit
// or before.
func (u unit) upTo(limit, n size.Bytes) size.Bytes {
	return u.device.Start + (limit - n - u.device.Start).Down(Granule)
}

// pageSize is the unit of file systems, LUKS and the kernel's page cache, which cannot use
// a fraction of it.
const pageSize = 4 * size.KiB

// fill returns the end of a unit that takes all the space before limit: a multiple of
// Granule or, behind the last one, of pageSize. An extended partition need not be aligned.
func (u unit) fill(limit size.Bytes) size.Bytes {
	if u.device.Extended {
		return max(u.end, limit)
	}
	return max(u.end, limit.Down(Granule), u.start+(limit-u.start).Down(pageSize))
}

// line places the units one after the other. Units that fill get their parts of room in
// addition. Each unit is as far to the left as possible, but never left of its old place.
// It returns the end of the last unit.
func line(units []unit, room, weights size.Bytes) size.Bytes {
	at := size.Bytes(0)
	for i := range units {
		u := &units[i]
		u.start = u.device.Start
		if i > 0 && u.start-u.lead < at {
			u.start = u.from(at + u.lead)
		}
		n := max(u.device.Size, u.need)
		if u.fills() {
			n += (room / Granule * u.weight / weights) * Granule
		}
		u.end = u.start + n
		if u.grows && n > u.device.Size {
			u.end = u.end.Up(Granule)
		}
		at = u.end
	}
	return at
}

// weigh sets the weights of the units that fill: a share in percent, or an equal part of
// what the shares leave. given is the sum of the weights. all is the weight of the whole
// space: it is larger than given if no unit takes what the shares leave.
func weigh(units []unit) (given, all size.Bytes) {
	var filling size.Bytes
	for _, u := range units {
		switch {
		case u.share:
			given += u.weight
		case u.fills():
			filling++
		}
	}
	if filling == 0 {
		return max(given, 1), 100
	}
	for i := range units {
		u := &units[i]
		switch {
		case u.share:
			u.weight *= filling
		case u.fills():
			u.weight = 100 - given
		}
	}
	return 100 * filling, 100 * filling
}

// place finds places before limit for units, which are in the order of their offsets.
// Units that fill get equal shares of the remaining space, and units that move go as far
// to the right as possible. missing is how many bytes are missing.
func place(units []unit, limit size.Bytes) (missing size.Bytes) {
	given, all := weigh(units)
	if end := line(units, 0, all); end > limit {
		return end - limit
	}
	room := sort.Search(int(limit/Granule), func(n int) bool { return line(units, size.Bytes(n+1)*Granule, given) > limit })
	line(units, size.Bytes(room)*Granule, all)
	for i := len(units) - 1; i >= 0; i-- {
		u := &units[i]
		if u.moves() {
			n := u.end - u.start
			u.start = u.upTo(limit, n)
			u.end = u.start + n
		}
		if u.fills() && !u.share {
			u.end = u.fill(limit)
		}
		limit = u.start - u.lead
	}
	return 0
}

// arrange finds room for partitions that need more bytes (0: all the free space), by
// moving the partitions behind them. It returns where the partitions end.
func (b *onDisk) arrange(needs map[*Device]size.Bytes) ([]End, error) {
	limit, err := b.disk.Table.Usable(b.newSize)
	if err != nil {
		return nil, err
	}
	outer, inner := b.units(nil, needs), []unit(nil)
	if container := b.extended(b.disk.Name()); container != nil {
		inner = b.units(container, needs)
		i := slices.IndexFunc(outer, func(u unit) bool { return u.device == container })
		if i >= 0 && len(inner) > 0 {
			outer[i].grows, outer[i].need = true, max(line(inner, 0, 1).Up(Granule)-container.Start, container.Size)
			if slices.ContainsFunc(inner, unit.fills) {
				outer[i].need = 0
			}
		}
	}
	var placed []unit
	for _, units := range [][]unit{outer, inner} {
		if len(units) == 0 {
			continue
		}
		if missing := place(units, limit); missing > 0 {
			return nil, b.refuseSpace(grower(units), missing)
		}
		for _, u := range units {
			if u.device.Extended && u.grows {
				limit = u.end
				if u.moves() {
					return nil, Refuse(UnsupportedLayout, u.device.Name, "cannot grow the content of %s in the same run as a partition before it, because %[1]s has to move. Grow one, then the other", u.device.Name)
				}
				continue // it grows with its logical partitions
			}
			placed = append(placed, u)
		}
	}
	return b.ends(placed)
}

// grower returns the last unit that grows: there was not enough space for it.
func grower(units []unit) *Device {
	for _, u := range slices.Backward(units) {
		if u.grows {
			return u.device
		}
	}
	return units[0].device
}

// ends returns the new places of the partitions that change.
func (b *onDisk) ends(placed []unit) ([]End, error) {
	var ends []End
	for _, u := range placed {
		switch {
		case u.moves():
			if err := b.movable(u.device); err != nil {
				return nil, err
			}
			ends = append(ends, End{Number: u.device.Number, Start: u.start, End: u.end})
		case u.end != u.device.End():
			ends = append(ends, End{Number: u.device.Number, End: u.end})
		}
	}
	return ends, nil
}

// units returns the partitions in the container (nil for the disk), in the order of their
// offsets, from the first that grows on; none if none grows.
func (b *onDisk) units(container *Device, needs map[*Device]size.Bytes) []unit {
	var units []unit
	for i := range b.before.Devices {
		d := &b.before.Devices[i]
		if !b.isOn(d) || b.containerOf(d) != container || slices.Contains(b.deleted, d) {
			continue
		}
		u := unit{device: d}
		u.need, u.grows = needs[d]
		if percent, ok := b.shares[d]; ok {
			u.share, u.weight = true, size.Bytes(percent)
		}
		u.lead = b.disk.Table.Lead(d.Number)
		units = append(units, u)
	}
	slices.SortFunc(units, func(a, b unit) int { return cmp.Compare(a.device.Start, b.device.Start) })
	first := slices.IndexFunc(units, func(u unit) bool {
		return u.grows || u.device.Extended && b.holds(u.device, needs)
	})
	if first < 0 {
		return nil
	}
	return units[first:]
}

// holds reports whether a logical partition in the extended one must grow.
func (b *builder) holds(extended *Device, needs map[*Device]size.Bytes) bool {
	for d := range needs {
		if b.containerOf(d) == extended {
			return true
		}
	}
	return false
}

// extended returns the extended partition of a disk, nil if there is none.
func (b *builder) extended(disk string) *Device {
	i := slices.IndexFunc(b.before.Devices, func(d Device) bool { return d.Extended && d.Parent == disk })
	if i < 0 {
		return nil
	}
	return &b.before.Devices[i]
}

// containerOf returns the extended partition around a logical one, else nil.
func (b *builder) containerOf(d *Device) *Device {
	p, _ := b.before.entry(d)
	if p.Role != table.Logical {
		return nil
	}
	return b.extended(d.Parent)
}

// movable refuses to move a partition that would not be found at its new place.
func (b *builder) movable(neighbour *Device) error {
	refuse := func(format string, args ...any) error {
		why := fmt.Sprintf(format, args...)
		return Refuse(ImmovableNeighbor, neighbour.Name, "%s is in the way and must stay where it is: %s", neighbour, why)
	}
	t := b.before.tableOf(neighbour)
	p, _ := t.Partition(neighbour.Number)
	switch {
	case p.Type == table.GPTBIOSBoot:
		return refuse("the boot code in sector 0 finds it by its sector number")
	case p.Type == table.GPTPReP, t.Kind == table.MBR && p.Type == table.MBRPReP:
		return refuse("the firmware's boot code lies in it")
	case t.Mirrored(neighbour.Number):
		return refuse("a hybrid MBR lists it as well, by its sector numbers")
	case neighbour.Content.Problem != nil && alwaysStops(neighbour.Content.Problem):
		return refuse("%s", neighbour.Content.Problem.Text)
	}
	for _, o := range b.before.ByOffset {
		if o.At < 0 || neighbour.Start <= o.At && o.At < neighbour.End() {
			return refuse("the guest's fstab mounts %s by its offset on the disk", o.MountPoint)
		}
	}
	for _, o := range b.carried(neighbour) {
		if t.Kind == table.MBR && o.bootsWindows(p) {
			return refuse("Windows starts from %s, and its boot configuration finds it by the disk's signature and its first sector", o.Name)
		}
	}
	return nil
}

// bootsWindows reports whether Windows' boot configuration refers to the volume. It
// assumes so for an unreadable volume from which the BIOS boots.
func (d *Device) bootsWindows(p table.Partition) bool {
	switch d.Content.Role {
	case RoleWindowsSystem, RoleWindowsBoot:
		return true
	}
	return d.Content.Type == "BitLocker" || d.Content.Type == "ntfs" && d.Content.Problem != nil && p.Bootable
}

// carried returns the volumes that move with a partition: the partition itself, or its
// logical partitions.
func (b *builder) carried(d *Device) []*Device {
	if !d.Extended {
		return []*Device{d}
	}
	var inside []*Device
	for i := range b.before.Devices {
		if o := &b.before.Devices[i]; o.Kind == Partition && b.containerOf(o) == d {
			inside = append(inside, o)
		}
	}
	return inside
}

// move adds the steps that copy the partitions to their new places.
func (b *onDisk) move(ends []End) {
	for _, e := range ends {
		if e.Start == 0 {
			continue
		}
		d, _ := b.before.Find(b.disk.Partition(e.Number))
		step := Step{Kind: StepMove, Device: d.Name, From: d.Start, To: e.Start, Bytes: d.Size,
			Summary: fmt.Sprintf("move %s from %s to %s", d, d.Start, e.Start)}
		for _, v := range b.carried(d) {
			if namesItsPlace(v.Content.Type) {
				step.Volumes = append(step.Volumes, Volume{Device: v.Name, From: v.Start, To: v.Start + e.Start - d.Start, Size: v.Size})
			}
		}
		b.steps = append(b.steps, step)
		if d.recovery() {
			b.recovery(d, e.Start)
		}
	}
}

// namesItsPlace reports whether the boot sector of such a volume contains the number of
// the volume's first sector.
func namesItsPlace(content string) bool { return content == "ntfs" || content == "vfat" }

// String returns the device's name, with its type and mount point or label.
func (d Device) String() string {
	what := d.Type
	if d.Content.Type != ContentNone && d.Content.Type != ContentUnknown {
		what += ", " + d.Content.Type
	}
	return fmt.Sprintf("%s (%s, %s)", d.Name, what, d.Size)
}

// drop removes the partitions that the request deletes from the layout.
func (b *builder) drop(goals []goal) error {
	for _, name := range b.request.Delete {
		d, err := b.before.only(name)
		if err != nil {
			return err
		}
		refuse := func(format string, args ...any) error {
			return Refuse(UnsupportedLayout, d.Name, "cannot delete %s: %s", d, fmt.Sprintf(format, args...))
		}
		switch {
		case d.Kind != Partition:
			return refuse("it is not a partition")
		case slices.Contains(b.deleted, d):
			return refuse("it is given twice")
		case slices.ContainsFunc(goals, func(g goal) bool { return slices.Contains(g.stack, d) }):
			return refuse("the target of the growth is on it")
		case d.Content.Group != "":
			return refuse("it belongs to volume group %s; remove it from the group in the guest first (pvmove, vgreduce)", d.Content.Group)
		case d.Extended && len(b.carried(d)) > 0:
			return refuse("it contains partitions")
		}
		b.deleted = append(b.deleted, d)
		b.warn(fmt.Sprintf("delete %s with everything on it", d))
	}
	b.after.Devices = slices.DeleteFunc(b.after.Devices, func(o Device) bool {
		return slices.ContainsFunc(b.deleted, func(d *Device) bool { return o.Name == d.Name || o.Parent == d.Name })
	})
	return nil
}
