package block

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// Identify records a running process by pid and start time, never by name, so that it
// can be found again.
func Identify(role string, pid int) (journal.Proc, error) {
	start, err := startTime(pid)
	if err != nil {
		return journal.Proc{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return journal.Proc{}, err
	}
	return journal.Proc{Role: role, Pid: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// startTime returns field 22 of /proc/PID/stat (proc(5)): clock ticks since boot. The
// second field is the program's name in parentheses, which may contain parentheses and
// spaces.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	fields := strings.Fields(string(stat[i+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	if fields[0] == "Z" {
		return 0, os.ErrNotExist // the process is a zombie
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Alive reports whether the process that was identified still runs.
func Alive(p journal.Proc) bool {
	now, err := Identify(p.Role, p.Pid)
	return err == nil && now == p
}

// End ends the process if it still runs: SIGTERM, and after grace SIGKILL.
func End(ctx context.Context, p journal.Proc, grace time.Duration) error {
	process, err := OpenProcess(p)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot end the left-over %s (pid %d): %w", p.Role, p.Pid, err)
	}
	defer process.Close()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("cannot end the left-over %s (pid %d): %w", p.Role, p.Pid, err)
		}
		limited, stop := context.WithTimeout(ctx, grace)
		err := process.Wait(limited)
		stop()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("the left-over %s (pid %d) does not end", p.Role, p.Pid)
}

// ChildrenOf returns the children of a thread of this process that run another program. It
// does not check names: QEMU is called qemu-system-x86_64, qemu-kvm (RHEL), or as
// LIBGUESTFS_HV says.
func ChildrenOf(thread int) []int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", thread))
	if err != nil {
		return nil // the thread has ended
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil
	}
	var pids []int
	for _, word := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			continue
		}
		// A child that still runs this program is about to run another one, or belongs
		// to libguestfs, which ends it.
		program, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && !os.SameFile(program, own) {
			pids = append(pids, pid)
		}
	}
	return pids
}
