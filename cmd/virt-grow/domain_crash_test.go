package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// underway is a growth that runs in the background.
type underway struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

// begin starts a growth, and returns while it runs.
func (x *vm) begin(t *testing.T, fault string, more ...string) *underway {
	t.Helper()
	x.note(t)
	args := []string{"grow", x.Name, "--size", "1G", "--yes", "--boot-timeout", "90s", "--shutdown-timeout", "60s"}
	return x.launch(t, fault, append(args, more...)...)
}

// launch starts any command.
func (x *vm) launch(t *testing.T, fault string, args ...string) *underway {
	t.Helper()
	u := &underway{done: make(chan struct{})}
	u.cmd = exec.Command(x.program, append([]string{"--state-dir", x.state, "--connect", x.URI()}, args...)...)
	u.cmd.Env = append(os.Environ(), "VIRT_GROW_FAULT="+fault)
	u.cmd.Stdout, u.cmd.Stderr = &u.out, &u.out
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = u.cmd.Wait(); close(u.done) }()
	t.Cleanup(func() { _ = u.cmd.Process.Kill(); <-u.done })
	return u
}

// whileStopped waits until the program has stopped itself at a point with the fault
// "stop", calls do, and continues the program.
func (u *underway) whileStopped(t *testing.T, do func()) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !u.stopped(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-u.done:
			t.Fatalf("it ended before:\n%s", &u.out)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it does not get there")
		}
	}
	do()
	if err := u.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func (u *underway) stopped() bool { return stopped(u.cmd.Process.Pid) }

// stopped reports whether a process has been stopped: its state in /proc/PID/stat (proc(5)),
// which follows the name in parentheses, is T.
func stopped(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("T"))
}

// end waits for the program to end, and returns its exit code.
func (u *underway) end(t *testing.T) int {
	t.Helper()
	select {
	case <-u.done:
	case <-time.After(5 * time.Minute):
		t.Fatal("it does not end")
	}
	return u.cmd.ProcessState.ExitCode()
}

// at waits until the journal has the beginning of a step.
func (x *vm) at(t *testing.T, step string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if x.begun(step) {
			return
		}
	}
	t.Fatalf("step %s is never begun", step)
}

func (x *vm) begun(step string) bool {
	dirs, _ := os.ReadDir(x.state + "/jobs")
	for _, dir := range dirs {
		journal, _ := os.ReadFile(x.state + "/jobs/" + dir.Name() + "/journal")
		if bytes.Contains(journal, []byte(`"kind":"begin","step":"`+step+`"`)) {
			return true
		}
	}
	return false
}

// TestDomainStartedByHand checks that the domain cannot be started while its disk is
// edited, because of QEMU's own lock. After Ctrl-C the job is undone, and the guest runs
// again.
func TestDomainStartedByHand(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "hand", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	u := x.begin(t, "fs:sda2/before=hang")
	x.at(t, "fs:sda2")
	if err := x.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("started in the middle of the edit: %v", err)
	}
	_ = u.cmd.Process.Signal(syscall.SIGINT)
	if code := u.end(t); code != 130 {
		t.Errorf("exit %d\n%s", code, &u.out)
	}
	x.checkOld(t)
}

// TestDaemonKilled kills libvirtd and starts it again, once while the guest is asked to
// shut down and once while it boots for its trial. The growth succeeds.
func TestDaemonKilled(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "daemon", lab.Spec{Cmdline: []string{"slow-shutdown=4"}}, false, labDisk{"xfs", "qcow2"})
	u := x.begin(t, "")
	for _, step := range []string{"shutdown", "health"} {
		x.at(t, step)
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		checkKilledIn(t, x.state, step)
		time.Sleep(time.Second) // gives the program time to reconnect, which no event reports
		if err := h.Restart(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if code := u.end(t); code != 0 {
		t.Fatalf("exit %d\n%s", code, &u.out)
	}
	x.checkGrown(t)
}

// TestTrialKilled kills the guest's QEMU in the trial. If virt-grow runs, the health
// check fails; if not, resume starts the trial again.
func TestTrialKilled(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "trial", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	kill := func() {
		pid, err := h.QEMUPid(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	u := x.begin(t, "")
	x.at(t, "health")
	kill()
	if code := u.end(t); code != 7 {
		t.Errorf("exit %d\n%s", code, &u.out)
	}
	checkFailedIn(t, x.state, "health")
	x.checkOld(t)

	if code, out := x.grow(t, "health/before=kill"); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	kill()
	id, _ := x.job(t)
	if code, out := x.run(t, "", "resume", id); code != 0 {
		t.Fatalf("resume: exit %d\n%s", code, out)
	}
	x.checkGrown(t)
}

// TestDomainMeddledWith starts the guest after a crash in the outage, or edits its
// definition in the trial. The program reports the change, and does not revert it.
func TestDomainMeddledWith(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	ctx := context.Background()
	x := h.start(t, "meddled", lab.Spec{}, false, labDisk{"xfs", "qcow2"})

	if code, out := x.grow(t, "fs:sda2/before=kill"); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id, _ := x.job(t)
	if err := x.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if code, out := x.run(t, "", "resume", id); code != 4 || !strings.Contains(out, "was started while") {
		t.Errorf("resume: exit %d\n%s", code, out)
	}
	if code, out := x.run(t, "", "rollback", id); code != 0 {
		t.Errorf("rollback: exit %d\n%s", code, out)
	}
	x.checkOld(t)

	x.mustGrow(t, "--accept", "manual")
	id, _ = x.job(t)
	if _, err := x.Virsh(ctx, "desc", x.Name, "--config", "--title", "edited in the trial"); err != nil {
		t.Fatal(err)
	}
	if code, out := x.run(t, "", "rollback", id); code != 0 {
		t.Fatalf("rollback: exit %d\n%s", code, out)
	}
	now := x.dump(t)
	if !strings.Contains(now, "edited in the trial") || strings.Contains(now, "virt-grow-") {
		t.Errorf("the edit is lost, or the overlay is still there:\n%s", now)
	}
	x.xml = now
	x.checkOld(t)

	// If another user shuts the guest down in its trial, accept commits offline.
	x.mustGrow(t, "--accept", "manual")
	id, _ = x.job(t)
	if _, err := x.Virsh(ctx, "shutdown", x.Name); err != nil {
		t.Fatal(err)
	}
	off, cancel := within(time.Minute)
	defer cancel()
	if err := x.WaitState(off, "shut off"); err != nil {
		t.Fatal(err)
	}
	if code, out := x.run(t, "", "accept", id); code != 0 {
		t.Fatalf("accept: exit %d\n%s", code, out)
	}
	if err := x.Start(ctx); err != nil {
		t.Fatal(err)
	}
	x.beating(t, time.Now())
	x.checkGrown(t)
}
