package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// segment is one box of a disk map: a partition, the whole disk, or free space.
type segment struct {
	name, content, size string
	more                string // by how much it grew
	mounts              []string
	start, bytes        size.Bytes
	// used is the used share of the content, from 0 to 1; known reports that it is known.
	used  float64
	known bool
	free  bool
	grown bool
}

// diskMap draws a disk of a layout to scale, width columns wide. It marks the devices in grown,
// which has the bytes that they have gained.
func (p *page) diskMap(l *plan.Layout, disk *plan.DiskLayout, width int, grown map[string]size.Bytes) {
	segments := p.segments(l, disk, grown)
	widths := share(segments, width-len(segments)-1)
	if widths == nil {
		p.line("  (%d partitions: too many to draw in %d columns)", len(segments), width)
		return
	}
	g := p.glyphs()
	p.rule(widths, g.topLeft, g.topMid, g.topRight)
	p.row(segments, widths, func(s segment, n int) string { return p.fit(s.name, n) })
	p.row(segments, widths, func(s segment, n int) string {
		return p.fit(strings.TrimRight(s.content+" "+strings.Join(s.mounts, " "), " "), n)
	})
	p.row(segments, widths, func(s segment, n int) string {
		// A number that is cut off would mislead.
		for _, text := range []string{s.size + s.more, s.size} {
			if columns(text) <= n {
				return p.fit(text, n)
			}
		}
		return strings.Repeat(" ", n)
	})
	p.row(segments, widths, p.shading)
	p.rule(widths, g.bottomLeft, g.bottomMid, g.bottomRight)
}

func (p *page) rule(widths []int, left, mid, right string) {
	parts := make([]string, len(widths))
	for i, n := range widths {
		parts[i] = strings.Repeat(p.glyphs().top, n)
	}
	p.raw(left + strings.Join(parts, mid) + right)
}

func (p *page) row(segments []segment, widths []int, cell func(segment, int) string) {
	side := p.glyphs().side
	var b strings.Builder
	b.WriteString(side)
	for i, s := range segments {
		text := cell(s, widths[i])
		switch {
		case s.grown:
			text = p.paint(green, text)
		case s.free:
			text = p.paint(dim, text)
		}
		b.WriteString(text + side)
	}
	p.raw(b.String())
}

// shading shows how much of a box is used.
func (p *page) shading(s segment, n int) string {
	g := p.glyphs()
	switch {
	case s.free:
		return strings.Repeat(g.free, n)
	case !s.known:
		return strings.Repeat(" ", n)
	}
	full := int(s.used*float64(n) + 0.5)
	if s.used > 0 {
		full = max(full, 1)
	}
	full = min(full, n)
	return strings.Repeat(g.used, full) + strings.Repeat(g.unused, n-full)
}

// segments returns the disk's partitions and gaps in the order of their offsets, with the
// logical partitions in the place of the extended one.
func (p *page) segments(l *plan.Layout, disk *plan.DiskLayout, grown map[string]size.Bytes) []segment {
	var parts []*plan.Device
	for i := range l.Devices {
		if d := &l.Devices[i]; d.Kind == plan.Partition && !d.Extended && d.Parent == disk.Name() {
			parts = append(parts, d)
		}
	}
	if device, _ := l.Find(disk.Name()); len(parts) == 0 && disk.Table == nil && device.Content.Type != plan.ContentNone {
		return []segment{p.box(l, device, grown)}
	}
	if len(parts) == 0 {
		return []segment{p.gap(0, disk.Size)}
	}
	slices.SortFunc(parts, func(a, b *plan.Device) int { return cmp.Compare(a.Start, b.Start) })
	var out []segment
	var at size.Bytes
	for _, d := range parts {
		if d.Start-at > plan.Granule {
			out = append(out, p.gap(at, d.Start))
		}
		out = append(out, p.box(l, d, grown))
		at = max(at, d.End())
	}
	if disk.Size-at > plan.Granule {
		out = append(out, p.gap(at, disk.Size))
	}
	return out
}

func (p *page) gap(from, to size.Bytes) segment {
	return segment{name: "free", size: (to - from).String(), start: from, bytes: to - from, free: true}
}

