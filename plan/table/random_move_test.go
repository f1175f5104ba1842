package table_test

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// slot is a place that can be moved, in sectors: a partition, together with its EBR if
// that moves too.
type slot struct {
	index      int // in the list of partitions
	start, end int64
	movable    bool // its start is not fixed
	deletable  bool
}

// outcome is the new place of a slot.
type outcome struct {
	slot
	deleted bool
}

// randomOutcomes draws the places from right to left, so that a slot may use space that
// a slot to its right has left. One slot may jump over the others to the end.
func randomOutcomes(t *rapid.T, slots []slot, end int64) []outcome {
	slices.SortFunc(slots, func(a, b slot) int { return int(b.start - a.start) })
	var list []outcome
	if jumper, ok := randomJump(t, slots, end); ok {
		i := slices.IndexFunc(slots, func(s slot) bool { return s.index == jumper.index })
		slots = slices.Delete(slices.Clone(slots), i, i+1)
		list, end = append(list, outcome{slot: jumper}), jumper.start
	}
	for _, s := range slots {
		o := outcome{slot: s}
		switch oneOf(t, "what", "keep", "grow", "move", "move", "move", "delete") {
		case "grow":
			o.end += between(t, 0, end-s.end, "grow by")
		case "move":
			if s.movable {
				room := end - s.end
				by := oneOf(t, "move by", room, room/2, between(t, 0, room, "move by sectors"))
				more := between(t, 0, room-by, "and grow by")
				o.start, o.end = o.start+by, o.end+by+more
			}
		case "delete":
			o.deleted = s.deletable
		}
		if list = append(list, o); !o.deleted {
			end = o.start
		}
	}
	return list
}

// randomJump draws a slot that jumps, if there is space between the rightmost slot and
// the end.
func randomJump(t *rapid.T, slots []slot, end int64) (slot, bool) {
	if len(slots) < 2 || !rapid.Bool().Draw(t, "jump") {
		return slot{}, false
	}
	s := slots[between(t, 1, int64(len(slots)-1), "jumper")]
	if !s.movable || end-slots[0].end < s.end-s.start {
		return slot{}, false
	}
	s.start, s.end = end-(s.end-s.start), end
	return s, true
}

// change describes how a partition gets from one place to another.
func change(number int, from, to outcome, sector int64) table.Change {
	c := table.Change{Number: number, End: size.Bytes(to.end * sector)}
	if to.start != from.start {
		c.Start = size.Bytes(to.start * sector)
	}
	return c
}

// rearrange draws a new layout for a GPT on a disk of that many sectors.
func (s gptSpec) rearrange(t *rapid.T, sectors int64) (gptSpec, []table.Change) {
	mirrored := func(p gptPart) bool { return s.pmbr == pmbrHybrid && p.first == 2048 }
	var slots []slot
	for i, p := range s.parts {
		slots = append(slots, slot{i, p.first, p.last + 1, !mirrored(p), !mirrored(p)})
	}
	after, changes := s, []table.Change(nil)
	after.parts = nil
	for _, o := range randomOutcomes(t, slots, sectors-1-s.arraySectors()) {
		p := s.parts[o.index]
		if o.deleted {
			changes = append(changes, table.Change{Number: p.number, Delete: true})
			continue
		}
		from := outcome{slot: slot{start: p.first, end: p.last + 1}}
		if o.start != from.start || o.end != from.end || rapid.Bool().Draw(t, "say so") {
			changes = append(changes, change(p.number, from, o, s.sector))
		}
		p.first, p.last = o.start, o.end-1
		after.parts = append(after.parts, p)
	}
	return after, changes
}

// rearrange draws a new layout for an MBR on a disk of that many sectors. It keeps at
// least one partition.
func (s mbrSpec) rearrange(t *rapid.T, sectors int64) (mbrSpec, []table.Change) {
	var slots []slot
	for i, p := range s.parts {
		empty := p.typ != 0x05 && p.typ != 0x0F && p.typ != 0x85 || len(s.logicals) == 0
		slots = append(slots, slot{i, p.start, p.start + p.count, true, empty && len(s.parts) > 1 && i > 0})
	}
	after, changes, limit := s, []table.Change(nil), min(sectors, 1<<32)
	after.parts, after.sectors, after.extra = nil, sectors, 0
	ext, _ := s.extended()
	for _, o := range randomOutcomes(t, slots, limit) {
		p := s.parts[o.index]
		if o.deleted {
			changes = append(changes, table.Change{Number: p.number, Delete: true})
			continue
		}
		from := outcome{slot: slot{start: p.start, end: p.start + p.count}}
		if o.start != from.start || o.end != from.end || p != ext && rapid.Bool().Draw(t, "say so") {
			changes = append(changes, change(p.number, from, o, s.sector))
		}
		p.start, p.count = o.start, o.end-o.start
		after.parts = append(after.parts, p)
	}
	return s.rearrangeLogicals(t, after, changes, ext)
}

// rearrangeLogicals moves the logical partitions with the extended one, and then within
// it. They stay inside its old length, because the space behind it may be used.
func (s mbrSpec) rearrangeLogicals(t *rapid.T, after mbrSpec, changes []table.Change, ext mbrPart) (mbrSpec, []table.Change) {
	now, ok := after.extended()
	if !ok || len(s.logicals) == 0 {
		return after, changes
	}
	along := now.start - ext.start
	gone := len(s.logicals) - int(between(t, 0, int64(len(s.logicals)), "delete logicals")*between(t, 0, 1, "some"))
	kept := slices.Clone(s.logicals[:gone])
	var slots []slot
	for i, l := range kept {
		kept[i].ebr, kept[i].start = l.ebr+along, l.start+along
		at := slot{i, kept[i].ebr, kept[i].start + l.count, true, false}
		if i == 0 { // its EBR stays, and no partition may jump between the two
			at.start = kept[i].start
		}
		kept[i].span = s.link(i)
		slots = append(slots, at)
	}
	for i := gone; i < len(s.logicals); i++ {
		changes = append(changes, table.Change{Number: 5 + i, Delete: true})
	}
	for _, o := range randomOutcomes(t, slots, now.start+now.count) {
		i := o.index
		was := slots[slices.IndexFunc(slots, func(s slot) bool { return s.index == i })]
		if o.slot == was {
			continue
		}
		by := o.start - was.start
		kept[i].count = o.end - kept[i].start - by
		kept[i].start += by
		kept[i].span -= by
		if i > 0 {
			kept[i].ebr += by
		} else {
			kept[i].span = 0 // no link points to this EBR
		}
		c := table.Change{Number: 5 + i, End: size.Bytes(o.end * s.sector)}
		if by+along != 0 {
			c.Start = size.Bytes(kept[i].start * s.sector)
		}
		changes = append(changes, c)
	}
	after.logicals = kept
	return after, changes
}
