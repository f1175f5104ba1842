package table

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// extent is a used part of the disk.
type extent struct {
	start, end size.Bytes
	what       string
}

func (p Partition) extent() extent {
	return extent{p.Start, p.End(), fmt.Sprintf("partition %d", p.Number)}
}

// checkOverlap reports extents that share sectors.
func (t *Table) checkOverlap(used []extent) {
	slices.SortStableFunc(used, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	var last extent // the one that reaches farthest so far
	for _, e := range used {
		if e.start < last.end && e.end > e.start {
			t.problem(Overlap, "%s overlaps %s by %s", e.what, last.what, min(e.end, last.end)-e.start)
		}
		if e.end > last.end {
			last = e
		}
	}
}

// checkEnd reports partitions that the disk is too short for.
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
		used = nil // a backup: checkEnd has looked at all that is before it
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
	outer := []extent{{0, t.SectorSize, "the partition table"}}
	var inner []extent
	for _, e := range t.ebrs {
		start := t.offset(e.lba)
		inner = append(inner, extent{start, start + t.SectorSize, fmt.Sprintf("the extended boot record at sector %d", e.lba)})
	}
	for _, p := range t.Partitions {
		if p.Role != Logical {
			outer = append(outer, p.extent())
			continue
		}
		inner = append(inner, p.extent())
		container, _ := t.Partition(t.mbr[p.Number].container)
		if p.Start < container.Start || p.End() > container.End() {
			t.problem(LogicalOutside, "logical partition %d is not inside the extended partition %d", p.Number, container.Number)
		}
	}
	t.checkOverlap(outer)
	t.checkOverlap(inner)
}
