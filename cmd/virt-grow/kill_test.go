package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/guest/record"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// crash is a disk image and a state directory, for tests that run the program, built
// with the faults tag.
type crash struct {
	program, dir, image, state string
}

// buildWithFaults builds the program, which the tests run on the real engines.
func buildWithFaults(t *testing.T) string {
	t.Helper()
	level.Need(t, level.Real)
	program := filepath.Join(t.TempDir(), "virt-grow")
	out, err := exec.Command("go", "build", "-tags", "faults", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func newCrash(t *testing.T, program, name, format string) *crash {
	t.Helper()
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &crash{program: program, dir: dir, image: filepath.Join(dir, "disk."+format), state: filepath.Join(dir, "state")}
	if err := testimages.Copy(name, c.image, format); err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs the program and returns its exit code, -1 if a signal ended it.
func (c *crash) run(t *testing.T, fault string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(c.program, append([]string{"--state-dir", c.state}, args...)...)
	cmd.Env = append(os.Environ(), "VIRT_GROW_FAULT="+fault)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	checkLines(t, string(out))
	checkFault(t, c.state, fault, cmd.ProcessState.ExitCode())
	return cmd.ProcessState.ExitCode(), string(out)
}

func (c *crash) grow(t *testing.T, fault string) (int, string) {
	return c.run(t, fault, "grow", c.image, "--size", "1G", "--grow", "sda1", "--yes")
}

// job returns the name of the only job.
func (c *crash) job(t *testing.T) string {
	t.Helper()
	code, out := c.run(t, "", "jobs", "--json")
	var list struct {
		Jobs []struct{ ID, Next string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Jobs) != 1 {
		t.Fatalf("jobs: exit %d, %v\n%s", code, err, out)
	}
	return list.Jobs[0].ID
}

// seen returns the guest-visible content of the image.
func (c *crash) seen(t *testing.T) string {
	t.Helper()
	out := filepath.Join(c.dir, "seen.raw")
	format := strings.TrimPrefix(filepath.Ext(c.image), ".")
	if text, err := exec.Command("qemu-img", "convert", "-f", format, "-O", "raw", c.image, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// checkClean fails the test if a file next to the image or a process of the job is left.
func (c *crash) checkClean(t *testing.T) {
	t.Helper()
	if left, _ := filepath.Glob(c.image + ".virt-grow-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if line, _ := os.ReadFile(p); bytes.Contains(line, []byte(c.dir)) && bytes.Contains(line, []byte("qemu")) {
			t.Errorf("still running: %s", bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
		}
	}
}

// killPoints are the boundaries of every step for growing gpt-data-last, where the
// partition behind the target has to be moved. The long matrices use those that leave
// the most to clean up, make test-all LONG=all uses all of them.
var (
	killPoints      = []string{"move:sda2/after", "commit/after"}
	otherKillPoints = []string{
		"save-undo/after", "clean-up/after",
		"overlay/before", "overlay/after", "check:sda1/before", "move:sda2/before", "table:sda/before", "table:sda/after", "fs:sda1/before", "fs:sda1/after",
		"verify:sda1/before", "verify:sda1/after", "save-undo/before", "commit/before", "clean-up/before",
	}
)

// TestKilled ends the program with SIGKILL at every step boundary. Resume ends with the
// grown and verified disk, rollback with the bytes from before.
func TestKilled(t *testing.T) {
	level.Need(t, level.Real)
	program := buildWithFaults(t)
	points := killPoints
	switch level.Current() {
	case level.Real:
		points = []string{"fs:sda1/before"}
	case level.All:
		points = slices.Concat(killPoints, otherKillPoints)
	}
	for i, point := range points {
		format := []string{"raw", "qcow2"}[i%2]
		t.Run(strings.ReplaceAll(point, "/", "-")+"/"+format, func(t *testing.T) {
			c := newCrash(t, program, "gpt-data-last", format)
			before := keep(t, c.seen(t))
			if code, out := c.grow(t, point+"=kill"); code != -1 {
				t.Fatalf("not killed: exit %d\n%s", code, out)
			}
			crashed := c.save(t)
			c.resume(t)
			c.restore(t, crashed)
			c.rollback(t, point, before)
		})
	}
}

// TestKilledInCopy ends the program while a partition is copied to its new place, at the
// beginning of the copy and after some of it is written.
func TestKilledInCopy(t *testing.T) {
	level.Need(t, level.All)
	program := buildWithFaults(t)
	for i, written := range []bool{false, true, true} {
		format := []string{"raw", "qcow2"}[i%2]
		t.Run(fmt.Sprintf("written-%v/%s", written, format), func(t *testing.T) {
			c := newCrash(t, program, "gpt-data-last", format)
			before := keep(t, c.seen(t))
			c.killIn(t, "move:sda2", written, "grow", c.image, "--size", "1G", "--grow", "sda1", "--yes")
			crashed := c.save(t)
			c.resume(t)
			c.restore(t, crashed)
			c.rollback(t, "", before)
		})
	}
}

// killIn runs a command line and kills the program in a step: at the beginning, or once
// the step has written data.
func (c *crash) killIn(t *testing.T, step string, written bool, args ...string) {
	t.Helper()
	code, out := c.in(t, step, "", func(p *os.Process) {
		if written {
			c.waitWritten(t)
		}
		_ = p.Kill()
	}, args...)
	if code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	checkKilledIn(t, c.state, step)
}

// waitWritten waits until the job's files next to the image have more data than now, and
// more than an empty overlay.
func (c *crash) waitWritten(t *testing.T) {
	t.Helper()
	const empty, cluster = 256 << 10, 64 << 10
	from := max(c.allocated(), empty)
	wait := poll.Wait{For: "the step's data", Every: time.Millisecond, Limit: 2 * time.Minute}
	if err := poll.Until(t.Context(), wait, func() (bool, error) { return c.allocated() > from+cluster, nil }); err != nil {
		t.Error(err)
	}
}

// allocated returns the allocated size of the job's files next to the image.
func (c *crash) allocated() int64 {
	var sum int64
	_ = filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == c.state {
			return fs.SkipDir // a file may have been deleted
		}
		if info, err := entry.Info(); err == nil && entry.Type().IsRegular() && strings.Contains(path[len(c.dir):], "virt-grow-") {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return sum
}

// checkFault fails the test if a fault has killed the program outside its step.
func checkFault(t *testing.T, state, fault string, code int) {
	t.Helper()
	point, kills := strings.CutSuffix(fault, "=kill")
	if kills && code == -1 {
		checkKilledIn(t, state, point[:strings.LastIndex(point, "/")])
	}
}

// checkKilledIn fails the test unless the last job has begun the step and not ended it,
// because the result after another kill proves nothing about the step.
func checkKilledIn(t *testing.T, state, step string) {
	t.Helper()
	last := journal.Entry{}
	for _, e := range lastJournal(t, state) {
		if slices.Contains([]journal.Kind{journal.Begin, journal.Done, journal.Failed, journal.Undoing, journal.Undone}, e.Kind) {
			last = e
		}
	}
	// The snapshot of a running disk is taken before the first step.
	if step == "view" && last.Kind == "" {
		return
	}
	if last.Kind != journal.Begin || last.Step != step {
		t.Fatalf("the program was to be killed in step %s, the journal ends with %s %s", step, last.Kind, last.Step)
	}
}

// checkFailedIn fails the test unless the step failed in the last job.
func checkFailedIn(t *testing.T, state, step string) {
	t.Helper()
	if !slices.ContainsFunc(lastJournal(t, state), func(e journal.Entry) bool { return e.Kind == journal.Failed && e.Step == step }) {
		t.Errorf("the journal does not say that step %s failed", step)
	}
}

// lastJournal returns the journal that was written to last.
func lastJournal(t *testing.T, state string) []journal.Entry {
	t.Helper()
	var path string
	var at time.Time
	all, _ := filepath.Glob(filepath.Join(state, "jobs", "*", "journal"))
	for _, p := range all {
		if info, err := os.Stat(p); err == nil && info.ModTime().After(at) {
			path, at = p, info.ModTime()
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := journal.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// in runs a command line, and calls act with the process when a step begins. It returns
// the exit code, -1 if a signal ended the program, and the events.
func (c *crash) in(t *testing.T, step, fault string, act func(*os.Process), args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(c.program, append([]string{"--state-dir", c.state, "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "VIRT_GROW_FAULT="+fault)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	decoder := json.NewDecoder(io.TeeReader(events, &out))
	for {
		var e struct{ Phase, Step string }
		if err := decoder.Decode(&e); err != nil {
			break
		}
		if e.Phase == "started" && e.Step == step {
			act(cmd.Process)
		}
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

// save copies all files to another directory; restore copies them back.
func (c *crash) save(t *testing.T) string {
	t.Helper()
	aside := c.dir + ".aside"
	t.Cleanup(func() { os.RemoveAll(aside) })
	copyTree(t, c.dir, aside)
	return aside
}

func (c *crash) restore(t *testing.T, aside string) {
	t.Helper()
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}
	copyTree(t, aside, c.dir)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// keep copies a file to a name that later calls do not overwrite.
func keep(t *testing.T, path string) string {
	t.Helper()
	kept := path + ".before"
	if err := os.Rename(path, kept); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(t.TempDir(), "before.raw")
	if out, err := exec.Command("mv", kept, aside).CombinedOutput(); err != nil {
		t.Fatalf("mv: %v: %s", err, out)
	}
	return aside
}

func (c *crash) rollback(t *testing.T, point, before string) {
	t.Helper()
	job := c.job(t)
	code, out := c.run(t, "", "rollback", job)
	if point == "clean-up/after" {
		// Only the last entry of the journal is missing.
		if code != 3 {
			t.Errorf("rollback after the end: exit %d\n%s", code, out)
		}
		return
	}
	if code != 0 {
		t.Fatalf("rollback: exit %d\n%s", code, out)
	}
	if !sameFile(t, before, c.seen(t)) {
		t.Error("after rollback the image is not as it was")
	}
	c.checkClean(t)
	if code, out := c.run(t, "", "rollback", job); code != 0 {
		t.Errorf("a second rollback: exit %d\n%s", code, out)
	}
}

func (c *crash) resume(t *testing.T) {
	t.Helper()
	job := c.job(t)
	if code, out := c.run(t, "", "status", job); code != 0 || !strings.Contains(out, " resume "+job) {
		t.Errorf("status does not say what to run: exit %d\n%s", code, out)
	}
	if code, out := c.run(t, "", "resume", job); code != 0 {
		t.Fatalf("resume: exit %d\n%s", code, out)
	}
	c.checkGrown(t)
	c.checkClean(t)
	if code, out := c.run(t, "", "resume", job); code != 0 {
		t.Errorf("a second resume: exit %d\n%s", code, out)
	}
	c.checkReport(t, job)
}

// checkReport checks that the record of a job that was killed and resumed has both runs and
// the time of every step.
func (c *crash) checkReport(t *testing.T, job string) {
	t.Helper()
	code, out := c.run(t, "", "report", job, "--format", "json")
	var r view.ReportDocument
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
		t.Fatalf("report: exit %d, %v\n%s", code, err, out)
	}
	if len(r.Runs) != 2 || r.Runs[0].Exit != nil || r.Runs[1].Exit == nil || *r.Runs[1].Exit != 0 || r.Runs[1].User == "" || len(r.Runs[1].Versions) < 4 {
		t.Errorf("the record has the runs %+v", r.Runs)
	}
	for _, s := range r.Steps {
		if s.State != record.Done || s.Seconds <= 0 {
			t.Errorf("the record has the step %+v", s)
		}
	}
}

// checkGrown checks a copy with tools of other projects: the table with sfdisk, and the
// file systems of the grown and of the moved partition with e2fsck.
func (c *crash) checkGrown(t *testing.T) {
	t.Helper()
	seen := c.seen(t)
	info, err := os.Stat(seen)
	if err != nil || info.Size() != 1<<30 {
		t.Fatalf("the disk has %d bytes, %v", info.Size(), err)
	}
	out, err := exec.Command("sfdisk", "--json", seen).Output()
	if err != nil {
		t.Fatal(err)
	}
	var dump struct {
		PartitionTable struct{ Partitions []sectors }
	}
	if err := json.Unmarshal(out, &dump); err != nil || len(dump.PartitionTable.Partitions) != 2 {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	grown, moved := dump.PartitionTable.Partitions[0], dump.PartitionTable.Partitions[1]
	if end := moved.end(); end < 1<<30-2<<20 || grown.end() < moved.Start*512-1<<20 {
		t.Errorf("the partitions end at %d and %d", grown.end(), end)
	}
	if n := blocks(t, seen, moved); n != moved.Size*512 {
		t.Errorf("the file system that moved has %d bytes of %d", n, moved.Size*512)
	}
	if n := blocks(t, seen, grown); n < grown.Size*512-8<<20 {
		t.Errorf("the file system has %d bytes of %d", n, grown.Size*512)
	}
}

// sectors is a partition as sfdisk prints it.
type sectors struct{ Start, Size int64 }

func (s sectors) end() int64 { return (s.Start + s.Size) * 512 }

// blocks checks the ext4 in a partition of the disk, and returns its size.
func blocks(t *testing.T, disk string, p sectors) int64 {
	t.Helper()
	inner := disk + ".fs"
	defer os.Remove(inner)
	if out, err := exec.Command("dd", "if="+disk, "of="+inner, "bs=512", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", p.Start), fmt.Sprintf("count=%d", p.Size)).CombinedOutput(); err != nil {
		t.Fatalf("dd: %v: %s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", inner).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	head, err := exec.Command("dumpe2fs", "-h", inner).Output()
	if err != nil {
		t.Fatal(err)
	}
	var count, unit int64
	for line := range strings.Lines(string(head)) {
		_, _ = fmt.Sscanf(line, "Block count: %d", &count)
		_, _ = fmt.Sscanf(line, "Block size: %d", &unit)
	}
	return count * unit
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	err := exec.Command("cmp", "-s", a, b).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err == nil
}

// TestInterrupted sends Ctrl-C in the middle of a job: exit 130, and everything is as
// before.
func TestInterrupted(t *testing.T) {
	level.Only(t, level.Real)
	c := newCrash(t, buildWithFaults(t), "gpt-ext4", "raw")
	before := keep(t, c.seen(t))
	code, out := c.in(t, "fs:sda1", "fs:sda1/before=hang", func(p *os.Process) {
		_ = p.Signal(syscall.SIGINT)
		_ = p.Signal(syscall.SIGINT)
	}, "grow", c.image, "--size", "1G", "--yes")
	if code != 130 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if !strings.Contains(out, `"changed":false`) {
		t.Errorf("the result does not say that nothing changed:\n%s", out)
	}
	if !sameFile(t, before, c.seen(t)) {
		t.Error("the image is not as it was")
	}
	c.checkClean(t)
}

// TestInUse checks that an image that a running QEMU has open is refused with exit 5.
func TestInUse(t *testing.T) {
	level.Only(t, level.Real)
	c := &crash{dir: t.TempDir()}
	c.image, c.state = filepath.Join(c.dir, "disk.qcow2"), filepath.Join(c.dir, "state")
	c.program = buildWithFaults(t)
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", c.image, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	guest := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-S", "-display", "none", "-monitor", "stdio",
		"-drive", "file="+c.image+",format=qcow2,if=virtio")
	stdin, _ := guest.StdinPipe()
	stdout, _ := guest.StdoutPipe()
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	defer guest.Wait()
	defer stdin.Write([]byte("quit\n"))
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // at the prompt, the disk is open
		t.Fatal(err)
	}
	code, out := c.grow(t, "")
	if code != 5 || !strings.Contains(out, "in use") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
