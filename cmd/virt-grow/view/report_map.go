package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// diskMaps are one disk of a plan, before and after.
type diskMaps struct {
	Name          string
	Plan          *plan.Plan
	before, after *plan.DiskLayout
	parts         []diskPart
}

// diskPart is a part of the disk: a partition, or free space. Free space that changes is two
// parts, one before and one after.
type diskPart struct{ before, after *segment }

func newDiskMaps(name string, p *plan.Plan, before, after *plan.DiskLayout) diskMaps {
	in := page{Style: Style{Unicode: true}}
	return diskMaps{Name: name, Plan: p, before: before, after: after,
		parts: paired(in.segments(p.Before, before, nil), in.segments(p.After, after, changed(p)))}
}

// paired joins the parts of a disk before and after, in the order of their places after, or
// before for those that are gone. Partitions are joined by their names, free space if it is
// the same.
func paired(before, after []segment) (parts []diskPart) {
	joined := map[int]bool{}
	for i := range before {
		both := diskPart{before: &before[i]}
		for k := range after {
			if same := !after[k].free || after[k].start == before[i].start && after[k].bytes == before[i].bytes; same && after[k].name == before[i].name {
				both.after, joined[k] = &after[k], true
			}
		}
		parts = append(parts, both)
	}
	for k := range after {
		if !joined[k] {
			parts = append(parts, diskPart{after: &after[k]})
		}
	}
	slices.SortStableFunc(parts, func(a, b diskPart) int { return cmp.Compare(a.start(), b.start()) })
	return parts
}

func (p diskPart) start() size.Bytes {
	if p.after != nil {
		return p.after.start
	}
	return p.before.start
}

// Title names the disk and its sizes.
func (d diskMaps) Title() string {
	return strings.Join(strings.Fields("Disk "+d.Name), " ") + ": " + change(d.before.Size, d.after.Size)
}

// table has the numbers of the maps.
func (d diskMaps) table() reportTable {
	t := reportTable{Caption: "The same in numbers", Right: map[int]bool{0: true, 4: true, 5: true, 6: true, 7: true},
		Heads: []string{"No.", "Part", "Content", "Mounted at", "Start before", "Size before", "Start after", "Size after"}}
	for i, p := range d.parts {
		row := []cell{{Text: strconv.Itoa(i + 1)}, {}, {}, {}, {Text: "–"}, {Text: "–"}, {Text: "–"}, {Text: "–"}}
		for at, s := range []*segment{p.before, p.after} {
			if s != nil {
				row[1].Text, row[2].Text, row[3].Text = s.name, s.content, strings.Join(s.mounts, ", ")
				row[4+2*at], row[5+2*at] = bytesCell(s.start), bytesCell(s.bytes)
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Before and After are the two maps, to the same scale.
func (d diskMaps) Before() diskMap {
	return d.drawn("Before", d.before.Size, func(p diskPart) *segment { return p.before })
}

func (d diskMaps) After() diskMap {
	return d.drawn("After", d.after.Size, func(p diskPart) *segment { return p.after })
}

// diskMap is a map of a disk. Positions and widths are in percent of the larger disk's size.
type diskMap struct {
	// When is "Before" or "After".
	When  string
	Size  size.Bytes
	Width float64
	Boxes []mapBox
}

// mapBox is one part of the disk.
type mapBox struct {
	// Number is the row of the part in the table; the number is written at Key percent.
	Number int
	Key    float64
	X, W   float64
	Name   string
	// Size is the size of the part, with what it has gained.
	Size string
	// Room says where the box is wide enough for the two texts.
	NameRoom, SizeRoom room
	Free, Grown        bool
	// Used is the used share of the box in percent, if that is known.
	Used  float64
	Known bool
}

// Mid is the middle of the box.
func (b mapBox) Mid() float64 { return b.X + b.W/2 }

// UsedW is the width of the used share.
func (b mapBox) UsedW() float64 { return b.W * b.Used / 100 }

// room says on which pages a text fits into its box.
type room string

const (
	always   room = "always"
	onWide   room = "on-wide"   // on a wide page only
	onNarrow room = "on-narrow" // on a narrow page only
	never    room = ""
)

// The narrowest pages, in CSS pixels, and the widths of a character and of a box's edges.
const (
	narrowPage, widePage = 320, 640
	charWidth, edges     = 7.5, 10
)

// roomFor returns where a text fits into a box that is w percent wide.
func roomFor(text string, w float64) room {
	need := float64(columns(text))*charWidth + edges
	switch {
	case need <= w/100*narrowPage:
		return always
	case need <= w/100*widePage:
		return onWide
	}
	return never
}

func (d diskMaps) drawn(when string, disk size.Bytes, of func(diskPart) *segment) diskMap {
	whole := max(d.before.Size, d.after.Size)
	share := func(n size.Bytes) float64 { return 100 * float64(n) / float64(whole) }
	m := diskMap{When: when, Size: disk, Width: share(disk)}
	for i, p := range d.parts {
		s := of(p)
		if s == nil {
			continue
		}
		b := mapBox{Number: i + 1, X: share(s.start), W: share(s.bytes), Name: s.name, Size: s.size + s.more,
			Free: s.free, Grown: s.grown, Used: 100 * min(s.used, 1), Known: s.known}
		b.NameRoom, b.SizeRoom = roomFor(b.Name, b.W), roomFor(b.Size, b.W)
		m.Boxes = append(m.Boxes, b)
	}
	slices.SortFunc(m.Boxes, func(a, b mapBox) int { return cmp.Compare(a.X, b.X) })
	m.placeKeys()
	return m
}

// keyWidth is the room for a number below the map, in percent.
const keyWidth = 5.5

// placeKeys writes the numbers below the middle of the boxes, and moves those apart that
// would overlap.
func (m *diskMap) placeKeys() {
	room := min(keyWidth, 100/float64(max(1, len(m.Boxes))))
	at := room / 2
	for i := range m.Boxes {
		b := &m.Boxes[i]
		b.Key = max(b.Mid(), at)
		at = b.Key + room
	}
	limit := 100 - room/2
	for i := len(m.Boxes) - 1; i >= 0; i-- {
		b := &m.Boxes[i]
		b.Key = min(b.Key, limit)
		limit = b.Key - room
	}
}

// Text describes the map in a sentence, for those who do not see it.
func (m diskMap) Text() string {
	var parts []string
	for _, b := range m.Boxes {
		text := fmt.Sprintf("%d: %s, %s", b.Number, b.Name, b.Size)
		if b.Known {
			text += fmt.Sprintf(", %.0f %% used", b.Used)
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s: %s. %s.", m.When, m.Size, strings.Join(parts, "; "))
}
