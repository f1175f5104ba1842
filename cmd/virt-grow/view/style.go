// Package view prints disk maps, tables, progress and results for people, and JSON
// documents and events for programs. It turns values into text on an io.Writer. Time,
// width and locale are passed in (Style); the package never asks the system for them.
//
// Much of the text comes from inside a guest (labels, product names, messages of the
// appliance), so control characters are removed from every text.
package view

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style describes the reader's terminal.
type Style struct {
	// Width is the number of columns; 0 is 80.
	Width int
	Color bool
	// Unicode is false if the terminal can only show ASCII.
	Unicode bool
}

// The widths of a view, in columns.
const (
	minWidth     = 40
	maxWidth     = 160
	defaultWidth = 80
)

func (s Style) width() int {
	if s.Width == 0 {
		return defaultWidth
	}
	return min(max(s.Width, minWidth), maxWidth)
}

// SGR codes, ECMA-48.
const (
	plainText = "0"
	bold      = "1"
	dim       = "2"
	red       = "31"
	green     = "32"
	yellow    = "33"
)

// unpaint ends a color.
const unpaint = "\x1b[" + plainText + "m"

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + unpaint
}

// glyphs are the characters of drawings.
type glyphs struct {
	topLeft, top, topMid, topRight             string
	bottomLeft, bottomMid, bottomRight, side   string
	used, unused, free, cut, branch, last, bar string
}

var lines = glyphs{
	topLeft: "┌", top: "─", topMid: "┬", topRight: "┐",
	bottomLeft: "└", bottomMid: "┴", bottomRight: "┘", side: "│",
	used: "█", unused: "░", free: "·", cut: "…", branch: "├─", last: "└─", bar: "│ ",
}

var ascii = glyphs{
	topLeft: "+", top: "-", topMid: "+", topRight: "+",
	bottomLeft: "+", bottomMid: "+", bottomRight: "+", side: "|",
	used: "#", unused: ".", free: " ", cut: "~", branch: "|-", last: "`-", bar: "| ",
}

func (s Style) glyphs() glyphs {
	if s.Unicode {
		return lines
	}
	return ascii
}

// plainly replaces the characters beyond ASCII that the program's own texts use.
var plainly = strings.NewReplacer("→", "->", "…", "...", "×", "x", "–", "-")

// clean makes text safe to print on one line: without control characters and direction
// overrides, and only ASCII on a terminal without Unicode.
func (s Style) clean(text string) string {
	if !s.Unicode {
		text = plainly.Replace(text)
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		case !s.Unicode && r > unicode.MaxASCII:
			return '?'
		}
		return r
	}, text)
}

// Clean does the same for one-line messages that are not written by a view.
func (s Style) Clean(text string) string { return s.clean(text) }

func columns(text string) int { return utf8.RuneCountInString(text) }

// fit cuts or pads text to n columns.
func (s Style) fit(text string, n int) string {
	if n <= 0 {
		return ""
	}
	have := columns(text)
	if have <= n {
		return text + strings.Repeat(" ", n-have)
	}
	return string([]rune(text)[:n-1]) + s.glyphs().cut
}

// wrap breaks text into lines of at most n columns, at spaces.
func wrap(text string, n int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= n:
			line += " " + word
		default:
			out = append(out, line)
			line = word
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// page collects the lines of a view.
type page struct {
	Style
	b strings.Builder
}

// line adds one line of cleaned text.
func (p *page) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(p.clean(fmt.Sprintf(format, args...)), " "))
	p.b.WriteByte('\n')
}

// head adds a heading after an empty line, unless it is the first.
func (p *page) head(format string, args ...any) {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	p.b.WriteString(p.paint(bold, p.clean(fmt.Sprintf(format, args...))))
	p.b.WriteByte('\n')
}

var unpainted = regexp.MustCompile("\x1b\\[[0-9]*m")

// paragraph adds wrapped text after a mark. Further lines are indented by the width of
// the mark.
func (p *page) paragraph(mark, format string, args ...any) {
	indent := strings.Repeat(" ", columns(unpainted.ReplaceAllString(mark, "")))
	for i, l := range wrap(p.clean(fmt.Sprintf(format, args...)), p.width()-len(indent)) {
		if i == 0 {
			p.b.WriteString(mark + l + "\n")
			continue
		}
		p.b.WriteString(indent + l + "\n")
	}
}

// raw adds a finished line.
func (p *page) raw(text string) {
	p.b.WriteString(strings.TrimRight(text, " "))
	p.b.WriteByte('\n')
}
