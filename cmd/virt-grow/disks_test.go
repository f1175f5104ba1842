package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestParseDisk checks that the text after the last colon is the size, unless the path
// of a source contains the colon.
func TestParseDisk(t *testing.T) {
	for text, want := range map[string][2]string{
		"vda": {"vda", ""}, "vda:+10G": {"vda", "+10G"}, "sdb:fill": {"sdb", "fill"},
		"/img/a.qcow2": {"/img/a.qcow2", ""}, "/img/a.qcow2:20G": {"/img/a.qcow2", "20G"}, "/img/a:b.qcow2": {"/img/a:b.qcow2", ""},
	} {
		if d, err := parseDisk(text); err != nil || d.name != want[0] || d.text != want[1] {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
	}
}

// TestOnlyDisk checks that every command without --disk takes the only disk of a domain.
// The disk in libvirt's test driver has no format in its definition, and is refused for
// that reason.
func TestOnlyDisk(t *testing.T) {
	for _, line := range []string{
		"plan test --size +1G", "grow test --size +1G --yes", "rehearse test --size +1G",
		"online test --size +1G --yes", "inspect test", "df test", "ls test:/",
		"plan test --size +1G --disk vda", "grow test --disk vda:+1G --yes",
	} {
		var out bytes.Buffer
		c := quiet(nil)
		c.out, c.err = &out, &out
		words := append([]string{"virt-grow", "--connect", "test:///default", "--state-dir", t.TempDir()}, strings.Fields(line)...)
		if code := execute(words, c); code != 3 || !strings.Contains(out.String(), "disk vda of test") {
			t.Errorf("%s: exit %d\n%s", line, code, &out)
		}
	}
}
