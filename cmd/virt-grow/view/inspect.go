package view

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	ptable "github.com/virt-grow/virt-grow/plan/table"
)

// Inspection is all that inspect shows.
type Inspection struct {
	Target plan.Target
	Layout *plan.Layout
	// Growth says for every file system whether it can grow on a larger disk. Default is
	// the device that grows without --grow.
	Growth  []Growth
	Default string
	Notes   []string
	// Hint returns what to do about a refusal.
	Hint func(*plan.Refusal) string
}

// Growth says whether a file system can grow on a larger disk.
type Growth struct {
	Device  string   `json:"device"`
	Content string   `json:"content"`
	Mounted []string `json:"mounted,omitempty"`
	// Blocked is why the file system cannot grow.
	Blocked *plan.Refusal `json:"blocked,omitempty"`
	// Moves is how many bytes of other partitions have to move.
	Moves size.Bytes `json:"moves,omitempty"`
}

// Inspect prints what is on a disk, and what prevents it from growing.
func Inspect(w io.Writer, s Style, in Inspection) error {
	p := &page{Style: s}
	l := in.Layout
	p.head("%s", in.Target.Path)
	p.line("%s, %s (%d bytes), %s%s", containerOf(in.Target), l.Size, int64(l.Size), tableOf(l), osOf(l))
	for _, b := range in.Target.Backing {
		p.line("  on %s (%s)", b.Path, b.Format)
	}
	p.raw("")
	p.diskMap(l, &l.DiskLayout, p.width(), nil)
	p.raw("")
	p.devices(l)
	for _, g := range l.Groups {
		p.line("volume group %s: %s free%s", g.Name, g.Free, missing(g))
	}
	p.problems(in)
	p.growth(in)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func missing(g plan.Group) string {
	if g.Missing == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of its PVs are not on this disk", g.Missing)
}

func containerOf(t plan.Target) string {
	if t.Block {
		return "block device"
	}
	return t.Format
}

func tableOf(l *plan.Layout) string {
	if l.Table == nil && partitioned(l) {
		return fmt.Sprintf("sectors of %d bytes", int64(l.Sector))
	}
	if l.Table == nil {
		return fmt.Sprintf("no partition table, sectors of %d bytes", int64(l.Sector))
	}
	text := strings.ToUpper(string(l.Table.Kind))
	if l.Table.Hybrid {
		text = "GPT with a hybrid MBR"
	}
	return fmt.Sprintf("%s, sectors of %d bytes", text, int64(l.Sector))
}

func osOf(l *plan.Layout) string {
	if l.OS == nil || l.OS.Product == "" {
		return ""
	}
	text := ", " + l.OS.Product
	if l.OS.Type == "windows" {
		text += ", virtio drivers: " + cmp.Or(strings.Join(l.OS.Virtio, " "), "none")
	}
	return text
}

// problems prints problems and notes.
func (p *page) problems(in Inspection) {
	var told []string
	tell := func(mark, text string) {
		if len(told) == 0 {
			p.head("Notes")
		}
		told = append(told, text)
		p.paragraph("  "+mark+" ", "%s", text)
	}
	for _, problem := range tableProblems(in.Layout) {
		if problem.Fatal {
			tell("!", "partition table: "+problem.Text)
		} else {
			tell("-", "partition table: "+problem.Text)
		}
	}
	if r := in.Layout.Hibernated; r != nil && r.Reason == plan.Hibernated {
		tell("!", r.Text)
		p.hint("    ", in.hint(r))
	}
	for _, d := range in.Layout.Devices {
		if problem := d.Content.Problem; problem != nil {
			tell("!", problem.Text)
			p.hint("    ", in.hint(problem))
		}
		for _, n := range d.Content.Notes {
			tell("-", d.Name+": "+n)
		}
	}
	for _, n := range in.Notes {
		tell("-", n)
	}
}

func tableProblems(l *plan.Layout) []ptable.Problem {
	if l.Table == nil {
		return nil
	}
	return l.Table.Problems
}

func (in Inspection) hint(r *plan.Refusal) string {
	if in.Hint == nil || r == nil {
		return ""
	}
	return in.Hint(r)
}

func (p *page) hint(indent, text string) {
	if text != "" {
		p.paragraph(indent, "%s", text)
	}
}

// growth prints which file systems can grow on a larger disk.
func (p *page) growth(in Inspection) {
	if len(in.Growth) == 0 {
		return
	}
	p.head("If the disk grows")
	for _, g := range in.Growth {
		name := g.Device + " (" + strings.Join(append([]string{g.Content}, g.Mounted...), ", ") + ")"
		moving := ""
		if g.Moves > 0 {
			moving = fmt.Sprintf("; %s behind it move", g.Moves)
		}
		switch {
		case g.Blocked != nil:
			p.paragraph("  ! ", "%s", g.Blocked.Text)
			p.hint("    ", in.hint(g.Blocked))
		case g.Device == in.Default:
			p.paragraph("  - ", "%s grows, unless --grow says otherwise%s", name, moving)
		default:
			p.paragraph("  - ", "%s can grow: --grow %s%s", name, whereOf(g), moving)
		}
	}
}

// whereOf returns the name of the file system for --grow.
func whereOf(g Growth) string {
	if len(g.Mounted) > 0 {
		return g.Mounted[0]
	}
	return g.Device
}