func (p *page) box(l *plan.Layout, d *plan.Device, grown map[string]size.Bytes) segment {
	s := segment{name: p.clean(d.Name), content: p.clean(contentOf(d)), size: d.Size.String(), start: d.Start, bytes: d.Size}
	if more := grown[d.Name]; more > 0 {
		s.grown, s.more = true, " (+"+more.String()+")"
	}
	for _, where := range mounts(l, d) {
		s.mounts = append(s.mounts, p.clean(where))
	}
	used, known := usedOf(l, d)
	if known && d.Size > 0 {
		s.used, s.known = float64(used)/float64(d.Size), true
	}
	return s
}

// usedOf returns how much of a device is in use, and whether that is known.
func usedOf(l *plan.Layout, d *plan.Device) (size.Bytes, bool) {
	if d.Content.Growable() && d.Content.Problem == nil || d.Content.Type == plan.ContentPV {
		return d.Content.Used, true
	}
	if d.Content.Type != plan.ContentLUKS {
		return d.Content.Used, d.Content.Used > 0
	}
	for _, c := range children(l, d) {
		return usedOf(l, c)
	}
	return 0, false
}

// mounts returns the mount points and drive letters of d and all devices on it.
func mounts(l *plan.Layout, d *plan.Device) []string {
	where := slices.Clone(d.Content.Mounted)
	for _, c := range children(l, d) {
		where = append(where, mounts(l, c)...)
	}
	return where
}

// children returns the devices directly on d. The volumes of a group are children of the
// group's last PV on this disk.
func children(l *plan.Layout, d *plan.Device) []*plan.Device {
	var out []*plan.Device
	for i := range l.Devices {
		c := &l.Devices[i]
		on := c.Kind == plan.Crypt && c.Parent == d.Name ||
			c.Kind == plan.LV && d.Content.Type == plan.ContentPV && lastPV(l, c.Group) == d.Name
		if on {
			out = append(out, c)
		}
	}
	return out
}

func lastPV(l *plan.Layout, group string) string {
	name := ""
	for _, d := range l.Devices {
		if d.Content.Type == plan.ContentPV && d.Content.Group == group {
			name = d.Name
		}
	}
	return name
}

// contentOf returns the name of a device's content, for people.
func contentOf(d *plan.Device) string {
	switch c := d.Content; c.Type {
	case plan.ContentNone:
		if d.Extended {
			return "logical partitions"
		}
		return "-"
	case plan.ContentPV:
		if c.Group == "" {
			return "LVM PV"
		}
		return "LVM PV of " + c.Group
	case plan.ContentLUKS:
		return "LUKS"
	default:
		return c.Type
	}
}

// narrowest returns the smallest width of a box: its name fits.
func narrowest(s segment) int { return min(max(columns(s.name), 4), 12) }

// share returns the width of every box in columns: to scale, but at least the narrowest
// width of the box. It returns nil if there are not enough columns.
func share(segments []segment, total int) []int {
	widths := make([]int, len(segments))
	fixed := make([]bool, len(segments))
	for {
		room, bytes := total, 0.0
		for i, s := range segments {
			if fixed[i] {
				room -= widths[i]
			} else {
				bytes += float64(s.bytes)
			}
		}
		if room < 0 {
			return nil
		}
		if again := scale(segments, widths, fixed, room, bytes); !again {
			break
		}
	}
	return widths
}

// scale distributes room over the boxes that are not fixed. It fixes the boxes that would
// be narrower than their minimum, and reports whether there were any.
func scale(segments []segment, widths []int, fixed []bool, room int, bytes float64) bool {
	again := false
	var done, given = 0.0, 0
	for i, s := range segments {
		if fixed[i] {
			continue
		}
		// Rounding the running sum distributes the remainder evenly.
		done += float64(s.bytes)
		upTo := int(done/bytes*float64(room) + 0.5)
		widths[i] = upTo - given
		given = upTo
		if widths[i] < narrowest(s) {
			widths[i], fixed[i], again = narrowest(s), true, true
		}
	}
	return again
}
