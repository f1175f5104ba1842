package live

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// growable refuses a stack if one of its layers cannot be grown while the guest runs. It is
// called before the disk is grown to a size, because a disk cannot be shrunk again.
func (g Guest) growable(stack []Device, disk size.Bytes) error {
	top := stack[len(stack)-1]
	for i, d := range stack {
		if d.Problem != nil {
			return d.Problem
		}
		var err error
		switch {
		case i == 0:
			err = g.bare(stack)
		case d.Kind == "part" && i == 1:
			err = g.partitionGrows(d, top, disk)
		case d.Kind == "lvm" && stack[i-1].Kind != "lvm":
			err = g.volumeGrows(d, stack[i-1])
		case d.Kind == "lvm":
			err = unsupported(d, "it is not a plain logical volume")
		case d.Kind == "crypt":
			err = unsupported(d, "it is encrypted: run cryptsetup resize %s in the guest, with its key, and then grow its content", quoted(d.name()))
		default:
			err = unsupported(d, "it is a %s, which must be grown by hand", d.Kind)
		}
		if err != nil {
			return err
		}
	}
	return g.contentGrows(top, disk)
}

func unsupported(d Device, format string, args ...any) error {
	return plan.Refuse(plan.UnsupportedLayout, d.Path, "%s in the guest: %s", d.Path, fmt.Sprintf(format, args...))
}

// bare refuses content on a whole disk that has partitions as well.
func (g Guest) bare(stack []Device) error {
	disk := stack[0]
	hasParts := slices.ContainsFunc(g.children(disk.Path), func(d Device) bool { return d.Kind == "part" })
	if hasParts && (len(stack) == 1 || stack[1].Kind != "part") {
		return unsupported(disk, "it has partitions, and also something else on the whole disk")
	}
	return nil
}

// partitionGrows refuses a partition that cannot reach the end of its disk.
func (g Guest) partitionGrows(d, top Device, disk size.Bytes) error {
	t := g.Tables[d.Parent]
	number, err := strconv.Atoi(d.Number())
	switch {
	case err != nil:
		return unsupported(d, "its name is not that of a partition of %s", d.Parent)
	case t.Problem != "":
		return plan.Refuse(plan.TableDamaged, d.Parent, "the partition table of %s: %s", d.Parent, t.Problem)
	case g.extended(d):
		return unsupported(d, "it is an extended partition, which only grows offline")
	case g.logical(d, number):
		return unsupported(d, "it is a logical partition, which only grows offline")
	}
	if behind := g.behind(d); len(behind) > 0 {
		what := d.name()
		if name := top.called(); name != d.Path {
			what = name
			if top.Path != d.Path {
				what += " (" + d.name() + ")"
			}
		}
		return plan.Refuse(plan.ImmovableNeighbor, d.Path, "%s %s behind %s in the guest, and can only be moved while the guest is off",
			strings.Join(behind, ", "), map[bool]string{true: "is", false: "are"}[len(behind) == 1], what)
	}
	return t.reaches(d, disk)
}

// reaches refuses an MBR on a disk that is larger than the limit of an MBR.
func (t Table) reaches(d Device, disk size.Bytes) error {
	sector := t.Sector
	if sector == 0 {
		sector = 512
	}
	limit := sector << 32
	switch {
	case disk <= limit || t.Kind == table.GPT:
		return nil
	case t.Kind == "":
		return plan.Refuse(plan.MBRLimit, d.Parent, "%s becomes %s, and the guest does not report whether its partition table is a GPT; an MBR is limited to %s", d.Parent, disk, limit)
	}
	return plan.Refuse(plan.MBRLimit, d.Parent, "%s becomes %s: its MBR is limited to %s", d.Parent, disk, limit)
}

// behind returns the names of the partitions behind one.
func (g Guest) behind(d Device) []string {
	var real, extended []string
	for _, o := range g.children(d.Parent) {
		switch {
		case o.Kind != "part" || o.Path == d.Path || o.Start < d.Start:
			continue
		case g.extended(o):
			extended = append(extended, o.name()+" (extended)")
		case o.FS == "":
			real = append(real, o.name())
		default:
			real = append(real, o.name()+" ("+o.FS+")")
		}
	}
	if len(real) == 0 {
		return extended
	}
	return real
}

// extendedSize is the largest size that the kernel shows for an extended partition: only
// its first sectors, with room for a boot loader.
const extendedSize = 4096

// extended reports whether a partition is an extended one.
func (g Guest) extended(d Device) bool {
	t := g.Tables[d.Parent]
	if number, err := strconv.Atoi(d.Number()); err == nil && slices.Contains(t.Extended, number) {
		return true
	}
	return t.Kind != table.GPT && len(t.Extended) == 0 && d.Size <= extendedSize
}

