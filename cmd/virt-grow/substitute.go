package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// substitution is s/REGEXP/REPLACEMENT/FLAGS, applied line by line as sed(1) does.
type substitution struct {
	find *regexp.Regexp
	// with is the replacement in the syntax of Regexp.Expand.
	with []byte
	// all replaces every match of a line, not only the first.
	all bool
}

func parseSubstitution(text string) (substitution, error) {
	var s substitution
	if len(text) < 2 || text[0] != 's' {
		return s, errors.New("must be s/REGEXP/REPLACEMENT/")
	}
	mark := text[1]
	if mark == '\\' || mark == '\n' || mark >= 0x80 {
		return s, errors.New("the s must be followed by a separator, for example /")
	}
	parts := cutAt(text[2:], mark)
	if len(parts) != 3 {
		return s, fmt.Errorf("must be s%[1]cREGEXP%[1]cREPLACEMENT%[1]c", mark)
	}
	options := ""
	for _, flag := range parts[2] {
		switch flag {
		case 'g':
			s.all = true
		case 'i', 'I':
			options = "(?i)"
		default:
			return s, fmt.Errorf("unknown flag %c: the flags are g and i", flag)
		}
	}
	var err error
	if s.find, err = regexp.Compile(options + parts[0]); err != nil {
		return s, err
	}
	if s.with, err = replacement(parts[1], s.find.NumSubexp()); err != nil {
		return s, err
	}
	return s, nil
}

// cutAt cuts the text at each mark without a backslash before it. It removes the
// backslashes before marks, and no others.
func cutAt(text string, mark byte) []string {
	parts := []string{""}
	last := &parts[0]
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			if text[i] != mark {
				*last += `\`
			}
			*last += text[i : i+1]
		case text[i] == mark:
			parts = append(parts, "")
			last = &parts[len(parts)-1]
		default:
			*last += text[i : i+1]
		}
	}
	return parts
}

// replacement translates sed's syntax into that of Regexp.Expand.
func replacement(text string, groups int) ([]byte, error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			out.WriteString("$$")
		case c == '&':
			out.WriteString("${0}")
		case c != '\\' || i+1 == len(text):
			out.WriteByte(c)
		default:
			i++
			switch c = text[i]; {
			case c >= '0' && c <= '9':
				if int(c-'0') > groups {
					return nil, fmt.Errorf(`\%c: the expression has only %d group(s)`, c, groups)
				}
				fmt.Fprintf(&out, "${%c}", c)
			case c == 'n':
				out.WriteByte('\n')
			case c == 't':
				out.WriteByte('\t')
			case c == '$':
				out.WriteString("$$")
			default:
				out.WriteByte(c)
			}
		}
	}
	return []byte(out.String()), nil
}

// apply changes each line, and keeps the line endings.
func (s substitution) apply(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		body := bytes.TrimSuffix(line, []byte("\n"))
		end := line[len(body):]
		if cut, ok := bytes.CutSuffix(body, []byte("\r")); ok {
			body, end = cut, line[len(cut):]
		}
		out = append(append(out, s.line(body)...), end...)
	}
	return out
}

func (s substitution) line(body []byte) []byte {
	n := 1
	if s.all {
		n = -1
	}
	var out []byte
	at := 0
	for _, m := range s.find.FindAllSubmatchIndex(body, n) {
		out = append(out, body[at:m[0]]...)
		out = s.find.Expand(out, s.with, body, m)
		at = m[1]
	}
	return append(out, body[at:]...)
}
