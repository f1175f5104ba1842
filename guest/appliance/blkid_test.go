package appliance

import (
	"fmt"
	"strings"
	"testing"
)

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"data": "data", `System\ Reserved`: "System Reserved", `d\xc3\xa4t`: "dät", `\\x41`: `\x41`, `a\`: `a\`, `\x4`: "x4", "": "",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzUnescape checks that every label is decoded to what was encoded.
func FuzzUnescape(f *testing.F) {
	f.Add("System Reserved")
	f.Add(`\x41 "'$`)
	f.Fuzz(func(t *testing.T, label string) {
		var escaped strings.Builder
		for i := range len(label) {
			switch c := label[i]; {
			case c < ' ' || c > '~':
				fmt.Fprintf(&escaped, `\x%02x`, c)
			case strings.IndexByte(" \\\"'$`<>", c) >= 0:
				escaped.WriteString(`\` + string(rune(c)))
			default:
				escaped.WriteByte(c)
			}
		}
		if got := unescape(escaped.String()); got != label {
			t.Errorf("%q became %q", label, got)
		}
	})
}
