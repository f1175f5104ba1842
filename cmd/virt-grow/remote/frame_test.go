package remote

import (
	"bytes"
	"io"
	"testing"
)

func TestReadFrame(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		err   string // "" for a frame
	}{
		"empty frame":     {"a\x00\x00\x00\x00", ""},
		"payload":         {"o\x00\x00\x00\x03abc", ""},
		"largest":         {"o\x00\x01\x00\x00" + string(make([]byte, maxPayload)), ""},
		"nothing":         {"", "EOF"},
		"half a head":     {"o\x00\x00", "unexpected EOF"},
		"half a payload":  {"o\x00\x00\x00\x03ab", "unexpected EOF"},
		"no payload":      {"o\x00\x00\x00\x03", "unexpected EOF"},
		"one byte more":   {"o\x00\x01\x00\x01", "a frame of 65537 bytes, at most 65536 are allowed"},
		"text, no frames": {"Welcome!", "a frame of 1701602159 bytes, at most 65536 are allowed"},
	} {
		f, err := readFrame(bytes.NewReader([]byte(c.bytes)))
		if err != nil != (c.err != "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && string(f.bytes()) != c.bytes {
			t.Errorf("%s: %q", name, f.bytes())
		}
	}
}

// FuzzReadFrame checks that any bytes are frames and an end, or an error, and that the frames
// are the bytes.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x03abcx\x00\x00\x00\x01\x00"))
	f.Add([]byte("o\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(text)
		var all []byte
		for {
			one, err := readFrame(r)
			if err == io.EOF && !bytes.Equal(all, text) {
				t.Fatalf("%q became %q", text, all)
			}
			if err != nil {
				return
			}
			all = append(all, one.bytes()...)
		}
	})
}
