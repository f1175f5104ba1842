// Package manual writes manual pages in the macros of man(7). It knows nothing of the
// program's commands: a page is data.
package manual

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// Section is the section of all pages: commands for administrators.
const Section = 8

// Page is one manual page.
type Page struct {
	// Name is the page's name: virt-grow-disk-create.
	Name string
	// Summary is one line, without a full stop.
	Summary string
	// Command is how the command is called, and Arguments are what may follow it.
	Command, Arguments string
	// Source is the program and its version.
	Source   string
	Date     time.Time
	Sections []Part
}

// Part is one section of a page. What it has is shown in the order of the fields.
type Part struct {
	Title      string
	Paragraphs []string
	Items      []Item
	// Lines are shown as they are, for example command lines.
	Lines []string
}

// Item is one entry of a list: an option, a file, an exit code.
type Item struct{ Term, Text string }

// File returns the name of the page's file.
func (p Page) File() string { return fmt.Sprintf("%s.%d", p.Name, Section) }

// Write writes the page.
func (p Page) Write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s %d %s %s %s\n", quoted(strings.ToUpper(p.Name)), Section,
		p.Date.UTC().Format(time.DateOnly), quoted(p.Source), quoted("System administration"))
	fmt.Fprintf(&b, ".SH NAME\n%s \\-\n%s", escape(p.Name), filled(p.Summary))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n\\fB%s\\fR %s\n", escape(p.Command), escape(p.Arguments))
	for _, part := range p.Sections {
		part.write(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (s Part) write(b *bytes.Buffer) {
	if len(s.Paragraphs)+len(s.Items)+len(s.Lines) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", quoted(s.Title))
	for i, text := range s.Paragraphs {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(filled(text))
	}
	for _, item := range s.Items {
		fmt.Fprintf(b, ".TP\n%s\n%s", term(item.Term), filled(item.Text))
	}
	if len(s.Lines) == 0 {
		return
	}
	if len(s.Paragraphs)+len(s.Items) > 0 {
		b.WriteString(".PP\n")
	}
	b.WriteString(".EX\n")
	for _, text := range s.Lines {
		b.WriteString(line(text))
	}
	b.WriteString(".EE\n")
}

// term formats an option's names and value: words that begin with a hyphen are bold,
// words in capitals are italic.
func term(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		bare := strings.TrimSuffix(word, ",")
		switch after := word[len(bare):]; {
		case strings.HasPrefix(bare, "-"):
			words[i] = `\fB` + escape(bare) + `\fR` + after
		case len(words) > 1 && bare == strings.ToUpper(bare):
			words[i] = `\fI` + escape(bare) + `\fR` + after
		default:
			words[i] = escape(word)
		}
	}
	return strings.Join(words, " ")
}

// width is the length of a line of input, in bytes: mandoc(1) asks for at most 80.
const width = 76

// filled breaks a text into lines of input.
func filled(text string) string {
	var all, now string
	for _, word := range strings.Fields(text) {
		if now != "" && len(escape(now+" "+word)) > width {
			all, now = all+line(now), ""
		}
		now = strings.TrimSpace(now + " " + word)
	}
	return all + line(now)
}

// line returns one line of text, which is never read as a request.
func line(text string) string {
	text = escape(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, `\(aq`) {
		text = `\&` + text
	}
	return text + "\n"
}

// quoted returns an argument of a macro.
func quoted(text string) string { return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"` }

// escapes has the characters that mean something to roff, or that it would replace by
// typographic ones: a command line that is copied from a page has to work
// (groff_char(7)).
var escapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`, "…", "...", "→", `\(->`)

func escape(text string) string { return escapes.Replace(text) }
