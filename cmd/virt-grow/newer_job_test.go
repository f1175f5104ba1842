package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// newerJob makes the job of a later version of the program: its journal has another
// schema, and an incomplete last line.
func newerJob(t *testing.T, state string) string {
	t.Helper()
	j := makeJob(t, state, time.Now(), true, entered(journal.Waiting))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(j.Dir, "journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	text := strings.TrimSpace(strings.Replace(lines[0][9:], journal.Schema, "virt-grow/job/v2", 1))
	lines[0] = fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE([]byte(text)), text)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")+"0123"), 0o600); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// contents returns everything in a directory, with modes and times.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			all[path] += string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNewerJob checks that a job of a later version is shown, and that no command
// changes a byte of it.
func TestNewerJob(t *testing.T) {
	state := t.TempDir()
	id := newerJob(t, state)
	before := contents(t, filepath.Join(state, "jobs"))
	refused := []string{id, "virt-grow/job/v2", journal.Schema, "later one"}
	for _, c := range []struct {
		line string
		exit int
		says []string
	}{
		{"resume", exitRefused, refused},
		{"accept", exitRefused, refused},
		{"accept --as-is", exitRefused, refused},
		{"rollback", exitRefused, refused},
		{"status", exitDone, refused},
		{"jobs", exitDone, []string{"status " + id}},
	} {
		for _, output := range []string{"", "--json"} {
			words := append(strings.Fields(c.line), strings.Fields(output)...)
			if c.line != "jobs" {
				words = append(words, id)
			}
			got := try(t, state, words...)
			if got.exit != c.exit {
				t.Errorf("%v: exit code %d, want %d: %s%s", words, got.exit, c.exit, got.out, got.err)
			}
			for _, text := range c.says {
				if !strings.Contains(got.out+got.err, text) {
					t.Errorf("%v does not say %q: %s%s", words, text, got.out, got.err)
				}
			}
			if output == "--json" && !strings.Contains(got.out, `"newer-job"`) {
				t.Errorf("%v names no reason: %s", words, got.out)
			}
			if strings.Contains(got.out+got.err, "--as-is "+id) || strings.Contains(got.out+got.err, id+" --as-is") {
				t.Errorf("%v advises to close it: %s%s", words, got.out, got.err)
			}
			if d := cmp.Diff(before, contents(t, filepath.Join(state, "jobs"))); d != "" {
				t.Fatalf("%v changed the job:\n%s", words, d)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(state, "closed")); err == nil {
		t.Error("the job was moved away")
	}
}
