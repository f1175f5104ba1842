package table

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// alignment is the unit to which ends are rounded down, and the smallest gap that is listed,
// as in parted, gdisk and Windows.
const alignment = size.MiB

// Extent is a free part of the disk.
type Extent struct {
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
	// Logical reports that the extent is in the extended partition: only logical
	// partitions can use it.
	Logical bool `json:"logical,omitempty"`
}

// End returns the first byte after the extent.
func (e Extent) End() size.Bytes { return e.Start + e.Size }

// Room returns how far a partition could grow to the right on a disk of newDisk bytes. maxEnd
// is rounded down to 1 MiB, but never below the present end.
//
// next is the partition that limits the growth: the next one on the disk; for the last
// logical partition the primary one behind the extended partition, which grows with it. next
// is nil if the end of the disk, or of what the table can address, is the limit. Before a
// logical partition, the limit is its EBR.
//
// It fails if the table is damaged, the partition does not exist, or newDisk is smaller than
// the disk.
func (t *Table) Room(number int, newDisk size.Bytes) (maxEnd size.Bytes, next *Partition, err error) {
	if err := t.editable(newDisk); err != nil {
		return 0, nil, err
	}
	p, ok := t.Partition(number)
	if !ok {
		return 0, nil, fmt.Errorf("partition %d: %w", number, ErrNoPartition)
	}
	end, next, err := t.limit(p, newDisk)
	if err != nil {
		return 0, nil, err
	}
	return max(end.Down(alignment), p.End()), next, nil
}

// limit is Room without rounding.
func (t *Table) limit(p Partition, newDisk size.Bytes) (end size.Bytes, next *Partition, err error) {
	if p.Role == Logical {
		if end, next, ok := t.nextLogicalUse(p); ok {
			return end, next, nil
		}
		p, _ = t.Partition(t.mbr[p.Number].container)
	}
	if end, err = t.usableEnd(newDisk); err != nil {
		return 0, nil, err
	}
	for _, other := range t.Partitions {
		if other.Role != Logical && other.Number != p.Number && other.Start >= p.End() && other.Start < end {
			end, next = other.Start, &other
		}
	}
	return max(end, p.End()), next, nil
}

// Usable returns the highest exclusive end of a partition on a disk of newDisk bytes, rounded
// down to 1 MiB. It fails if the table is damaged or newDisk is smaller than the disk.
func (t *Table) Usable(newDisk size.Bytes) (size.Bytes, error) {
	if err := t.editable(newDisk); err != nil {
		return 0, err
	}
	end, err := t.usableEnd(newDisk)
	return end.Down(alignment), err
}

// usableEnd returns the highest exclusive end of a partition on a disk of newDisk bytes.
func (t *Table) usableEnd(newDisk size.Bytes) (size.Bytes, error) {
	if t.Kind == MBR {
		return min(t.offset(t.sectorsOf(newDisk)), t.Addressable()), nil
	}
	l, err := t.gptLayout(newDisk)
	return t.offset(l.lastUsable + 1), err
}

// nextLogicalUse returns what follows a logical partition in the extended one: an EBR, which
// belongs to the first partition that it describes, or a partition.
func (t *Table) nextLogicalUse(p Partition) (start size.Bytes, owner *Partition, ok bool) {
	take := func(at size.Bytes, by Partition) {
		if at >= p.End() && (!ok || at < start) {
			start, owner, ok = at, &by, true
		}
	}
	for _, e := range t.ebrs {
		take(t.offset(e.lba), t.ebrOwner(e))
	}
	for _, other := range t.Partitions {
		if other.Role == Logical {
			take(other.Start, other)
		}
	}
	return start, owner, ok
}

// Lead returns the distance from a logical partition back to the EBR that moves with it. It
// is 0 for other partitions, and for the one in the first EBR, which belongs to the start of
// the extended partition.
func (t *Table) Lead(number int) size.Bytes {
	p, ok := t.Partition(number)
	if !ok || p.Role != Logical || len(t.ebrs) == 0 || t.mbr[number].sector == t.ebrs[0].lba {
		return 0
	}
	return max(0, p.Start-t.offset(t.mbr[number].sector))
}

// ebrOwner returns the first logical partition that an EBR describes; the extended partition
// if the EBR describes none.
func (t *Table) ebrOwner(e ebr) Partition {
	var extended Partition
	for _, p := range t.Partitions {
		if p.Role == Logical && t.mbr[p.Number].sector == e.lba {
			return p
		}
		if p.Role == Extended {
			extended = p
		}
	}
	return extended
}

// Free lists the gaps of at least 1 MiB, in the order of their offsets. On a disk that was
// enlarged, they include the space that the table will reach once it has grown.
func (t *Table) Free() []Extent {
	used, end := t.usedExtents()
	slices.SortFunc(used, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	var free []Extent
	at := size.Bytes(0)
	for _, u := range append(used, extent{start: end, end: end}) {
		free = append(free, t.splitGap(at, min(u.start, end))...)
		at = max(at, u.end)
	}
	return free
}

// usedExtents returns all extents in use, except the extended partition, and the end of the
// usable space.
func (t *Table) usedExtents() (used []extent, end size.Bytes) {
	used = []extent{{0, t.SectorSize, ""}}
	end = min(t.offset(t.sectorsOf(t.DiskSize)), t.Addressable())
	if t.gpt != nil {
		used[0].end = t.offset(t.gpt.primary.header.at(gptFirstUsable))
		if usable, err := t.usableEnd(t.DiskSize); err == nil {
			end = usable
		}
	}
	for _, e := range t.ebrs {
		used = append(used, extent{t.offset(e.lba), t.offset(e.lba) + t.SectorSize, ""})
	}
	for _, p := range t.Partitions {
		if p.Role != Extended {
			used = append(used, p.extent())
		}
	}
	return used, end
}

// splitGap splits a gap at the borders of the extended partition.
func (t *Table) splitGap(start, end size.Bytes) []Extent {
	cuts := []size.Bytes{start}
	for _, p := range t.Partitions {
		if p.Role == Extended {
			cuts = append(cuts, p.Start, p.End())
		}
	}
	slices.Sort(cuts)
	var parts []Extent
	for i, from := range cuts {
		to := end
		if i+1 < len(cuts) {
			to = min(cuts[i+1], end)
		}
		if from >= start && to-from >= alignment {
			parts = append(parts, Extent{Start: from, Size: to - from, Logical: t.insideExtended(from)})
		}
	}
	return parts
}

func (t *Table) insideExtended(at size.Bytes) bool {
	return slices.ContainsFunc(t.Partitions, func(p Partition) bool {
		return p.Role == Extended && p.Start <= at && at < p.End()
	})
}
