package manual

import (
	"strings"
	"testing"
	"time"
)

// TestWrite checks the whole text of a page whose texts have what roff would interpret.
func TestWrite(t *testing.T) {
	page := Page{Name: "virt-grow-edit", Summary: "change a file", Command: "virt-grow edit", Arguments: "TARGET:PATH [OPTIONS]", Source: `virt-grow "1.0"`,
		Date: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		Sections: []Part{
			{Title: "DESCRIPTION", Paragraphs: []string{".hidden is a file.", `C:\Users, UUID=…`,
				"The line is broken where it would be longer than mandoc allows, in this one here, '-' included."}},
			{Title: "EMPTY"},
			{Title: "OPTIONS", Items: []Item{{"--expr, -e EXPR", "apply it"}, {"130", "interrupted"}}},
			{Title: "EXAMPLES", Lines: []string{`virt-grow edit dev7:/x -e 's/~a^/b/'`, "'quoted'"}},
		}}
	const want = `.TH "VIRT\-GROW\-EDIT" 8 2026-01-31 "virt\-grow \(dq1.0\(dq" "System administration"
.SH NAME
virt\-grow\-edit \-
change a file
.SH SYNOPSIS
\fBvirt\-grow edit\fR TARGET:PATH [OPTIONS]
.SH "DESCRIPTION"
\&.hidden is a file.
.PP
C:\eUsers, UUID=...
.PP
The line is broken where it would be longer than mandoc allows, in this one
here, \(aq\-\(aq included.
.SH "OPTIONS"
.TP
\fB\-\-expr\fR, \fB\-e\fR \fIEXPR\fR
apply it
.TP
130
interrupted
.SH "EXAMPLES"
.EX
virt\-grow edit dev7:/x \-e \(aqs/\(tia\(ha/b/\(aq
\&\(aqquoted\(aq
.EE
`
	var got strings.Builder
	if err := page.Write(&got); err != nil || got.String() != want {
		t.Errorf("%v\n%s", err, got.String())
	}
	if page.File() != "virt-grow-edit.8" {
		t.Error(page.File())
	}
}
