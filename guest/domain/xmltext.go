package domain

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxXML is the longest XML that is read, which is also the longest that libvirt's
// protocol carries (remote_protocol.x: REMOTE_STRING_MAX).
const maxXML = 4 << 20

// element is the place of an element in an XML text, in bytes.
type element struct {
	// from is where the start tag begins, tag where it ends, to where the element ends.
	from, tag, to int
	attrs         []xml.Attr
}

func (e element) in(text string) string { return text[e.from:e.to] }

// attr returns the value of an attribute, "" if the element does not have it.
func (e element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name == (xml.Name{Local: name}) {
			return a.Value
		}
	}
	return ""
}

// find returns the elements at a path that begins at the root, for example domain,
// devices, disk. It ignores elements in a namespace, which are not libvirt's, and refuses a
// document type, which could declare entities.
func find(text string, path ...string) ([]element, error) {
	if len(text) > maxXML {
		return nil, fmt.Errorf("an XML text of %d bytes, more than %d", len(text), maxXML)
	}
	f := finder{path: path}
	decoder := xml.NewDecoder(strings.NewReader(text))
	for f.roots <= 1 {
		from := int(decoder.InputOffset())
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) && f.roots == 1 {
			return f.found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("malformed XML: %w", err)
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, errors.New("XML with a document type")
		case xml.StartElement:
			f.start(element{from: from, tag: int(decoder.InputOffset()), attrs: token.Attr}, token.Name)
		case xml.EndElement:
			f.end(int(decoder.InputOffset()))
		}
	}
	return nil, errors.New("XML with more than one root element")
}

// finder is the state of find: how many elements are open, and how many of them, from
// the root on, follow the path.
type finder struct {
	path           []string
	depth, matched int
	roots          int
	found          []element
}

func (f *finder) start(e element, name xml.Name) {
	if f.depth == 0 {
		f.roots++
	}
	if f.depth == f.matched && f.matched < len(f.path) && name == (xml.Name{Local: f.path[f.matched]}) {
		f.matched++
		if f.matched == len(f.path) {
			e.attrs = slices.Clone(e.attrs) // the decoder reuses them for the next token
			f.found = append(f.found, e)
		}
	}
	f.depth++
}

func (f *finder) end(offset int) {
	if f.depth == f.matched {
		if f.matched == len(f.path) {
			f.found[len(f.found)-1].to = offset
		}
		f.matched--
	}
	f.depth--
}

// edit replaces the bytes from one offset to another.
type edit struct {
	from, to int
	with     string
}

// apply makes edits that do not overlap. Everything else stays byte for byte.
func apply(text string, edits ...edit) string {
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(text[at:e.from])
		b.WriteString(e.with)
		at = e.to
	}
	b.WriteString(text[at:])
	return b.String()
}

// remove returns the edit that removes some bytes and the white space before them.
func remove(text string, from, to int) edit {
	return edit{from: len(strings.TrimRight(text[:from], " \t\r\n")), to: to}
}

// attrValue returns the place of an attribute's value in a start tag that a decoder has
// accepted: encoding/xml returns the value, but not its place.
func attrValue(tag, name string) (from, to int, ok bool) {
	const space = " \t\r\n"
	at := strings.IndexAny(tag, space)
	for at >= 0 {
		equals := strings.IndexByte(tag[at:], '=')
		if equals < 0 {
			break
		}
		equals += at
		quote := equals + 1 + strings.IndexAny(tag[equals+1:], `'"`)
		end := strings.IndexByte(tag[quote+1:], tag[quote])
		if quote == equals || end < 0 {
			break
		}
		if strings.Trim(tag[at:equals], space) == name {
			return quote + 1, quote + 1 + end, true
		}
		at = quote + 1 + end + 1
	}
	return 0, 0, false
}
