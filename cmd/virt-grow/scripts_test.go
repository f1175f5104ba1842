package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// TestChangingCommands checks that every command that changes something takes --yes and
// --dry-run, so that a script can give them to all.
func TestChangingCommands(t *testing.T) {
	app := newApp(&program{console: quiet(nil)})
	for name := range maps.Keys(runs) {
		if name == "rehearse" {
			continue // it changes nothing
		}
		command := find(app, strings.Fields(name))
		if command == nil {
			t.Errorf("there is no command %s", name)
			continue
		}
		for _, flag := range []string{"yes", "y", "dry-run"} {
			if !slices.ContainsFunc(command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
				t.Errorf("%s has no --%s", name, flag)
			}
		}
	}
}

// tree returns the names and the content of all files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			files[path] = "directory"
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDryRuns checks what dry runs show, and that they leave every file as it was. The
// commands that need libvirt or an appliance have theirs in the tests of those commands.
func TestDryRuns(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	ids := map[string]string{}
	for name, s := range map[string]journal.JobState{"editing": journal.Editing, "waiting": journal.Waiting, "done": journal.Finished} {
		j := makeJob(t, state, at, true, entered(s))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		ids[name], at = j.ID, at.Add(time.Minute)
	}
	source := filepath.Join(dir, "a.raw")
	if err := os.WriteFile(source, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before, jobs := tree(t, dir), tree(t, state)
	for _, c := range []struct {
		line string
		exit int
		says []string
	}{
		{"disk create D/new.qcow2 --size 1G --fs xfs", 0, []string{"1. ", "xfs", "dry run"}},
		{"disk create D/new.qcow2 --size 1G --fs xfs --yes", 0, []string{"dry run"}},
		{"disk create D/a.raw --size 1G", 3, []string{"exists"}},
		{"disk convert D/a.raw D/b.qcow2 --to qcow2", 0, []string{"1. ", "dry run"}},
		{"resume editing", 0, []string{"was interrupted", "dry run"}},
		{"resume waiting", 3, []string{"waits"}},
		{"rollback waiting", 0, []string{"The job waits", "dry run"}},
		{"rollback done", 3, []string{"its changes are in the image"}},
		{"accept waiting", 0, []string{"The job waits", "dry run"}},
		{"accept editing", 3, []string{"not ready to be accepted"}},
		{"accept editing --as-is", 0, []string{"dry run"}},
		{"accept done --as-is", 3, []string{"has ended already"}},
		{"resume --all", 0, []string{"was interrupted", "dry run"}},
		{"resume --all x", 64, []string{"takes no argument"}},
	} {
		words := strings.Fields(c.line + " --dry-run")
		for i, word := range words {
			words[i] = strings.Replace(word, "D/", dir+"/", 1)
			if id, ok := ids[word]; ok {
				words[i] = id
			}
		}
		got := try(t, state, words...)
		if got.exit != c.exit {
			t.Errorf("%s: exit %d: %s%s", c.line, got.exit, got.out, got.err)
		}
		for _, want := range c.says {
			if !strings.Contains(got.out+got.err, want) {
				t.Errorf("%s: no %q in %s%s", c.line, want, got.out, got.err)
			}
		}
		if got := try(t, state, append(words, "--json")...); got.exit != c.exit || c.exit == 0 && !strings.Contains(got.out, `"outcome":"planned"`) {
			t.Errorf("%s --json: exit %d: %s", c.line, got.exit, got.out)
		}
		if !maps.Equal(tree(t, dir), before) || !maps.Equal(tree(t, state), jobs) {
			t.Fatalf("%s has changed something", c.line)
		}
	}
}

// TestDetailedExitCode checks the exit code of a plan with steps; it is not an error.
func TestDetailedExitCode(t *testing.T) {
	p := &program{console: quiet(nil)}
	if got := p.finish(errors.Join(errWouldChange)); got != 10 || p.err.(interface{ String() string }).String() != "" {
		t.Error(got, p.err)
	}
}
