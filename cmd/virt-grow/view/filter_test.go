package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
)

// filtered returns what a filter passes on of a text that arrives byte by byte.
func filtered(text string, live bool) string {
	var out bytes.Buffer
	f := NewTextFilter(&out, live)
	_, _ = io.Copy(struct{ io.Writer }{f}, iotest.OneByteReader(strings.NewReader(text)))
	_ = f.Close()
	return out.String()
}

func TestTextFilter(t *testing.T) {
	for _, c := range []struct{ text, live, file string }{
		{"", "", ""},
		{"disk\t512 MiB → 2.5 GiB ├─ ░█\n", "disk\t512 MiB → 2.5 GiB ├─ ░█\n", "disk\t512 MiB → 2.5 GiB ├─ ░█\n"},
		{"\rx\x1b[K", "\rx\x1b[K", "?x?[K"},
		{"\x1b[1mbold\x1b[0m", "\x1b[1mbold\x1b[0m", "?[1mbold?[0m"},
		{"\x1b[31mred", "\x1b[31mred\x1b[0m", "?[31mred"},
		{"\x1b[8mhidden", "?[8mhidden", "?[8mhidden"},
		{"\x1b[1;31mx", "?[1;31mx", "?[1;31mx"},
		{"\x1b[01mx", "?[01mx", "?[01mx"},
		{"\x1b[mx", "?[mx", "?[mx"},
		{"a\nb\n\x1b[2A\x1b[J", "a\nb\n\x1b[2A\x1b[J", "a\nb\n?[2A?[J"},
		{"a\nb\n\x1b[3Ax", "a\nb\n?[3Ax", "a\nb\n?[3Ax"},
		{"a\nb\n\x1b[1A\x1b[2Ax", "a\nb\n\x1b[1A?[2Ax", "a\nb\n?[1A?[2Ax"},
		{"\x1b[Ax", "?[Ax", "?[Ax"},
		{"\x1b[99999Ax", "?[99999Ax", "?[99999Ax"},
		{"\x1b[2Jx", "?[2Jx", "?[2Jx"},
		{"\x1b]0;title\x07", "?]0;title?", "?]0;title?"},
		{"\x1b]52;c;cm0=\x1b\\", "?]52;c;cm0=?\\", "?]52;c;cm0=?\\"},
		{"\x1bP+q\x1b\\", "?P+q?\\", "?P+q?\\"},
		{"\x1b\x1b[K", "?\x1b[K", "??[K"},
		{"\x1b", "?", "?"},
		{"\x1b[12", "????", "?[12"},
		{"\x9b2J", "?2J", "?2J"},                                    // C1, as a byte
		{"\u009b2J", "?2J", "?2J"},                                  // and as a character
		{"\xff\xc3", "??", "??"},                                    // no UTF-8
		{"\xe2\x82", "??", "??"},                                    // half a character
		{"\xed\xa0\x80", "???", "???"},                              // a surrogate
		{"\ufffd", "\ufffd", "\ufffd"},                              // the character itself is text
		{"a\u202eb\u200fc\u2028d\u00a0e", "a?b?c?d?e", "a?b?c?d?e"}, // direction, separators
		{"\x00\a\b\v\f\x7f", "??????", "??????"},
	} {
		if got := filtered(c.text, true); got != c.live {
			t.Errorf("on a terminal, %q became %q, not %q", c.text, got, c.live)
		}
		if got := filtered(c.text, false); got != c.file {
			t.Errorf("in a file, %q became %q, not %q", c.text, got, c.file)
		}
	}
}

// TestTextFilterPassesViews checks that all that the views write to a terminal passes.
func TestTextFilterPassesViews(t *testing.T) {
	var out bytes.Buffer
	now, pass := clockOf()
	style := Style{Width: 60, Color: true, Unicode: true}
	step := plan.Step{Kind: plan.StepCommit, Summary: "commit"}
	p := NewProgress(&out, style, true, now)
	p.Note("starting")
	p.Listed([]plan.Step{step})
	p.Event(apply.Event{Phase: apply.Started, Step: step})
	p.Event(apply.Event{Phase: apply.Progress, Step: step, Percent: 50})
	p.Note("within")
	p.Tick()
	p.Event(apply.Event{Phase: apply.Finished, Step: step})
	p.Stop()
	p.Clear()
	b := NewBatchProgress(&out, style, true, 3, now)
	batchScript(b, pass)
	b.Tick()
	b.Stop()
	fmt.Fprintln(&out, style.paint(bold, "a"), style.paint(dim, "b"), style.paint(red, "c"), style.paint(green, "d"), style.paint(yellow, "e"))
	if got := filtered(out.String(), true); got != out.String() || !strings.Contains(got, "A\x1b[J") {
		t.Errorf("%q\nbecame\n%q", out.String(), got)
	}
}

