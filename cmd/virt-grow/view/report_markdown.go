package view

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// reportWidth is the width of the disk maps in a report as text.
const reportWidth = 78

// markdownHead is the beginning of every report as text.
const markdownHead = "# Change record: "

// ReportMarkdown writes a report as GitHub-flavored Markdown.
func ReportMarkdown(w io.Writer, r Report, made time.Time) error {
	m := &markdown{page: page{Style: Style{Unicode: true, Width: reportWidth}}}
	m.report(reportOf(r, made))
	_, err := io.WriteString(w, m.b.String())
	return err
}

// markdown writes Markdown. What comes from outside of the program is escaped, so that no
// label of a guest becomes markup, a link or HTML.
type markdown struct{ page }

func (m *markdown) report(r reportPage) {
	m.raw(markdownHead + m.text(r.Title))
	m.raw("\n**" + m.text(r.Result.Text) + ".** " + m.text(r.Text) + "\n")
	m.content(r, "##")
	for _, g := range r.Guests {
		m.raw("\n## " + m.text(g.Title))
		m.raw("\n**" + m.text(g.Result.Text) + ".** " + m.text(g.Text) + "\n")
		m.content(g, "###")
	}
	m.raw("\n---\n")
	m.raw("Made by virt-grow report at " + m.text(r.Made) + ".")
}

// content writes the facts and sections of a page. The sections' titles begin with level.
func (m *markdown) content(r reportPage, level string) {
	m.facts(r.Facts)
	for _, s := range r.Sections {
		m.raw("\n" + level + " " + m.text(s.Title) + "\n")
		m.section(s)
	}
}

func (m *markdown) section(s section) {
	for _, d := range s.Maps {
		m.maps(d)
	}
	m.facts(s.Facts)
	for i, t := range s.Tables {
		if i > 0 || len(s.Facts) > 0 {
			m.raw("")
		}
		m.reportTable(t)
	}
	for _, text := range s.Paragraphs {
		m.raw(m.text(text))
	}
	for _, text := range s.List {
		m.raw("- " + m.text(text))
	}
	if len(s.Commands) > 0 {
		m.raw("")
		m.fence(func() {
			for _, c := range s.Commands {
				m.raw(m.clean(c.Line) + "   # " + m.clean(c.What))
			}
		})
	}
}

func (m *markdown) facts(facts []fact) {
	if len(facts) == 0 {
		return
	}
	m.raw("| | |\n| --- | --- |")
	for _, f := range facts {
		m.raw("| " + m.text(f.Name) + " | " + m.text(f.Text) + " |")
	}
}

func (m *markdown) reportTable(t reportTable) {
	m.raw(m.text(t.Caption) + ":\n")
	marks := slices.Clone(t.Heads)
	for i := range marks {
		marks[i] = "---"
		if t.Right[i] {
			marks[i] = "--:"
		}
	}
	m.raw("| " + strings.Join(t.Heads, " | ") + " |\n| " + strings.Join(marks, " | ") + " |")
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = m.text(c.Text)
		}
		m.raw("| " + strings.Join(cells, " | ") + " |")
	}
}

// maps draws a disk before and after as text.
func (m *markdown) maps(d diskMaps) {
	grown := changed(d.Plan)
	ratio := max(float64(d.before.Size)/float64(d.after.Size), smallestBefore)
	m.raw(m.text(d.Title()) + ":\n")
	m.fence(func() {
		m.line("Before: %s", d.before.Size)
		m.diskMap(d.Plan.Before, d.before, int(ratio*float64(m.width())+0.5), nil)
		m.line("After: %s", d.after.Size)
		m.diskMap(d.Plan.After, d.after, m.width(), grown)
	})
	m.raw("")
}

// fence writes lines that are shown as they are. None of them begins with the fence.
func (m *markdown) fence(lines func()) {
	m.raw("```text")
	lines()
	m.raw("```")
}

var (
	// special has the characters that are markup anywhere in a text.
	special = regexp.MustCompile("[\\\\`*_\\[\\]<>|~&#$@]")
	// linked are the texts that GitHub makes links without any markup.
	linked = regexp.MustCompile(`(?i)(://|www\.|xmpp:|mailto:)`)
)

// text escapes text for Markdown.
func (m *markdown) text(s string) string {
	s = special.ReplaceAllString(m.clean(s), `\$0`)
	return linked.ReplaceAllStringFunc(s, func(link string) string {
		at := strings.IndexAny(link, ":.")
		return fmt.Sprintf(`%s\%s`, link[:at], link[at:])
	})
}
