package view

import (
	"io"

	"github.com/virt-grow/virt-grow/guest/doctor"
)

// Finding is the result of one of doctor's checks.
type Finding struct {
	Name  string       `json:"name"`
	Level doctor.Level `json:"level"`
	Text  string       `json:"text"`
	// Mend is the command that fixes the problem; "" if there is none.
	Mend string `json:"mend,omitempty"`
}

// Doctor prints the findings.
func Doctor(w io.Writer, s Style, findings []Finding) error {
	p := &page{Style: s}
	n := 0
	for _, f := range findings {
		n = max(n, columns(f.Name))
	}
	for _, f := range findings {
		mark := p.paint(levels[f.Level], p.fit(string(f.Level), 4)) + "  " + p.fit(p.clean(f.Name), n) + "  "
		p.paragraph(mark, "%s", f.Text)
		if f.Mend != "" {
			p.raw("      " + p.fit("", n) + "  run: " + p.clean(f.Mend))
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

var levels = map[doctor.Level]string{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red}