// TestTextFilterBounded checks that an endless line takes no memory.
func TestTextFilterBounded(t *testing.T) {
	f := NewTextFilter(io.Discard, true)
	for _, text := range []string{"x", "\x1b", "\x1b[1", "\xe2\x82", "\xf0\x9f"} {
		for range 10000 {
			_, _ = io.WriteString(f, text)
			if len(f.pending) > 8 {
				t.Fatalf("%q: %d bytes are held back", text, len(f.pending))
			}
		}
	}
}

// anySequence matches a control sequence of the views anywhere in a text.
var anySequence = regexp.MustCompile(strings.TrimPrefix(aSequence.String(), "^"))

// FuzzTextFilter checks that nothing passes but text and the views' control sequences, however
// the text is cut.
func FuzzTextFilter(f *testing.F) {
	f.Add("a\nb\x1b[1A\x1b[J\x1b[31mx\x1b[0m\r\x1b[K", uint8(3))
	f.Add("\xff\x1b]0;x\x07\x1b[2J\u202e", uint8(1))
	f.Fuzz(func(t *testing.T, text string, cut uint8) {
		whole := filtered(text, true)
		var out bytes.Buffer
		filter := NewTextFilter(&out, true)
		for rest := text; rest != ""; {
			n := min(int(cut)+1, len(rest))
			_, _ = io.WriteString(filter, rest[:n])
			rest = rest[n:]
		}
		_ = filter.Close()
		if out.String() != whole {
			t.Fatalf("%q became %q and %q", text, whole, out.String())
		}
		rest := anySequence.ReplaceAllString(whole, "")
		if i := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune("\n\t\r", r) }); i >= 0 || !utf8.ValidString(rest) {
			t.Fatalf("%q: %q passes", text, rest)
		}
	})
}

func TestJSONFilter(t *testing.T) {
	for _, c := range []struct {
		text, want string
		fails      bool
	}{
		{"", "", false},
		{`{"a":1}`, "{\"a\":1}\n", false},
		{"{\n  \"a\": [1, {}]\n}\n", "{\n  \"a\": [1, {}]\n}\n", false},
		{"{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n", false},
		{`{"a":"}\"{"}`, "{\"a\":\"}\\\"{\"}\n", false},
		{"{\"a\":\"\u009b\u202e\u00a0\U000e0001 é→\"}", "{\"a\":\"\\u009b\\u202e\\u00a0\\udb40\\udc01 é→\"}\n", false},
		{"{\"a\":\"\xff\"}", "{\"a\":\"\ufffd\"}\n", false},
		{"{\"a\":1}\n\x1b[2J", "{\"a\":1}\n", true},
		{"{\"a\":\"\x1b[2J\"}", `{"a":"\u001b[2J"}` + "\n", false},
		{"{\u009b}", "", true},
		{"{a}", "", true},
		{"{]", "", true},
		{"[1]", "", true},
		{"text", "", true},
		{"{\"a\":1", "", true},
		{"{\"a\":\"", "", true},
	} {
		var out bytes.Buffer
		f := NewJSONFilter(&out)
		_, err := io.Copy(struct{ io.Writer }{f}, iotest.OneByteReader(strings.NewReader(c.text)))
		err = errors.Join(err, f.Close())
		if out.String() != c.want || errors.Is(err, ErrNotJSON) != c.fails {
			t.Errorf("%q became %q, %v", c.text, out.String(), err)
		}
	}
}

// TestJSONFilterBounded checks that an endless document is refused.
func TestJSONFilterBounded(t *testing.T) {
	f := NewJSONFilter(io.Discard)
	f.most = 20
	if n, err := io.WriteString(f, `{"a":"`+strings.Repeat("x", 100)); n != 20 || !errors.Is(err, ErrNotJSON) {
		t.Error(n, err)
	}
}

// FuzzJSONFilter checks that what passes is JSON in printable characters.
func FuzzJSONFilter(f *testing.F) {
	f.Add([]byte("{\"a\":\"\u202e\"}\n{\"b\":[1,{}]}"))
	f.Add([]byte("{\"a\":\"\\\"}\"}{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		filter := NewJSONFilter(&out)
		_, _ = filter.Write(text)
		_ = filter.Close()
		for _, r := range out.String() {
			if !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
				t.Fatalf("%q: %q passes", text, r)
			}
		}
		for dec := json.NewDecoder(&out); ; {
			var document map[string]any
			if err := dec.Decode(&document); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
