package table

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// extent is a part of the disk that is in use.
type extent struct {
	start, end size.Bytes
	what       string
}

func (p Partition) extent() extent {
	return extent{p.Start, p.End(), fmt.Sprintf("partition %d", p.Number)}
}

// collision is two extents that share bytes.
type collision struct {
	a, b extent
	by   size.Bytes
}

// overlaps sorts the extents and finds those that share bytes.
func overlaps(used []extent) (found []collision) {
	slices.SortStableFunc(used, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	var last extent // the extent with the highest end so far
	for _, e := range used {
		if e.start < last.end && e.end > e.start {
			found = append(found, collision{e, last, min(e.end, last.end) - e.start})
		}
		if e.end > last.end {
			last = e
		}
	}
	return found
}

func (t *Table) checkOverlap(used []extent) {
	for _, c := range overlaps(used) {
		t.problem(Overlap, "%s overlaps %s by %s", c.a.what, c.b.what, c.by)
	}
}

// levels separates the extents directly on the disk from those inside the extended
// partition.
func levels(parts []Partition, ebrs []extent) (outer, inner []extent) {
	inner = ebrs
	for _, p := range parts {
		if p.Role == Logical {
			inner = append(inner, p.extent())
		} else {
			outer = append(outer, p.extent())
		}
	}
	return outer, inner
}

// checkEnd reports partitions that end beyond the disk.
func (t *Table) checkEnd() {
	disk := t.offset(t.sectorsOf(t.DiskSize))
	for _, p := range t.Partitions {
		if over := p.End() - disk; over > 0 {
			t.problem(BeyondEnd, "partition %d ends %s beyond the end of the disk", p.Number, over)
		}
	}
}

func (t *Table) checkGPT(h header) {
	t.checkEnd()
	first, end := t.offset(h.at(gptFirstUsable)), t.offset(h.at(gptLastUsable)+1)
	used := []extent{{0, t.offset(h.at(gptEntriesLBA) + h.entriesSectors()), "the partition table"}}
	if h.at(gptMyLBA) != 1 {
		used = nil // a backup: checkEnd has checked everything before it
	}
	for _, p := range t.Partitions {
		used = append(used, p.extent())
		if p.Start < first || p.End() > end {
			t.problem(OutsideUsable, "partition %d is not within the sectors the GPT calls usable", p.Number)
		}
	}
	t.checkOverlap(used)
}

func (t *Table) checkMBR() {
	t.checkEnd()
	for _, p := range t.Partitions {
		if p.Role != Logical {
			continue
		}
		container, _ := t.Partition(t.mbr[p.Number].container)
		if p.Start < container.Start || p.End() > container.End() {
			t.problem(LogicalOutside, "logical partition %d is not inside the extended partition %d", p.Number, container.Number)
		}
	}
	var ebrs []extent
	for _, e := range t.ebrs {
		ebrs = append(ebrs, t.ebrExtent(e.lba))
	}
	outer, inner := levels(t.Partitions, ebrs)
	t.checkOverlap(append([]extent{{0, t.SectorSize, "the partition table"}}, outer...))
	t.checkOverlap(inner)
}

func (t *Table) ebrExtent(lba uint64) extent {
	start := t.offset(lba)
	return extent{start, start + t.SectorSize, fmt.Sprintf("the extended boot record at sector %d", lba)}
}
