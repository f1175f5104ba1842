package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestDamageFound checks that damage of a running guest's file system is found before
// the guest is asked to shut down, and that later damage is found in the outage, before
// the growth.
func TestDamageFound(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	tmp := temporary(t, h)
	data := xfsFile(t, filepath.Join(h.dir, "data.raw"))
	x := h.start(t, "damage", lab.Spec{Disks: []lab.Disk{{Path: data, Format: "raw", Target: "vdb"}}}, false, labDisk{"xfs", "qcow2"})
	x.disks[0], x.disks[1] = x.disks[1], x.disks[0] // vda first
	args := []string{"grow", x.Name, "--disk", "vdb", "--size", "+64M", "--yes", "--json", "--boot-timeout", "90s", "--shutdown-timeout", "60s"}

	t.Run("before the shutdown", func(t *testing.T) {
		rootLinks(t, data, "7") // without an entry in the XFS log, and without an error in the guest
		x.note(t)
		code, out := x.run(t, "", args...)
		if r := resultOf(t, out); code != exitRefused || r.Reason != "fs-damaged" || r.Changed {
			t.Errorf("exit %d, %+v\n%s", code, r, out)
		}
		if strings.Contains(out, "asking the guest to shut down") {
			t.Errorf("the guest was asked to shut down:\n%s", out)
		}
		x.checkUndisturbed(t, tmp)
		rootLinks(t, data, "2")
	})
	t.Run("after the shutdown", func(t *testing.T) {
		x.note(t)
		u := x.launch(t, "shutdown/after=stop", args...)
		u.whileStopped(t, func() { flipByte(t, data, 300) })
		code := u.end(t)
		r := resultOf(t, u.out.String())
		if code != exitRefused || r.Reason != "fs-damaged" || !strings.Contains(r.Error, "wrong checksum") {
			t.Errorf("exit %d, %+v\n%s", code, r, &u.out)
		}
		if !strings.Contains(u.out.String(), "snapshot-check") {
			t.Errorf("no check before the shutdown:\n%s", &u.out)
		}
		flipByte(t, data, 300)
		if out, err := exec.Command("xfs_repair", "-n", data).CombinedOutput(); err != nil {
			t.Errorf("something else was written: %v\n%s", err, out)
		}
		if beat := x.beating(t, time.Now()); beat.Boot == x.old.Boot {
			t.Errorf("the guest did not shut down: %+v", beat)
		}
		x.checkEnded(t)
	})
}

// xfsFile makes a raw image with an XFS, and no partition table.
func xfsFile(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 320<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.xfs", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v\n%s", err, out)
	}
	return path
}

// rootLinks sets how many links the root directory of an XFS has; it has two.
func rootLinks(t *testing.T, path, links string) {
	t.Helper()
	out, err := exec.Command("xfs_db", "-x", "-f", "-c", "sb 0", "-c", "addr rootino", "-c", "write core.nlinkv2 "+links, path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "core.nlinkv2 = "+links) {
		t.Fatalf("xfs_db: %v\n%s", err, out)
	}
}

// flipByte changes a byte of a file; a second call changes it back.
func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// growthResult is the last event of a growth.
type growthResult struct {
	Event, Reason, Outcome, Error, Hint string
	Changed                             bool
}

func resultOf(t *testing.T, out string) (r growthResult) {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"event":"result"`) {
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}
