package inventory

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Error is an error at a place of an inventory. Its text has three lines: the place and what
// is wrong, the line of the file, and a caret below the place.
type Error struct {
	Name string
	// Line and Column count from 1.
	Line, Column int
	Message      string
	// Source is the line of the file, "" if it must not be shown.
	Source string
}

func (e *Error) Error() string {
	if e.Source == "" {
		return e.Place()
	}
	return e.Place() + "\n" + e.Excerpt()
}

// Place returns the first line of the text.
func (e *Error) Place() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Message)
}

// Excerpt returns the lines after the first one, "" if there are none.
func (e *Error) Excerpt() string {
	if e.Source == "" {
		return ""
	}
	source, column := e.around()
	return fmt.Sprintf("  %s\n  %s^", source, strings.Repeat(" ", column-1))
}

// maxWidth is how much of a line is shown.
const maxWidth = 100

// around returns the part of the line around the column, as a terminal can show it, and the
// column in that part.
func (e *Error) around() (string, int) {
	line := []rune(e.Source)
	column := min(max(e.Column, 1), len(line)+1)
	if from := column - maxWidth*3/4; from > 0 {
		line, column = line[from:], column-from
	}
	line = line[:min(len(line), maxWidth)]
	for i, c := range line {
		if !unicode.IsPrint(c) {
			line[i] = ' '
		}
	}
	return string(line), column
}

// on returns an error at a node.
func (r *reader) on(n ast.Node, format string, args ...any) error {
	return r.at(n.GetToken(), format, args...)
}

// at returns an error at a token.
func (r *reader) at(t *token.Token, format string, args ...any) error {
	e := &Error{Name: r.name, Line: t.Position.Line, Column: t.Position.Column, Message: fmt.Sprintf(format, args...)}
	if i := e.Line - 1; i >= 0 && i < len(r.lines) && !strings.Contains(r.lines[i], ":key:") {
		e.Source = strings.TrimRight(r.lines[i], "\r")
	}
	return e
}
