package lvm

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// section is one level of the text: keys with values, and sections by their names.
// A value is an int64, a string, or a list of them.
type section struct {
	names    []string // names of the sections, in the order of the text
	sections map[string]*section
	values   map[string]any
}

func (s *section) number(key string) int64 {
	n, _ := s.values[key].(int64)
	return n
}

func (s *section) text(key string) string {
	t, _ := s.values[key].(string)
	return t
}

// list returns a list of values; a single value counts as a list of one.
func (s *section) list(key string) []any {
	switch v := s.values[key].(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

func (s *section) words(key string) []string {
	var words []string
	for _, v := range s.list(key) {
		if w, ok := v.(string); ok {
			words = append(words, w)
		}
	}
	return words
}

// sub returns the section with a name, an empty one if there is none.
func (s *section) sub(name string) *section {
	if found, ok := s.sections[name]; ok {
		return found
	}
	return &section{}
}

// deepest limits how deep sections may be nested; LVM's own text has four levels.
const deepest = 16

// parser reads LVM's configuration language (libdm/libdm-config.c).
type parser struct {
	text string
	at   int
}

// parse reads a whole text.
func parse(text string) (*section, error) {
	p := &parser{text: text}
	s, err := p.section(0)
	if err == nil && p.at < len(p.text) {
		err = errors.New("unexpected }")
	}
	if err != nil {
		line := 1 + strings.Count(p.text[:min(p.at, len(p.text))], "\n")
		return nil, fmt.Errorf("the LVM metadata cannot be read, line %d: %w", line, err)
	}
	return s, nil
}

// section reads a section up to its }, or to the end of the text.
func (p *parser) section(depth int) (*section, error) {
	if depth > deepest {
		return nil, errors.New("sections are nested too deep")
	}
	s := &section{sections: map[string]*section{}, values: map[string]any{}}
	for {
		p.skip()
		if p.at == len(p.text) || p.text[p.at] == '}' {
			return s, nil
		}
		name, err := p.key()
		if err != nil {
			return nil, err
		}
		p.skip()
		switch {
		case p.take('='):
			p.skip()
			if s.values[name], err = p.value(); err != nil {
				return nil, err
			}
		case p.take('{'):
			inner, err := p.section(depth + 1)
			if err != nil {
				return nil, err
			}
			if !p.take('}') {
				return nil, errors.New("a } is missing")
			}
			s.names = append(s.names, name)
			s.sections[name] = inner
		default:
			return nil, fmt.Errorf("expected = or { after %q", name)
		}
	}
}

// skip skips white space and comments.
func (p *parser) skip() {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '#':
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				p.at = len(p.text)
				return
			}
			p.at += end
		case c == ' ' || c >= '\t' && c <= '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) key() (string, error) {
	if p.at < len(p.text) && p.text[p.at] == '"' {
		return p.quoted()
	}
	word := p.word()
	if word == "" {
		return "", fmt.Errorf("expected a name at %q", p.text[p.at])
	}
	return word, nil
}

// word reads a word without quotes.
func (p *parser) word() string {
	from := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\n\v\f\r#={}[],\"", rune(p.text[p.at])) {
		p.at++
	}
	return p.text[from:p.at]
}

// value reads a number, a string, or a list of them.
func (p *parser) value() (any, error) {
	if !p.take('[') {
		return p.single()
	}
	list := []any{}
	for {
		p.skip()
		if p.take(']') {
			return list, nil
		}
		v, err := p.single()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.skip()
		if !p.take(',') {
			if p.take(']') {
				return list, nil
			}
			return nil, errors.New("a list is not closed")
		}
	}
}

func (p *parser) single() (any, error) {
	if p.at == len(p.text) {
		return nil, errors.New("a value is missing")
	}
	if p.text[p.at] == '"' {
		return p.quoted()
	}
	word := p.word()
	if word == "" {
		return nil, fmt.Errorf("expected a value at %q", p.text[p.at])
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return n, nil
	}
	return word, nil // an invalid number; it is never used
}

// quoted reads a string in quotes, in which a backslash escapes the next character.
func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a string is not closed")
}
