// Package packaging has the tests of what the packages contain besides the program.
package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// postrm runs the script that Debian runs after a removal, with another state directory,
// and without systemd's helpers.
func postrm(t *testing.T, state, action string) (out string, ok bool) {
	t.Helper()
	script, err := os.ReadFile("scripts/postrm")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("state=/var/lib/virt-grow\n", "state='"+state+"'\n", "/var/cache/virt-grow", filepath.Join(state, "..", "cache"),
		"/run/systemd/system", "/nowhere", "command -v deb-systemd-helper", "false").Replace(string(script))
	if strings.Contains(text, "/var/") {
		t.Fatalf("the script would change this system:\n%s", text)
	}
	cmd := exec.Command("/bin/sh", "-s", action)
	cmd.Stdin = strings.NewReader(text)
	all, err := cmd.CombinedOutput()
	return string(all), err == nil
}

// stateWith returns a state directory with one job for each state; "" is a job whose
// journal has no state yet.
func stateWith(t *testing.T, states ...journal.JobState) (dir string, ids []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, s := range states {
		j, err := journal.Store{Dir: dir}.Create(time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		// A header may contain anything, also what looks like another entry.
		entries := []journal.Entry{{Kind: journal.Opened, Data: json.RawMessage(`{"x":"\"kind\":\"state\",\"text\":\"done\""}`)}, {Kind: journal.State, Text: string(journal.Working)}}
		if s != "" {
			entries = append(entries, journal.Entry{Kind: journal.State, Text: string(s)})
		} else {
			entries = entries[:1]
		}
		for _, e := range entries {
			if err := j.Log.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	return dir, ids
}

// TestPurge checks that a purge deletes the state directory if all jobs have ended, and else
// nothing at all.
func TestPurge(t *testing.T) {
	ended := []journal.JobState{journal.Finished, journal.RolledBack, journal.Cancelled, journal.Closed}
	open := []journal.JobState{"", journal.Opening, journal.Editing, journal.Working, journal.Trial, journal.Waiting, journal.Committing}
	state, _ := stateWith(t)
	if out, ok := postrm(t, state, "purge"); !ok || exists(state) {
		t.Errorf("without jobs: %s", out)
	}
	state, _ = stateWith(t, ended...)
	if out, ok := postrm(t, state, "remove"); !ok || out != "" || !exists(state) {
		t.Errorf("removed: %s", out)
	}
	if out, ok := postrm(t, state, "purge"); !ok || exists(state) {
		t.Errorf("all jobs have ended: %s", out)
	}
	for _, s := range open {
		state, ids := stateWith(t, append([]journal.JobState{s}, ended...)...)
		out, ok := postrm(t, state, "remove")
		if !ok || !strings.Contains(out, ids[0]) {
			t.Errorf("a job is %q, removed: %s", s, out)
		}
		out, ok = postrm(t, state, "purge")
		if ok || !strings.Contains(out, ids[0]) || strings.Contains(out, ids[1]) || !exists(filepath.Join(state, "jobs", ids[4], "journal")) {
			t.Errorf("a job is %q, purged: %s", s, out)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestExampleInventory checks that the example can be used.
func TestExampleInventory(t *testing.T) {
	text, err := os.ReadFile("examples/inventory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inventory.Parse("inventory.yaml", text); err != nil {
		t.Error(err)
	}
}

// TestUnits has systemd check the units, and the units with the drop-ins of the examples.
func TestUnits(t *testing.T) {
	level.Need(t, level.Real)
	dir := t.TempDir()
	var units []string
	files, _ := filepath.Glob("systemd/*")
	timers, _ := filepath.Glob("examples/*.timer")
	for _, file := range append(files, timers...) {
		units = append(units, copyUnit(t, file, dir, filepath.Base(file)))
	}
	copyUnit(t, "examples/window.conf", dir, "virt-grow@.service.d/window.conf")
	copyUnit(t, "examples/resume.conf", dir, "virt-grow-unfinished.service.d/resume.conf")
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// copyUnit copies a unit to dir, with a program that exists on every system. It returns the
// name under which the unit is verified: a template needs an instance.
func copyUnit(t *testing.T, file, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/virt-grow", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(path, "@.service", "@dev7.service", 1)
}
