package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// table has rows of cells under headings. Columns in right are aligned to the right.
// Columns in spare are left out, in that order, while the table is wider than the
// terminal.
type table struct {
	heads []string
	right map[int]bool
	spare []int
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// table prints the table without its empty columns. The last column is cut at the
// terminal's width.
func (p *page) table(t table) {
	widths := make([]int, len(t.heads))
	for _, row := range t.rows {
		for i, c := range row {
			row[i] = p.clean(c)
			if c != "" {
				widths[i] = max(widths[i], columns(row[i]), columns(t.heads[i]))
			}
		}
	}
	for _, i := range t.spare {
		if total(widths) > p.width() {
			widths[i] = 0
		}
	}
	p.raw(p.paint(bold, p.cells(t, widths, t.heads)))
	for _, row := range t.rows {
		p.raw(p.cells(t, widths, row))
	}
}

// total returns the width of a table with those columns.
func total(widths []int) int {
	sum := -2
	for _, n := range widths {
		if n > 0 {
			sum += n + 2
		}
	}
	return sum
}

func (p *page) cells(t table, widths []int, row []string) string {
	var b strings.Builder
	for i, n := range widths {
		switch {
		case n == 0:
			continue
		case b.Len() > 0:
			b.WriteString("  ")
		}
		left := p.width() - columns(b.String())
		if i == len(widths)-1 && n > left && left > 8 {
			n = left
		}
		if t.right[i] {
			b.WriteString(strings.Repeat(" ", n-columns(row[i])))
			b.WriteString(row[i])
			continue
		}
		b.WriteString(p.fit(row[i], n))
	}
	return strings.TrimRight(b.String(), " ")
}

// devices prints the table of the devices on the disk, as a tree.
func (p *page) devices(l *plan.Layout) {
	t := table{heads: []string{"DEVICE", "TYPE", "CONTENT", "SIZE", "USED", "MOUNTED", "NOTES"}, right: map[int]bool{3: true, 4: true}, spare: []int{1, 6, 2}}
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.Kind == plan.Partition || d.Kind == plan.Disk && !partitioned(l) {
			p.device(&t, l, d, "", "")
		}
	}
	p.table(t)
}

// device adds d and its children to the table. mark begins the row of d, indent the rows
// of the children.
func (p *page) device(t *table, l *plan.Layout, d *plan.Device, mark, indent string) {
	used := ""
	if n, known := usedOf(l, d); known && d.Content.Type != plan.ContentLUKS {
		used = n.String()
	}
	t.add(mark+d.Name, typeOf(d), contentOf(d), d.Size.String(), used, strings.Join(d.Content.Mounted, " "), note(d))
	below := children(l, d)
	for i, c := range below {
		mark, next := p.glyphs().branch, p.glyphs().bar
		if i == len(below)-1 {
			mark, next = p.glyphs().last, "  "
		}
		p.device(t, l, c, indent+mark, indent+next)
	}
}

func typeOf(d *plan.Device) string {
	switch d.Kind {
	case plan.Partition:
		return d.Type
	case plan.Crypt:
		return "opened LUKS"
	case plan.LV:
		return "LV"
	}
	return "disk"
}

// partitioned reports whether the disk has partitions. A layout from a plan file has
// partitions, but no table.
func partitioned(l *plan.Layout) bool {
	return slices.ContainsFunc(l.Devices, func(d plan.Device) bool { return d.Kind == plan.Partition })
}

// note returns a keyword for what is special about a device. A sentence below the table
// explains it.
func note(d *plan.Device) string {
	var notes []string
	if p := d.Content.Problem; p != nil {
		notes = append(notes, string(p.Reason))
	}
	switch d.Content.Role {
	case plan.RoleWindowsSystem:
		notes = append(notes, "starts Windows")
	case plan.RoleWindowsBoot:
		notes = append(notes, "has Windows")
	}
	if gap := unfilled(d); gap > 0 {
		notes = append(notes, fmt.Sprintf("%s smaller than its device", gap))
	}
	if d.Content.Label != "" {
		notes = append(notes, "label "+d.Content.Label)
	}
	return strings.Join(notes, ", ")
}

// unfilled returns how much of its device a file system leaves unused at the end.
func unfilled(d *plan.Device) size.Bytes {
	gap := d.Size - d.Content.Size
	if !d.Content.Growable() || d.Content.Size == 0 || d.Content.Fills(d.Size) {
		return 0
	}
	return gap
}
