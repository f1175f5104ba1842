package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// output runs a program and returns what it printed on standard output.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

// pollEvery is the interval for checking conditions that send no event.
const pollEvery = 20 * time.Millisecond

// until calls done repeatedly, until it returns true or an error.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(pollEvery):
		}
	}
}

// pidIn reads a pid file. It returns 0 if there is none: the process has ended regularly.
func pidIn(file string) (int, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return pid, nil
}

// runs reports whether the process with a pid still runs and was started for this directory:
// the pid may have been reused.
func (l *Libvirt) runs(pid int) bool {
	if pid <= 0 {
		return false
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	if len(environ) == 0 { // on its way out, perhaps with files still open
		return !isZombie(pid)
	}
	return bytes.Contains(environ, []byte(l.mark()+"\x00"))
}

// isZombie reports whether all threads of a process have ended.
func isZombie(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(dir + "status")
	tasks, _ := os.ReadDir(dir + "task")
	return err != nil || bytes.Contains(status, []byte("\nState:\tZ")) && len(tasks) <= 1
}

// mark returns a variable in the environment of supervisor and daemon, which libvirt hands
// on to the guests' QEMU.
func (l *Libvirt) mark() string { return "TMPDIR=" + l.path("tmp") }

// supervisor starts a process that starts the daemon, adopts the guests, and runs as long as
// any of them. Unless detached, it reads from a pipe to this process.
func (l *Libvirt) supervisor(ctx context.Context) (*exec.Cmd, error) {
	cache, err := cache(ctx, "supervisor")
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(l.path("log/daemon.out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(cache, "supervisor"), l.dir, "ALONE")
	if !l.detached {
		cmd.Args[2] = "PIPE"
		// Nothing is written to the pipe: it is closed when this process ends.
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	cmd.Env = append(os.Environ(), l.mark())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C must not reach the daemon
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, l.note(cmd.Process.Pid)
}

// note records a supervisor, so that Stop ends it.
func (l *Libvirt) note(pid int) error {
	f, err := os.OpenFile(l.path("supervisors"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, pid)
	return errors.Join(err, f.Close())
}

func (l *Libvirt) supervisors() (pids []int, err error) {
	b, err := os.ReadFile(l.path("supervisors"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// end sends a signal to a process and waits until it has ended; after a time limit it kills
// the process.
func (l *Libvirt) end(pid int, signal syscall.Signal) error {
	if !l.runs(pid) {
		return nil
	}
	_ = syscall.Kill(pid, signal)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	gone := func() (bool, error) { return !l.runs(pid), nil }
	if until(ctx, "process to end", gone) == nil {
		return nil
	}
	if signal == syscall.SIGKILL {
		return fmt.Errorf("process %d does not end", pid)
	}
	return l.end(pid, syscall.SIGKILL)
}
