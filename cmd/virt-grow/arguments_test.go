package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArrange(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"grow a.qcow2 --size +1G", "grow --size +1G -- a.qcow2"},
		{"grow --size +1G a.qcow2", "grow --size +1G -- a.qcow2"},
		{"grow a.qcow2 --size=+1G --json", "--json grow --size=+1G -- a.qcow2"},
		{"--json grow a.qcow2 --size +1G", "--json grow --size +1G -- a.qcow2"},
		{"grow a.qcow2 --state-dir /s --yes", "--state-dir /s grow --yes -- a.qcow2"},
		{"grow a.qcow2 --accel=tcg -v", "--accel=tcg -v grow -- a.qcow2"},
		{"plan a.raw -o p.json --size fill", "plan -o p.json --size fill -- a.raw"},
		{"plan a.raw -o - --size fill", "plan -o - --size fill -- a.raw"},
		{"grow --size -1G a.raw", "grow --size -1G -- a.raw"},
		{"grow --yes a.raw", "grow --yes -- a.raw"},
		{"grow -- --size", "grow -- --size"},
		{"grow a.raw -- -b --json", "grow -- a.raw -b --json"},
		{"grow a.raw --nonsense --yes", "grow --nonsense --yes -- a.raw"},
		{"grow --help", "grow --help"},
		{"--help", "--help"},
		{"--version", "--version"},
		{"grow a --key sda2:prompt --key all:file:/k", "grow --key sda2:prompt --key all:file:/k -- a"},
		{"grow a --grow LABEL=--json", "grow --grow LABEL=--json -- a"},
		{"grow a --size", "grow --size -- a"},
		{"status 3f2a --json", "--json status -- 3f2a"},
		{"nonsense a --json", "--json nonsense -- a"},
		{"disk list dev7 --json", "--json disk list -- dev7"},
		{"disk --json list --state-dir /s dev7", "--json --state-dir /s disk list -- dev7"},
		{"disk list list", "disk list -- list"},
		{"disk lsit --json dev7", "--json disk -- lsit dev7"},
		{"disk --help", "disk --help"},
		{"disk list --help", "disk list --help"},
		{"", ""},
		{"-", "-"},
	} {
		app := newApp(&program{console: quiet(nil)})
		l := arrange(app, append([]string{"virt-grow"}, strings.Fields(c.in)...))
		if diff := cmp.Diff(strings.TrimSpace("virt-grow "+c.want), strings.Join(l.args(), " ")); diff != "" {
			t.Errorf("%q: %s", c.in, diff)
		}
	}
}

// FuzzArrange checks that no argument is lost or added.
func FuzzArrange(f *testing.F) {
	for _, seed := range []string{"grow a --size +1G --json", "-- --", "plan -o", "--state-dir", "--=", "grow - -- x", "disk list a", "disk -- list"} {
		f.Add(seed)
	}
	app := newApp(&program{console: quiet(nil)})
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Fields(text)
		l := arrange(app, append([]string{"virt-grow"}, words...))
		count := map[string]int{}
		for _, w := range words {
			count[w]++
		}
		for _, w := range slices.Concat(l.globals, l.command, l.flags, l.operands) {
			count[w]--
		}
		for w, n := range count {
			if n != 0 && (w != "--" || n != 1) {
				t.Fatalf("%q: word %q is %d times off in %+v", text, w, n, l)
			}
		}
	})
}

// TestIsImage checks which names are those of images.
func TestIsImage(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.WriteFile("web.qcow2", nil, 0o600), os.Mkdir("dev7", 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"web.qcow2": true, "./web.qcow2": true, "./none": true, "/dev/vda": true, "none": false, "dev7": false, "./dev7": true} {
		if isImage(name) != want {
			t.Errorf("%s is an image: %v", name, !want)
		}
	}
}
