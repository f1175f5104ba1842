package live

import (
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Disks are the disks of that size; only the one that is meant, if it can be told.
func (g Guest) Disks(bytes size.Bytes, meant Disk) []Device {
	var fits []Device
	for _, d := range g.Devices {
		if d.Kind == "disk" && d.Size == bytes {
			fits = append(fits, d)
		}
	}
	for _, known := range [][]Device{
		// virtio keeps 20 bytes of it (virtio 1.2, 5.2.6).
		matching(fits, func(d Device) string { return d.Serial }, meant.Serial[:min(20, len(meant.Serial))]),
		matching(fits, func(d Device) string { return d.Serial }, meant.Serial),
		matching(fits, func(d Device) string { return d.Address }, meant.Address),
	} {
		if len(known) == 1 {
			return known
		}
	}
	return fits
}

// matching are the devices of which something is as wanted.
func matching(all []Device, what func(Device) string, want string) []Device {
	return slices.DeleteFunc(slices.Clone(all), func(d Device) bool { return want == "" || what(d) != want })
}

// Grown finds the disk that has become bigger: the one that is meant and has size to,
// or where that cannot be told the one that had size from before.
func (g Guest) Grown(before Guest, from, to size.Bytes, meant Disk) (Device, bool) {
	fits := g.Disks(to, meant)
	if len(fits) > 1 {
		fits = slices.DeleteFunc(fits, func(d Device) bool {
			was := slices.IndexFunc(before.Devices, func(b Device) bool { return b.Path == d.Path && b.Kind == "disk" })
			return was >= 0 && before.Devices[was].Size != from
		})
	}
	if len(fits) != 1 {
		return Device{}, false
	}
	return fits[0], true
}

// Stack is what lies on the disk, from the disk itself up to what grows last: the
// file system, or the only thing there is. where names it, by mount point, device or
// vg/lv; "" takes the one at the disk's end.
func (g Guest) Stack(disk, where string) ([]Device, error) {
	i := slices.IndexFunc(g.Devices, func(d Device) bool { return d.Path == disk && d.Kind == "disk" })
	if i < 0 {
		return nil, fmt.Errorf("the guest has no disk %s", disk)
	}
	var named [][]Device
	for _, stack := range g.stacks(g.Devices[i]) {
		if where == "" || stack[len(stack)-1].is(where) {
			named = append(named, stack)
		}
	}
	if where == "" {
		named = atEnd(named)
	}
	switch len(named) {
	case 0:
		return nil, plan.Refuse(plan.NotFound, where, "there is no %s on %s in the guest", where, disk)
	case 1:
		return named[0], g.growable(named[0])
	}
	var names []string
	for _, s := range named {
		names = append(names, s[len(s)-1].called())
	}
	return nil, plan.Refuse(plan.AmbiguousTarget, disk, "several could grow on %s: %v", disk, names)
}

// maxStacks and maxLayers bound what a guest can have us look at.
const (
	maxStacks = 1000
	maxLayers = 8
)

// stacks are all ways up from a disk to a device that nothing lies on.
func (g Guest) stacks(disk Device) [][]Device {
	var whole [][]Device
	open := [][]Device{{disk}}
	for len(open) > 0 && len(open)+len(whole) < maxStacks {
		below := open[0]
		open = open[1:]
		above := g.on(below[len(below)-1].Path)
		if len(above) == 0 || len(below) == maxLayers {
			whole = append(whole, below)
		}
		if len(below) < maxLayers {
			for _, d := range above {
				open = append(open, append(slices.Clone(below), d))
			}
		}
	}
	return whole
}

// atEnd keeps what lies on the disk's last partition: a live disk's other partitions
// have no room to grow into.
func atEnd(stacks [][]Device) [][]Device {
	var last size.Bytes = -1
	for _, s := range stacks {
		if len(s) > 1 {
			last = max(last, s[1].Start)
		}
	}
	return slices.DeleteFunc(stacks, func(s []Device) bool { return len(s) > 1 && s[1].Start != last })
}

// is says whether the device is what a person named.
func (d Device) is(where string) bool {
	return d.Mounted == where || d.Path == where || d.name() == where || d.Path == "/dev/mapper/"+mapperName(where)
}

// called is the device's name for people.
func (d Device) called() string {
	if d.Mounted != "" && d.Mounted != Unknown {
		return d.Mounted
	}
	return d.Path
}

// growable refuses what these commands cannot grow.
func (g Guest) growable(stack []Device) error {
	for i, d := range stack {
		refuse := func(format string, args ...any) error {
			return plan.Refuse(plan.UnsupportedLayout, d.Path, "%s in the guest: %s", d.Path, fmt.Sprintf(format, args...))
		}
		switch {
		case i == 0:
			continue
		case d.Kind == "part" && i == 1 && g.behind(d):
			return plan.Refuse(plan.ImmovableNeighbor, d.Path, "%s in the guest is not the last partition of %s: what stands behind it can only be moved offline", d.Path, d.Parent)
		case d.Kind == "part" && i == 1 && g.logical(d):
			return refuse("it is a logical partition, which only grows offline")
		case d.Kind == "part" && i == 1 && d.Number() != "":
			continue
		case d.Kind == "lvm" && stack[i-1].Kind != "lvm":
			continue
		case d.Kind == "lvm":
			return refuse("it is no plain logical volume")
		case d.Kind == "crypt":
			return refuse("it is encrypted: run cryptsetup resize %s there, with its key, and grow what lies on it", quoted(d.name()))
		}
		return refuse("it is a %s, which has to be grown by hand", d.Kind)
	}
	return nil
}

// behind says whether another partition begins behind one.
func (g Guest) behind(d Device) bool {
	return slices.ContainsFunc(g.on(d.Parent), func(o Device) bool { return o.Start > d.Start })
}

// logical says whether a partition lies in an extended one, of which the kernel shows
// no more than its first sectors.
func (g Guest) logical(d Device) bool {
	return slices.ContainsFunc(g.on(d.Parent), func(o Device) bool { return o.Size <= 4096 && o.Start < d.Start }) && len(d.Number()) > 0 && d.Number() >= "5"
}

// mapperName is the device mapper's name of "vg/lv": a hyphen in either is doubled.
func mapperName(where string) string {
	vg, lv, ok := cutPath(where)
	if !ok {
		return where
	}
	return doubled(vg) + "-" + doubled(lv)
}
