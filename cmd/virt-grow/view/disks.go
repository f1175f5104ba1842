package view

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// Disks prints a domain's disks. hint returns what to do about a warning.
func Disks(w io.Writer, s Style, l *plan.DiskList, hint func(*plan.Refusal) string) error {
	p := &page{Style: s}
	p.head("%s: %s", l.Domain, l.State)
	if len(l.Disks) == 0 {
		p.line("the domain has no disks")
	} else {
		p.diskTable(l.Disks)
		p.raw("")
		p.sources(l.Disks)
		p.diskWarnings(l.Disks, hint)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *page) diskTable(disks []plan.ListedDisk) {
	t := table{heads: []string{"DISK", "DEVICE", "BUS", "FORMAT", "SIZE", "ON HOST", "CHAIN"},
		right: map[int]bool{4: true, 5: true, 6: true}}
	for _, d := range disks {
		device, size, allocated, depth := d.Device, "", "", ""
		if device == "disk" {
			device = "" // nearly all disks are of this kind
		}
		if d.Size > 0 {
			size, allocated, depth = d.Size.String(), d.Allocated.String(), strconv.Itoa(d.Depth)
		}
		t.add(mark(d)+d.Target, device, d.Bus, d.Format, size, allocated, depth)
	}
	p.table(t)
}

// mark returns a keyword for a disk with a problem.
func mark(d plan.ListedDisk) string {
	if len(d.Warnings) > 0 {
		return "! "
	}
	return "  "
}

// inside returns a summary of a disk's content: its system, and its file systems by mount
// point or label.
func inside(in *plan.Inside) string {
	switch {
	case in == nil:
		return ""
	case !in.Current:
		return "written to since the last inspection (" + clock(in.At) + ")"
	case len(in.Contents) == 0:
		return "nothing (inspected " + clock(in.At) + ")"
	}
	var parts []string
	if in.OS != "" {
		parts = append(parts, in.OS)
	}
	for _, c := range in.Contents {
		if carrier[c.Type] {
			continue // the list has the devices on it
		}
		name := c.Type
		if len(c.Mounted) > 0 {
			name += " " + strings.Join(c.Mounted, " ")
		} else if c.Label != "" {
			name += fmt.Sprintf(" %q", c.Label)
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ") + " (inspected " + clock(in.At) + ")"
}

var carrier = map[string]bool{plan.ContentPV: true}

// sources prints where each disk is, and what is inside. Paths are not cut, so that they
// can be copied.
func (p *page) sources(disks []plan.ListedDisk) {
	n := 0
	for _, d := range disks {
		n = max(n, columns(d.Target))
	}
	for _, d := range disks {
		where := d.Source
		if where == "" {
			where = "(empty)"
		}
		p.line("%-*s  %s%s", n, d.Target, where, remarks(d))
		for _, b := range d.Backing {
			p.line("%-*s  on %s (%s)", n, "", b.Path, b.Format)
		}
		if text := inside(d.Inside); text != "" {
			p.paragraph(strings.Repeat(" ", n+2)+"inside: ", "%s", text)
		}
	}
}

// remarks returns the properties that few disks have.
func remarks(d plan.ListedDisk) string {
	var parts []string
	if d.Volume != "" && d.Volume != d.Source {
		parts = append(parts, "volume "+d.Volume)
	}
	if d.Serial != "" {
		parts = append(parts, "serial "+d.Serial)
	}
	if d.Cache != "" {
		parts = append(parts, "cache "+d.Cache)
	}
	if d.ReadOnly && d.Device == "disk" {
		parts = append(parts, "read-only")
	}
	if d.Shareable {
		parts = append(parts, "shareable")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (p *page) diskWarnings(disks []plan.ListedDisk, hint func(*plan.Refusal) string) {
	for _, d := range disks {
		for _, w := range d.Warnings {
			p.raw("")
			p.paragraph("! ", "%s", w.Text)
			p.hint("  ", hint(w))
		}
	}
}

// DiskListDocument is what disk list --json prints.
type DiskListDocument struct {
	Schema string `json:"schema"`
	plan.DiskList
}

// DisksJSON writes the document of a domain's disks.
func DisksJSON(w io.Writer, l *plan.DiskList) error {
	return Document(w, DiskListDocument{Schema("disk-list"), *l})
}