// logical reports whether a partition is a logical one.
func (g Guest) logical(d Device, number int) bool {
	if number < 5 || g.Tables[d.Parent].Kind == table.GPT {
		return false
	}
	return g.Tables[d.Parent].Kind == table.MBR ||
		slices.ContainsFunc(g.children(d.Parent), func(o Device) bool { return o.Start < d.Start && g.extended(o) })
}

// volumeGrows refuses a volume to which LVM cannot allocate the new extents of its PV.
func (g Guest) volumeGrows(d, pv Device) error {
	vg, lv, ok := volume(d)
	if !ok {
		return unsupported(d, "its name is not that of a logical volume")
	}
	if g.Tools == nil {
		return nil // the inspection of the image has checked it
	}
	what, known := g.LVs[vg+"/"+lv]
	group, pvAttr := g.VGs[vg], g.PVs[pv.Path]
	switch {
	case !known || group == "" || pvAttr == "":
		return unsupported(d, "its LVM does not list %s/%s on %s", vg, lv, pv.Path)
	case slices.ContainsFunc(what.Segments, func(s string) bool { return s != "linear" }):
		return unsupported(d, "it is a volume of type %s, not a plain one", strings.Join(what.Segments, ", "))
	case at(what.Attr, 0) != '-':
		return unsupported(d, "it is not a plain logical volume (lvs: %s)", what.Attr)
	case strings.ContainsRune("cC", at(what.Attr, 2)), at(what.Attr, 2) == 'i' && at(group, 4) == 'c':
		return unsupported(d, "its extents have to be contiguous (lvs: %s)", what.Attr)
	case at(group, 0) != 'w' || at(group, 1) != 'z' || at(group, 2) == 'x' || at(group, 3) == 'p':
		return unsupported(d, "its volume group %s cannot be changed in its present state (vgs: %s)", vg, group)
	case at(pvAttr, 0) != 'a' || strings.Contains(pvAttr, "m"):
		return unsupported(pv, "new extents on it may not be allocated (pvs: %s)", pvAttr)
	}
	return nil
}

// at returns a letter of LVM's attributes; '?' if there is none.
func at(attributes string, i int) rune {
	if i >= len(attributes) {
		return '?'
	}
	return rune(attributes[i])
}

// contentGrows refuses content that cannot grow, or not while the guest runs.
func (g Guest) contentGrows(d Device, disk size.Bytes) error {
	switch {
	case d.FS == "LVM2_member":
		if attr := g.PVs[d.Path]; g.Tools != nil && attr == "" {
			return unsupported(d, "its LVM does not list this physical volume")
		}
		return nil
	case d.FS == "":
		return plan.Refuse(plan.UnknownContent, d.Path, "%s in the guest has no content that can grow", d.Path)
	case !growsMounted[d.FS]:
		return plan.Refuse(plan.UnknownContent, d.Path, "%s in the guest holds %s, which does not grow while the guest runs", d.Path, d.FS)
	case d.Mounted == "":
		return unsupported(d, "it (%s) is not mounted, and can grow only while it is", d.FS)
	case d.ReadOnly:
		return unsupported(d, "it (%s) is mounted read-only, and can grow only while it is writable", d.FS)
	case d.Mounted != Unknown && slices.ContainsFunc(g.Devices, func(o Device) bool { return o.Path != d.Path && o.Mounted == d.Mounted }):
		return unsupported(d, "another file system is mounted at %s, too", d.Mounted)
	case d.FS == "btrfs":
		return g.btrfsGrows(d)
	case d.FS == "xfs":
		return nil
	}
	return g.extGrows(d, disk)
}

// btrfsGrows refuses a btrfs on several devices: the sizes do not show which of them must
// grow.
func (g Guest) btrfsGrows(d Device) error {
	n := g.Btrfs[d.Path].Devices
	same := 0
	for _, o := range g.Devices {
		if o.FS == "btrfs" && o.UUID != "" && o.UUID == d.UUID && o.Path != d.Path {
			same++
		}
	}
	if n = max(n, same+1); n > 1 {
		return unsupported(d, "its btrfs spans %d devices", n)
	}
	return nil
}

// extGrows refuses a mounted file system that resize2fs(8) would refuse.
func (g Guest) extGrows(d Device, disk size.Bytes) error {
	e, known := g.Ext[d.Path]
	if !known {
		return nil
	}
	if e.Bigalloc {
		return unsupported(d, "its %s has the feature bigalloc, and resize2fs grows it only when forced", d.FS)
	}
	if limit := e.Block << 32; !e.Bits64 && disk > limit {
		return plan.Refuse(plan.FSLimit, d.Path, "%s in the guest: its %s has no 64-bit block numbers, and is limited to %s", d.Path, d.FS, limit)
	}
	return nil
}
