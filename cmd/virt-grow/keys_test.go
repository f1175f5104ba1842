package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "k:e,y")
	empty := filepath.Join(dir, "empty")
	long := filepath.Join(dir, "long")
	for name, text := range map[string]string{file: "se:cret,1\nsecond", empty: "", long: strings.Repeat("x", 600)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &program{console: quiet(nil)}
	for _, c := range []struct {
		text     string
		insecure bool
		want     key
		says     string
	}{
		{"sda3:file:" + file, false, key{"sda3", "se:cret,1"}, ""},
		{"all:key:se:cret", true, key{"all", "se:cret"}, ""},
		{"all:key:secret", false, key{}, "--insecure-key"},
		{"all:key:", true, key{}, "ID:file:PATH or ID:prompt"},
		{"sda3:prompt", false, key{}, "no terminal"},
		{"sda3:file:", false, key{}, "ID:file:PATH"},
		{"sda3:file:" + empty, false, key{}, "is empty"},
		{"sda3:file:" + long, false, key{}, "512 bytes"},
		{"sda3:file:/nowhere", false, key{}, "no such file"},
		{"sda3:clevis", false, key{}, "no network"},
		{"secret", false, key{}, "ID:file:PATH"},
		{":key:secret", true, key{}, "ID:file:PATH"},
	} {
		got, err := p.readKey(c.text, c.insecure)
		if c.says == "" && err == nil && got == c.want {
			continue
		}
		if c.says == "" || err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
	}
}

func TestFinder(t *testing.T) {
	keys := keyring{{"all", "a"}, {"/dev/vda3", "b"}, {"sda3", "c"}, {"1234-ABCD", "d"}, {"vg/lv", "e"}, {"nvme0n1p3", "f"}}
	p := &program{console: quiet(nil)}
	find := p.finder(keys)
	for _, c := range []struct{ device, uuid, want string }{
		{"sda3", "", "a b c f"},
		{"sda2", "1234-abcd", "a d"},
		{"sda1", "", "a"},
		{"vg/lv", "x", "a e"},
		{"vdb2", "", "a"},
	} {
		got, err := find(c.device, c.uuid)
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" || err != nil {
			t.Errorf("%s %s: %s %v", c.device, c.uuid, diff, err)
		}
	}
	find = p.finder(keyring{{"vda3", "b"}, {"/dev/vdb3", "c"}, {"nvme0n1p2", "f"}, {"sda1", "g"}})
	for device, want := range map[string]string{"vda3": "b", "vdb3": "c", "vdb2": "f", "vdb1": "g"} {
		if got, err := find(device, ""); strings.Join(got, " ") != want || err != nil {
			t.Errorf("of several disks, %s: %q %v, want %s", device, got, err, want)
		}
	}
	if got, err := p.finder(nil)("sda1", ""); len(got) > 0 || err != nil {
		t.Errorf("nobody to ask, and yet: %v %v", got, err)
	}
}

// TestKeyringHides checks that a keyring that is printed by mistake shows no keys.
func TestKeyringHides(t *testing.T) {
	keys := keyring{{"all", "secret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, keys); strings.Contains(got, "secret") {
			t.Errorf("%s: %s", format, got)
		}
	}
}
