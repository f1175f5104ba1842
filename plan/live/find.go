package live

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Disks returns the disks with a size; only the disk that is meant, if it can be identified.
func (g Guest) Disks(bytes size.Bytes, meant Disk) []Device {
	var fits []Device
	for _, d := range g.Devices {
		if d.Kind == "disk" && d.Size == bytes {
			fits = append(fits, d)
		}
	}
	var known []Identity
	for _, d := range fits {
		known = append(known, Identity{d.Serial, d.Address})
	}
	if i, err := Match(Identity{meant.Serial, meant.Address}, known); err == nil {
		return fits[i : i+1]
	}
	return fits
}

// Grown finds the disk that has grown: the one that is meant and has size to, or, if it
// cannot be identified, the one that had size from before.
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

// Stack returns the devices from the disk up to the one that should grow. where names that
// device by mount point, device, vg/lv or UUID=…; "" means the root or the only file system
// that can grow.
func (g Guest) Stack(disk, where string) ([]Device, error) {
	i := slices.IndexFunc(g.Devices, func(d Device) bool { return d.Path == disk && d.Kind == "disk" })
	if i < 0 {
		return nil, fmt.Errorf("the guest has no disk %s", disk)
	}
	all := g.stacks(g.Devices[i])
	if where == "" {
		return chooseAlone(all, disk)
	}
	named := having(all, func(d Device) bool { return d.is(where) })
	if len(named) == 0 {
		return nil, plan.Refuse(plan.NotFound, where, "there is no %s on %s in the guest", where, disk)
	}
	return only(named, disk)
}

// chooseAlone returns the root, or the only file system that can grow.
func chooseAlone(all [][]Device, disk string) ([]Device, error) {
	if root := having(all, func(d Device) bool { return d.Mounted == "/" || slices.Contains(d.Mounts, "/") }); len(root) > 0 {
		return only(root, disk)
	}
	found := having(all, func(d Device) bool { return growsMounted[d.FS] })
	if len(found) > 0 {
		return only(found, disk)
	}
	var held []string
	for _, s := range all {
		if top := s[len(s)-1]; top.FS != "" {
			held = append(held, top.name()+" holds "+top.FS)
		}
	}
	if len(held) == 0 {
		return nil, plan.Refuse(plan.UnknownContent, disk, "nothing on %s in the guest can grow: there is no file system", disk)
	}
	return nil, plan.Refuse(plan.UnknownContent, disk, "nothing on %s in the guest can grow by itself: %s", disk, strings.Join(held, ", "))
}

// growsMounted are the file systems that grow while they are mounted.
var growsMounted = map[string]bool{"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true}

// only returns the only stack. Of several stacks with the same device at the top, it
// returns the one on the last partition of the disk, before the new space.
func only(stacks [][]Device, disk string) ([]Device, error) {
	var paths, names []string
	best := stacks[0]
	for _, s := range stacks {
		if top := s[len(s)-1]; !slices.Contains(paths, top.Path) {
			paths = append(paths, top.Path)
			names = append(names, fmt.Sprintf("%s (%s)", top.called(), top.FS))
		}
		if startOf(s) > startOf(best) {
			best = s
		}
	}
	if len(paths) > 1 {
		return nil, plan.Refuse(plan.AmbiguousTarget, disk, "several could grow on %s: %s", disk, strings.Join(names, ", "))
	}
	return best, nil
}

// startOf returns the offset of the partition in a stack.
func startOf(stack []Device) size.Bytes {
	if len(stack) < 2 {
		return 0
	}
	return stack[1].Start
}

// having returns the stacks whose top device matches.
func having(stacks [][]Device, want func(Device) bool) [][]Device {
	var kept [][]Device
	for _, s := range stacks {
		if want(s[len(s)-1]) {
			kept = append(kept, s)
		}
	}
	return kept
}

// maxStacks and maxLayers limit the work that the output of a guest can cause.
const (
	maxStacks = 1000
	maxLayers = 8
)

// stacks returns all stacks from a disk up to each of the devices on it, and to itself.
func (g Guest) stacks(disk Device) [][]Device {
	all := [][]Device{{disk}}
	for i := 0; i < len(all) && len(all) < maxStacks; i++ {
		below := all[i]
		if len(below) == maxLayers {
			continue
		}
		for _, d := range g.children(below[len(below)-1].Path) {
			all = append(all, append(slices.Clone(below), d))
		}
	}
	return all
}

// is reports whether where names the device.
func (d Device) is(where string) bool {
	if uuid, ok := strings.CutPrefix(where, "UUID="); ok {
		return uuid != "" && strings.EqualFold(uuid, d.UUID)
	}
	return d.Mounted == where || slices.Contains(d.Mounts, where) ||
		d.Path == where || d.name() == where || d.Path == "/dev/mapper/"+mapperName(where)
}

// called returns the device's name for people.
func (d Device) called() string {
	switch {
	case d.Mounted != "" && d.Mounted != Unknown:
		return d.Mounted
	case len(d.Mounts) > 0:
		return d.Mounts[0]
	}
	return d.Path
}

// mapperName returns the device-mapper name of "vg/lv": hyphens in the names are doubled.
func mapperName(where string) string {
	vg, lv, ok := cutPath(where)
	if !ok {
		return where
	}
	return doubled(vg) + "-" + doubled(lv)
}
