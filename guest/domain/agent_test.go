package domain

import (
	"strings"
	"testing"
)

// TestSaid: what a guest printed is shown on a terminal of the host.
func TestSaid(t *testing.T) {
	for _, c := range []struct{ stderr, stdout, want string }{
		{"", "", "it said nothing"},
		{"\r\n  Resize-Partition : no room\r\nAt line:1\r\n", "", "Resize-Partition : no room"},
		{"", "only this\n", "only this"},
		{"\x1b[2J\x1b]0;title\x07evil\u202e", "", "[2J]0;titleevil"},
		{"\xff\xfe broken", "", "\ufffd\ufffd broken"},
	} {
		if got := said([]byte(c.stderr), []byte(c.stdout)); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.stderr, c.stdout, got, c.want)
		}
	}
	if got := said([]byte(strings.Repeat("ü", 1000))); len(got) != 300 {
		t.Errorf("%d bytes", len(got))
	}
}
