package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// editPoints are the boundaries of the steps of an edit. The long matrices use those
// that leave the most to clean up, make test-all LONG=all uses all of them.
var (
	editPoints      = []string{"commit/after"}
	otherEditPoints = []string{"write/before", "write/after", "save-undo/before", "save-undo/after", "commit/before", "clean-up/before", "clean-up/after"}
)

// TestEditKilled ends the program with SIGKILL at the boundaries of the steps, and in
// the middle of the edit. Resume ends with the edited file, rollback with the image's
// bytes from before.
func TestEditKilled(t *testing.T) {
	level.Need(t, level.Long)
	program := buildWithFaults(t)
	points, written := editPoints, []bool{true}
	if level.At(level.All) {
		points = slices.Concat(editPoints, otherEditPoints)
		written = []bool{false, true}
	}
	for i, point := range points {
		format := []string{"raw", "qcow2"}[i%2]
		t.Run(strings.ReplaceAll(point, "/", "-")+"/"+format, func(t *testing.T) {
			c := newCrash(t, program, "none-ext4", format)
			before := keep(t, c.seen(t))
			if code, out := c.edit(t, point+"=kill"); code != -1 {
				t.Fatalf("not killed: exit %d\n%s", code, out)
			}
			c.bothWays(t, point, before)
		})
	}
	for _, written := range written {
		t.Run(fmt.Sprintf("in-write/written-%v", written), func(t *testing.T) {
			c := newCrash(t, program, "none-ext4", "qcow2")
			before := keep(t, c.seen(t))
			c.killIn(t, "write", written, append([]string{"edit", c.image + ":/README.txt"}, editing...)...)
			c.bothWays(t, "", before)
		})
	}
}

var editing = []string{"-e", "s/virt-grow test data/edited/", "--mount", "sda"}

func (c *crash) edit(t *testing.T, fault string, more ...string) (int, string) {
	t.Helper()
	return c.run(t, fault, slices.Concat([]string{"edit", c.image + ":/README.txt"}, editing, more)...)
}

// bothWays resumes an interrupted edit, and rolls back a copy of it.
func (c *crash) bothWays(t *testing.T, point, before string) {
	t.Helper()
	job := c.job(t)
	crashed := c.save(t)
	if code, out := c.run(t, "", "status", job); code != 0 || !strings.Contains(out, " resume "+job) {
		t.Errorf("status does not say what to run: exit %d\n%s", code, out)
	}
	if code, out := c.run(t, "", "resume", job); code != 0 {
		t.Fatalf("resume: exit %d\n%s", code, out)
	}
	if got := c.readme(t); got != "edited\n" {
		t.Errorf("after resume the file has %q", got)
	}
	c.checkClean(t)
	if code, out := c.run(t, "", "resume", job); code != 0 {
		t.Errorf("a second resume: exit %d\n%s", code, out)
	}
	c.restore(t, crashed)
	if strings.HasPrefix(point, "clean-up/") {
		if code, out := c.run(t, "", "rollback", job); code != 3 || !strings.Contains(out, "cannot be rolled back") {
			t.Errorf("rollback: exit %d\n%s", code, out)
		}
		return
	}
	if code, out := c.run(t, "", "rollback", job); code != 0 {
		t.Fatalf("rollback: exit %d\n%s", code, out)
	}
	if !sameFile(t, before, c.seen(t)) {
		t.Error("after rollback the image is not as it was")
	}
	c.checkClean(t)
}

// readme reads the edited file from a copy of the image with debugfs(8), and checks the
// copy with e2fsck.
func (c *crash) readme(t *testing.T) string {
	t.Helper()
	seen := c.seen(t)
	defer os.Remove(seen)
	if out, err := exec.Command("e2fsck", "-fn", seen).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	var complaints bytes.Buffer
	cmd := exec.Command("debugfs", "-R", "cat /README.txt", seen)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, &complaints)
	}
	return string(out)
}

// TestEditFails checks that an edit that fails after the commit has begun is undone, and
// that an interrupted edit changes nothing.
func TestEditFails(t *testing.T) {
	level.Need(t, level.All)
	program := buildWithFaults(t)
	c := newCrash(t, program, "none-ext4", "qcow2")
	before := keep(t, c.seen(t))
	for _, r := range []struct {
		fault string
		exit  int
	}{{"commit/after=error", 7}, {"write/after=enospc", 1}, {"commit/before=interrupt", 130}} {
		code, out := c.edit(t, r.fault, "--json")
		if code != r.exit || !strings.Contains(out, `"changed":false`) {
			t.Errorf("%s: exit %d\n%s", r.fault, code, out)
		}
		if !sameFile(t, before, c.seen(t)) {
			t.Errorf("%s: the image has changed", r.fault)
		}
		c.checkClean(t)
	}
}
