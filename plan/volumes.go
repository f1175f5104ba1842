package plan

import (
	"math"
	"slices"

	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Allocation has the properties of a logical volume that determine how it can grow.
type Allocation struct {
	// Policy is the allocation policy: "normal" and "anywhere" allocate extents anywhere
	// in the group, "cling" only on the PV of the volume's end, "contiguous" only right
	// behind its end.
	Policy string `json:"policy,omitempty"`
	// PV is the device with the volume's end.
	PV string `json:"pv,omitempty"`
	// Behind is the free space on the PV right behind the volume.
	Behind size.Bytes `json:"behind,omitempty"`
	// Last reports that nothing follows that free space.
	Last bool `json:"last,omitempty"`
}

// The allocation policies that restrict where a volume grows.
const (
	policyCling      = "cling"
	policyContiguous = "contiguous"
)

// bound reports whether the volume can only grow on its PV.
func (v *Allocation) bound() bool {
	return v != nil && v.PV != "" && (v.Policy == policyCling || v.Policy == policyContiguous)
}

// stack returns the devices from the disk up to d, which grow in this order. The parent of
// an LV is the PV that growingPV returns.
func (b *builder) stack(d *Device) []*Device {
	var up []*Device
	for d != nil {
		up = append(up, d)
		d = b.parent(d)
	}
	slices.Reverse(up)
	return up
}

// parent returns the device that d lies on, nil for a disk.
func (b *builder) parent(d *Device) *Device {
	if d.Kind == LV {
		return b.growingPV(d)
	}
	parent, _ := b.before.Find(d.Parent)
	return parent
}

// growingPV returns the PV that must grow for a volume: of the PVs that allow allocation,
// the last one on the disk, before the new space; or the PV to which the volume is bound.
func (b *builder) growingPV(lv *Device) *Device {
	if lv.Allocation.bound() {
		pv, _ := b.before.Find(lv.Allocation.PV)
		return pv
	}
	var elsewhere *Device
	for _, disk := range b.disks {
		best := b.bestPV(lv.Group, disk.disk.Name())
		switch {
		case best == nil:
		case disk.asked():
			return best
		case elsewhere == nil:
			elsewhere = best
		}
	}
	return elsewhere
}

// asked reports whether the request has a size for the disk.
func (b *onDisk) asked() bool { return b.request.Grows(b.disk.Name(), b.before.Name()) }

// bestPV returns the PV of a group that grows with a disk: of the PVs that allow allocation,
// the last one on the disk, before the new space. It is nil if the disk has no PV.
func (b *builder) bestPV(group, disk string) (best *Device) {
	g := b.before.group(group)
	if g == nil {
		return nil
	}
	for _, name := range g.PVs {
		pv, ok := b.before.Find(name)
		switch {
		case !ok || !slices.Contains(b.before.under(pv), disk):
		case best == nil, best.Content.Fixed && !pv.Content.Fixed:
			best = pv
		case best.Content.Fixed == pv.Content.Fixed && b.startOnDisk(pv) > b.startOnDisk(best):
			best = pv
		}
	}
	return best
}

func (b *builder) startOnDisk(d *Device) size.Bytes {
	for d != nil && d.Kind != Partition && d.Kind != Disk {
		d = b.parent(d)
	}
	if d == nil {
		return 0
	}
	return d.Start
}

// otherPVs returns goals for further PVs: if several disks grow, the group of a chosen
// volume takes the new space on each of them.
func (b *builder) otherPVs(goals []goal) (others []goal, err error) {
	has := func(goals []goal, pv *Device) bool {
		return slices.ContainsFunc(goals, func(g goal) bool { return slices.Contains(g.stack, pv) })
	}
	for _, g := range goals {
		i := slices.IndexFunc(g.stack, func(d *Device) bool { return d.Kind == LV })
		if i < 0 || g.stack[i].Allocation.bound() {
			continue
		}
		for _, disk := range b.disks {
			pv := b.bestPV(g.stack[i].Group, disk.disk.Name())
			if pv == nil || !disk.asked() || has(goals, pv) || has(others, pv) {
				continue
			}
			other := goal{Device: pv, stack: b.stack(pv)}
			if err := b.sound(other.stack); err != nil {
				return nil, err
			}
			others = append(others, other)
		}
	}
	return others, nil
}

// mostExtents is LVM's largest number of extents (MAX_EXTENT_COUNT).
const mostExtents = math.MaxUint32

// growPV grows a PV to its device's end. Its size is a multiple of the extent size, between
// the offset of the first extent and a second metadata area.
func (b *builder) growPV(d *Device) error {
	now := b.now(d.Name)
	g := b.after.group(d.Content.Group)
	if g == nil || g.Extent == 0 {
		return nil
	}
	to := (now.Size - d.Content.Offset - d.Content.Tail).Down(g.Extent)
	if to <= now.Content.Size {
		return nil
	}
	if to/g.Extent > mostExtents {
		return Refuse(FSLimit, d.Name, "a PV can have %s at most with extents of %s, %s would have %s", mostExtents*g.Extent, g.Extent, d.Name, to)
	}
	added := to - d.Content.Size
	if !d.Content.Fixed {
		g.Free += added
	}
	now.Content.Size = to
	now.Content.Free += added
	b.steps = append(b.steps, Step{Kind: StepPV, Device: d.Name, From: d.Content.Size, To: to,
		Summary: fmt.Sprintf("grow PV %s of %s %s → %s", d.Name, g.Name, d.Content.Size, to)})
	return nil
}

// growLV grows a volume that is a target or below one. Several volumes without a size share
// the free space.
func (b *builder) growLV(d *Device, target bool, asked goal) error {
	g := b.after.group(d.Group)
	if g.Missing > 0 {
		return RefuseMissing(*g)
	}
	if b.now(d.Name).Size > d.Size {
		return b.grownBefore(d, target, asked)
	}
	if err := b.oneByOne(d); err != nil {
		return err
	}
	reach := b.reach(d, g)
	most := b.whole(d, g, d.Size+reach)
	to := most
	switch n := b.sharing[d.Group]; {
	case asked.want > 0:
		to = asked.want.Up(volumeUnit(g))
		if to > most && asked.want <= most {
			to = most
		}
	case target && asked.share > 0:
		if _, begun := b.room[d.Group]; !begun {
			b.room[d.Group] = g.Free
		}
		to = b.whole(d, g, min(d.Size+reach, d.Size+(b.room[d.Group]*size.Bytes(asked.share)/100).Down(g.Extent)))
	case target && n > 0:
		to = b.whole(d, g, min(d.Size+reach, d.Size+(g.Free/size.Bytes(n)).Down(g.Extent)))
		b.sharing[d.Group]--
	}
	switch {
	case to > most:
		return Refuse(NoRoom, d.Name, "cannot grow %s to %s: volume group %s will have %s free for it, %s needed", d.Name, to, g.Name, reach, to-d.Size)
	case to/g.Extent > mostExtents:
		return Refuse(FSLimit, d.Name, "a volume can have %s at most with extents of %s, %s would have %s", mostExtents*g.Extent, g.Extent, d.Name, to)
	case to <= d.Size:
		return b.outOfReach(d, g, reach)
	}
	b.grown[d.Group] = d
	g.Free -= to - d.Size
	b.now(d.Name).Size = to
	b.steps = append(b.steps, Step{Kind: StepLV, Device: d.Name, From: d.Size, To: to,
		Summary: fmt.Sprintf("grow LV %s %s → %s", d.Name, d.Size, to)})
	return nil
}

// grownBefore is growLV for a volume that has grown already: it holds a PV, and is below
// several targets, or below one and a target itself. A volume grows once.
func (b *builder) grownBefore(d *Device, target bool, asked goal) error {
	if !target {
		return nil
	}
	if asked.want > 0 || asked.share > 0 {
		return Refuse(UnsupportedLayout, d.Name, "cannot grow %s to a size of its own: it is below another target, and grows for that", d.Name)
	}
	if b.sharing[d.Group] > 0 {
		b.sharing[d.Group]--
	}
	return nil
}

// RefuseMissing reports that PVs of a group are on other disks.
func RefuseMissing(g Group) *Refusal {
	r := Refuse(UnsupportedLayout, g.Name, "volume group %s has %d PV(s) on other disks", g.Name, g.Missing)
	r.Way = WayOnline
	return r
}

// reach returns how much LVM can add to a volume.
func (b *builder) reach(d *Device, g *Group) size.Bytes {
	if !d.Allocation.bound() {
		return g.Free
	}
	was, _ := b.before.Find(d.Allocation.PV)
	pv := b.now(d.Allocation.PV)
	if pv == nil || pv.Content.Fixed {
		return 0
	}
	if d.Allocation.Policy == policyCling {
		return min(pv.Content.Free, g.Free)
	}
	reach := d.Allocation.Behind
	if d.Allocation.Last {
		reach += pv.Content.Size - was.Content.Size
	}
	return min(reach, g.Free)
}

// volumeUnit returns the unit in which volumes grow: whole extents and also whole MiB,
// because libguestfs passes a number of MiB to LVM.
func volumeUnit(g *Group) size.Bytes {
	a, b := g.Extent, size.MiB
	for b != 0 {
		a, b = b, a%b
	}
	return g.Extent / a * size.MiB
}

// whole rounds the size of a volume down to whole units, unless the volume takes all the
// free space of its group.
func (b *builder) whole(d *Device, g *Group, to size.Bytes) size.Bytes {
	if to == d.Size+g.Free && !d.Allocation.bound() && !b.hasFixed(g) {
		return to
	}
	return max(to.Down(volumeUnit(g)), d.Size)
}

// hasFixed reports whether PVs of the group have free extents that cannot be allocated.
func (b *builder) hasFixed(g *Group) bool {
	return slices.ContainsFunc(g.PVs, func(name string) bool {
		pv := b.now(name)
		return pv != nil && pv.Content.Fixed && pv.Content.Free > 0
	})
}

// oneByOne refuses two volumes of one group if one of them is bound to a PV: it is not
// known which extents LVM allocates for the other.
func (b *builder) oneByOne(d *Device) error {
	before := b.grown[d.Group]
	if before == nil || !d.Allocation.bound() && !before.Allocation.bound() {
		return nil
	}
	return Refuse(UnsupportedLayout, d.Name, "%s and %s cannot grow in one run, because of an allocation policy: grow one, then the other", before.Name, d.Name)
}

// outOfReach refuses if the group has free extents, but the volume cannot use them: a plan
// without steps would be misleading.
func (b *builder) outOfReach(d *Device, g *Group, reach size.Bytes) error {
	for _, name := range g.PVs {
		pv := b.now(name)
		if pv == nil || pv.Content.Free < g.Extent {
			continue
		}
		switch {
		case pv.Content.Fixed:
			return Refuse(UnsupportedLayout, d.Name, "cannot grow %s: PV %s has %s free, and is set to take no new extents (pvchange -xn)", d.Name, name, pv.Content.Free)
		case d.Allocation.bound():
			return Refuse(UnsupportedLayout, d.Name, "cannot grow %s: its allocation policy is %s, and %s are free where it could continue, on PV %s", d.Name, d.Allocation.Policy, reach, d.Allocation.PV)
		}
	}
	return nil
}
