package main

import "testing"

// TestParseDisk: what follows the last colon is a size, unless the path of a source has it.
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
