package live

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/table"
)

// FromLayout returns a guest from the layout of its image. The names of the disk and its
// devices are those that the kernel most likely uses. Names and mount points are only known
// in the guest.
func FromLayout(l *plan.Layout, disk string) Guest {
	at := "/dev/" + disk
	g := Guest{Tables: map[string]Table{at: tableOf(l)}}
	path := pathsOf(l, at)
	kinds := map[plan.DeviceKind]string{plan.Disk: "disk", plan.Partition: "part", plan.LV: "lvm", plan.Crypt: "crypt"}
	for _, d := range l.Devices {
		to := Device{Path: path[d.Name], Parent: path[d.Parent], Kind: kinds[d.Kind], Start: d.Start, Size: d.Size,
			FS: d.Content.Type, UUID: d.Content.UUID, Mounted: Unknown, Mounts: d.Content.Mounted, Problem: d.Content.Problem}
		switch {
		case d.Kind == plan.Disk:
			to.Parent = ""
		case d.Kind == plan.LV:
			group := groupOf(l, d)
			to.Parent = path[lastPV(l, group)]
			if group.Missing > 0 && to.Problem == nil {
				to.Problem = plan.Refuse(plan.UnsupportedLayout, d.Name, "volume group %s lacks %d of its physical volumes on this disk", group.Name, group.Missing)
			}
		}
		if l.OS != nil && l.OS.Type == "linux" && l.OS.Root == d.Name {
			to.Mounts = append([]string{"/"}, to.Mounts...)
		}
		g.Devices = append(g.Devices, to)
	}
	return g
}

// pathsOf returns the most likely paths of the devices in the guest.
func pathsOf(l *plan.Layout, disk string) map[string]string {
	path := map[string]string{}
	for _, d := range l.Devices {
		at := disk
		switch d.Kind {
		case plan.Partition:
			at = partitionPath(disk, d.Number)
		case plan.LV:
			vg, lv, _ := cutPath(d.Name)
			at = "/dev/mapper/" + doubled(vg) + "-" + doubled(lv)
		case plan.Crypt:
			at = "/dev/mapper/" + d.Name
		}
		path[d.Name] = at
	}
	return path
}

func tableOf(l *plan.Layout) Table {
	if l.Table == nil {
		return Table{Sector: l.Sector}
	}
	t := Table{Kind: l.Table.Kind, Sector: l.Sector}
	if err := l.Table.Err(); err != nil {
		t.Problem = err.Error()
	}
	for _, p := range l.Table.Partitions {
		if p.Role == table.Extended {
			t.Extended = append(t.Extended, p.Number)
		}
	}
	return t
}

func groupOf(l *plan.Layout, lv plan.Device) plan.Group {
	for _, g := range l.Groups {
		if g.Name == lv.Group {
			return g
		}
	}
	return plan.Group{}
}

// lastPV returns the group's last PV on the disk.
func lastPV(l *plan.Layout, g plan.Group) string {
	var last plan.Device
	for _, name := range g.PVs {
		if d, ok := l.Find(name); ok && (last.Name == "" || d.Start > last.Start) {
			last = *d
		}
	}
	return last.Name
}

// partitionPath returns the kernel's name of a partition.
func partitionPath(disk string, number int) string {
	if strings.Trim(disk[len(disk)-1:], "0123456789") == "" {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}
