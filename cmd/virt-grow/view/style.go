// Package view is what people and machines read: disk maps, tables, progress,
// results, and the JSON documents. It is pure: values go in, text goes out to
// an io.Writer, and what a terminal is like comes in with Style. It asks
// nobody for the time, the width or the locale.
//
// Much of what it shows comes from inside a guest (labels, product names, the
// appliance's messages), so every text is cleaned of what a terminal could
// take for a command.
package view

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style is what the reader's terminal can do.
type Style struct {
	// Width is the number of columns; 0 is 80.
	Width int
	Color bool
	// Unicode is false where only ASCII can be shown.
	Unicode bool
}

// Widths that a view is drawn for; outside of them it is cut or left short.
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
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// glyphs are the characters that drawings are made of.
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

// plainly is what the plan's own texts use beyond ASCII.
var plainly = strings.NewReplacer("→", "->", "…", "...", "×", "x", "–", "-")

// clean makes text safe to print on one line: no control characters, no
// direction overrides, and ASCII alone where nothing else can be shown.
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

// Clean is clean for one-line messages that are written outside of a view.
func (s Style) Clean(text string) string { return s.clean(text) }

func columns(text string) int { return utf8.RuneCountInString(text) }

// fit cuts text to n columns, or pads it.
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

// page collects a view's lines.
type page struct {
	Style
	b strings.Builder
}

// line adds one line of text that is cleaned.
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

// paragraph adds wrapped text behind a mark; further lines are indented as
// far as the mark is wide.
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

// raw adds a line that is drawn already.
func (p *page) raw(text string) {
	p.b.WriteString(strings.TrimRight(text, " "))
	p.b.WriteByte('\n')
}
