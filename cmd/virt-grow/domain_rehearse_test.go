package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// rehearsal is the result of a rehearsal.
type rehearsal struct {
	Outcome, Reason string
	Frozen          float64 `json:"frozen_seconds"`
	Edit            float64 `json:"edit_seconds"`
	Outage          float64 `json:"outage_seconds"`
	Scratch         int64   `json:"scratch_bytes"`
	Changed         bool
	Error, Hint     string
}

func (x *vm) rehearse(t *testing.T, fault string, more ...string) (int, rehearsal) {
	t.Helper()
	x.note(t)
	code, out := x.run(t, fault, append([]string{"rehearse", x.Name, "--size", "1G", "--json"}, more...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var r rehearsal
	for _, line := range lines {
		if strings.Contains(line, `"event":"result"`) {
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
		}
	}
	t.Logf("exit %d, %+v", code, r)
	return code, r
}

// temporary makes a directory for the program's temporary files.
func temporary(t *testing.T, h *env) string {
	t.Helper()
	dir := filepath.Join(h.dir, "tmp")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Setenv("LIBGUESTFS_CACHEDIR", "/var/tmp") // the cached appliance is still used
	return dir
}

// checkEmpty fails the test if one of the program's temporary files is left. libguestfs
// leaves its own files after kill -9.
func checkEmpty(t *testing.T, tmp string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(tmp, "virt-grow-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// checkUndisturbed fails the test unless the guest runs on without a reboot, on its
// unchanged image, and no file of a rehearsal is left.
func (x *vm) checkUndisturbed(t *testing.T, tmp string) {
	t.Helper()
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot || beat.Written <= x.old.Written {
		t.Errorf("the guest was at %+v, and is at %+v", x.old, beat)
	}
	x.checkOld(t)
	checkEmpty(t, tmp)
	if _, out := x.run(t, "", "jobs", "--json"); !strings.Contains(out, `"jobs": []`) {
		t.Errorf("a job is left: %s", out)
	}
	if out, err := x.Virsh(context.Background(), "domjobinfo", x.Name); err != nil || !strings.Contains(out, "None") {
		t.Errorf("a job of libvirt's is left: %v %s", err, out)
	}
	if out, err := x.Agent(context.Background(), `{"execute":"guest-fsfreeze-status"}`); err != nil || !strings.Contains(out, "thawed") {
		t.Errorf("the guest's file systems are %s (%v)", out, err)
	}
}

// TestRehearsal edits a snapshot of a running guest's disk. The guest is only frozen for
// a moment, and no file is left.
func TestRehearsal(t *testing.T) {
	h := newEnv(t)
	tmp := temporary(t, h)
	x := h.start(t, "rehearsal", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	code, r := x.rehearse(t, "")
	if code != 0 || r.Outcome != "rehearsed" || r.Changed || r.Frozen <= 0 || r.Edit <= 0 || r.Outage <= r.Edit {
		t.Errorf("exit %d: %+v", code, r)
	}
	x.checkUndisturbed(t, tmp)

	code, r = x.rehearse(t, "", "--max-scratch", "1K", "--quiesce", "no")
	if code != 3 || r.Reason != "no-rehearsal" || !strings.Contains(r.Error, "since the snapshot") || !strings.Contains(r.Hint, "--max-scratch") {
		t.Errorf("with room for 1 KiB: exit %d: %+v", code, r)
	}
	x.checkUndisturbed(t, tmp)
}

// TestRehearsalEnds checks that the guest runs on however a rehearsal is ended, and that
// one command cleans up.
func TestRehearsalEnds(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	tmp := temporary(t, h)
	x := h.start(t, "ends", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	for _, c := range []struct {
		fault string
		exit  int
		then  string
	}{
		{"view/before=kill", -1, "rollback"}, // the file systems are frozen
		{"view/before=interrupt", 130, ""},
		{"check:sda2/before=kill", -1, "resume"},
		{"table:sda/before=enospc", 1, ""},
		{"fs:sda2/after=error", 1, ""},
		{"verify:sda2/before=interrupt", 130, ""},
		{"verify:sda2/after=kill", -1, "rollback"},
	} {
		t.Run(strings.ReplaceAll(c.fault, "/", "-"), func(t *testing.T) {
			code, r := x.rehearse(t, c.fault)
			if code != c.exit {
				t.Errorf("exit %d, want %d: %+v", code, c.exit, r)
			}
			if c.then != "" {
				x.beating(t, time.Now()) // before the cleanup
				id, _ := x.job(t)
				if code, out := x.run(t, "", c.then, id); code != 0 {
					t.Fatalf("%s: exit %d\n%s", c.then, code, out)
				}
			}
			x.checkUndisturbed(t, tmp)
		})
	}
}

// TestRehearsalRefused checks that obstacles are reported, and that no job is begun.
func TestRehearsalRefused(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	tmp := temporary(t, h)
	ctx := context.Background()
	x := h.start(t, "mute", lab.Spec{NoAgentChannel: true}, false, labDisk{"xfs", "qcow2"})
	if code, r := x.rehearse(t, "", "--quiesce", "yes"); code != 3 || r.Reason != "no-rehearsal" || !strings.Contains(r.Error, "agent") {
		t.Errorf("frozen without an agent: exit %d: %+v", code, r)
	}
	if code, r := x.rehearse(t, "", "--grow", "/nowhere"); code != 3 || r.Reason != "not-found" {
		t.Errorf("of what is not there: exit %d: %+v", code, r)
	}
	if code, r := x.rehearse(t, ""); code != 0 || r.Frozen != 0 {
		t.Errorf("without an agent: exit %d: %+v", code, r)
	}
	checkEmpty(t, tmp)
	backup := filepath.Join(h.dir, "backup.xml")
	xml := `<domainbackup mode='pull'><server transport='unix' socket='` + h.dir + `/l/tmp/other.sock'/></domainbackup>`
	if err := os.WriteFile(backup, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Virsh(ctx, "backup-begin", x.Name, backup); err != nil {
		t.Fatal(err)
	}
	if code, r := x.rehearse(t, ""); code != 5 || r.Reason != "domain-job" {
		t.Errorf("beside another backup: exit %d: %+v", code, r)
	}
	if out, _ := x.Virsh(ctx, "domjobinfo", x.Name); strings.Contains(out, "None") {
		t.Error("somebody else's backup was ended")
	}
	if _, err := x.Virsh(ctx, "domjobabort", x.Name); err != nil {
		t.Error(err)
	}
	x.checkOld(t)
}

// TestRehearsalOfImage rehearses on an image file, and checks that it is not changed.
func TestRehearsalOfImage(t *testing.T) {
	level.Need(t, level.Real)
	c := newCrash(t, buildWithFaults(t), "gpt-windows-winre", "qcow2")
	before, err := os.ReadFile(c.image)
	if err != nil {
		t.Fatal(err)
	}
	code, out := c.run(t, "", "rehearse", c.image, "--size", "1G", "--grow", "C:")
	if code != 0 || !strings.Contains(out, "the edit worked") || !strings.Contains(out, "move sda4") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if after, err := os.ReadFile(c.image); err != nil || string(after) != string(before) {
		t.Errorf("the image changed (%v)", err)
	}
	if left, _ := filepath.Glob(c.image + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(c.state, "jobs")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
