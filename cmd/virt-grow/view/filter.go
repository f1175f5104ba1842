package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// TextFilter passes on text that another host has sent. Text, line breaks and tabs pass. On a
// terminal, the control sequences that the views of this package write pass as well, and the
// cursor moves up at most as many lines as have passed. All else becomes question marks.
type TextFilter struct {
	w    io.Writer
	live bool
	// pending is the beginning of a character or of a control sequence.
	pending []byte
	rows    int
	painted bool
}

// NewTextFilter returns a filter in front of w; live reports that w is a terminal.
func NewTextFilter(w io.Writer, live bool) *TextFilter { return &TextFilter{w: w, live: live} }

// Write passes text on; it may hold back the few bytes of an incomplete character.
func (f *TextFilter) Write(p []byte) (int, error) {
	text := slices.Concat(f.pending, p)
	var out bytes.Buffer
	for len(text) > 0 {
		n := f.next(&out, text)
		if n == 0 {
			break
		}
		text = text[n:]
	}
	f.pending = slices.Clone(text)
	_, err := f.w.Write(out.Bytes())
	return len(p), err
}

// Close passes on what was held back, and ends colors.
func (f *TextFilter) Close() error {
	end := strings.Repeat("?", len(f.pending))
	if f.painted {
		end += unpaint
	}
	f.pending, f.painted = nil, false
	_, err := io.WriteString(f.w, end)
	return err
}

// next passes one character or control sequence on, and returns its length; 0 if its end is
// missing.
func (f *TextFilter) next(out *bytes.Buffer, text []byte) int {
	if text[0] == escape && f.live {
		if unfinishedSequence.Match(text) {
			return 0
		}
		if s := f.sequence(text); s != nil {
			out.Write(s)
			return len(s)
		}
	}
	if !utf8.FullRune(text) {
		return 0
	}
	r, n := utf8.DecodeRune(text)
	switch {
	case r == '\n':
		f.rows++
	case r == '\t', r == '\r' && f.live, unicode.IsPrint(r) && (r != utf8.RuneError || n > 1):
	default:
		out.WriteByte('?')
		return n
	}
	out.Write(text[:n])
	return n
}

const escape = '\x1b'

// The control sequences of this package's views (ECMA-48: SGR, EL, ED, CUU), and the beginning
// of one.
var (
	aSequence          = regexp.MustCompile(`^\x1b\[(?:([0-9]{1,2})m|K|J|([0-9]{1,4})A)`)
	unfinishedSequence = regexp.MustCompile(`^\x1b(?:\[[0-9]{0,4})?$`)
)

// sequence returns the control sequence at the beginning of text; nil if it may not pass.
func (f *TextFilter) sequence(text []byte) []byte {
	found := aSequence.FindSubmatch(text)
	switch {
	case found == nil:
		return nil
	case len(found[1]) > 0:
		code := string(found[1])
		if !slices.Contains([]string{plainText, bold, dim, red, green, yellow}, code) {
			return nil
		}
		f.painted = code != plainText
	case len(found[2]) > 0:
		n, err := strconv.Atoi(string(found[2]))
		if err != nil || n > f.rows {
			return nil
		}
		f.rows -= n
	}
	return found[0]
}

// maxDocument is the size of the largest JSON document that passes.
const maxDocument = 64 << 20

// JSONFilter passes on JSON documents that another host has sent, each when it is complete.
// Characters that are not printable become \u escapes.
type JSONFilter struct {
	w        io.Writer
	document []byte
	depth    int
	most     int // bytes of a document
	// inString and escaped are the state within a string.
	inString, escaped bool
}

// NewJSONFilter returns a filter in front of w.
func NewJSONFilter(w io.Writer) *JSONFilter { return &JSONFilter{w: w, most: maxDocument} }

// ErrNotJSON is the error of output that is not a sequence of JSON objects.
var ErrNotJSON = errors.New("the output there is not JSON")

// Write passes on the documents that are complete.
func (f *JSONFilter) Write(p []byte) (int, error) {
	for i, b := range p {
		if len(f.document) == 0 && strings.IndexByte(" \t\r\n", b) >= 0 {
			continue
		}
		if len(f.document) == 0 && b != '{' {
			return i, ErrNotJSON
		}
		if len(f.document) == f.most {
			return i, fmt.Errorf("%w: a document has more than %d bytes", ErrNotJSON, f.most)
		}
		f.document = append(f.document, b)
		f.follow(b)
		if f.depth > 0 {
			continue
		}
		if err := f.pass(); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// follow follows the nesting of objects and arrays.
func (f *JSONFilter) follow(b byte) {
	switch {
	case f.escaped:
		f.escaped = false
	case f.inString:
		f.escaped, f.inString = b == '\\', b != '"'
	case b == '"':
		f.inString = true
	case b == '{' || b == '[':
		f.depth++
	case b == '}' || b == ']':
		f.depth--
	}
}

// pass passes on a document that is complete.
func (f *JSONFilter) pass() error {
	text := harmless(f.document)
	f.document = f.document[:0]
	if !json.Valid(text) {
		return ErrNotJSON
	}
	_, err := f.w.Write(append(text, '\n'))
	return err
}

// harmless returns JSON in which all characters can be printed.
func harmless(text []byte) []byte {
	out := make([]byte, 0, len(text)+1)
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r) || r == '\n' || r == '\t' || r == '\r':
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// Close reports a document whose end is missing.
func (f *JSONFilter) Close() error {
	if len(f.document) > 0 {
		return fmt.Errorf("%w: its end is missing", ErrNotJSON)
	}
	return nil
}
