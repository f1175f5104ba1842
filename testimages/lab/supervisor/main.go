// Supervisor runs one libvirtd on the directories below DIR, in a mount namespace of its own,
// and stays the parent of all its processes:
//
//	supervisor DIR PIPE|ALONE
//
// The QEMU processes of guests outlive their libvirtd and would become children of process 1,
// which in a container may reap them late or never; for libvirt, a zombie is a process that
// does not end. So the supervisor adopts them. It ends when none is left. On SIGTERM, or with
// PIPE at the end of standard input, for example because the process at the other end has
// died, it kills all of them. The kernel's parent-death signal is not enough: it only reaches
// direct children, and depends on a thread.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The private directories and where libvirt sees them. All of /run is private, not only
// /run/libvirt, so that this libvirt does not use the host's D-Bus: it would register its
// guests at systemd, among those of the host's own libvirt.
var mounts = []struct{ directory, at string }{
	{"etc", "/etc/libvirt"}, {"lib", "/var/lib/libvirt"}, {"log", "/var/log/libvirt"}, {"cache", "/var/cache/libvirt"}, {"run", "/run"},
}

func init() { runtime.LockOSThread() } // the namespace is the thread's, and its children's

func main() {
	if err := run(os.Args[1], os.Args[2] == "PIPE"); err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		os.Exit(1)
	}
}

func run(dir string, pipe bool) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if err := adopt(); err != nil {
		return err
	}
	if err := enterNamespace(dir); err != nil {
		return err
	}
	daemon, err := startDaemon(dir)
	if err != nil {
		return err
	}
	if pipe {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop <- syscall.SIGTERM
		}()
	}
	go func() {
		for <-stop; ; time.Sleep(10 * time.Millisecond) {
			killChildren()
		}
	}()
	return reap(daemon)
}

// adopt makes this process the parent of orphans among its descendants.
func adopt() error {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("become a subreaper: %w", errno)
	}
	return nil
}

func enterNamespace(dir string) error {
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range mounts {
		if err := syscall.Mount(filepath.Join(dir, m.directory), m.at, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount on %s: %w", m.at, err)
		}
	}
	return nil
}

func startDaemon(dir string) (pid int, err error) {
	path, err := exec.LookPath("libvirtd")
	if err != nil {
		return 0, err
	}
	p, err := os.StartProcess(path, []string{path, "--pid-file", "/run/libvirtd.pid"},
		&os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	return p.Pid, os.WriteFile(filepath.Join(dir, "daemon.pid"), []byte(strconv.Itoa(p.Pid)+"\n"), 0o644)
}

// reap waits for children until there are none.
func reap(daemon int) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.ECHILD {
			return nil
		}
		if pid == daemon && status.Signaled() {
			fmt.Fprintln(os.Stderr, "supervisor: libvirtd was ended by a signal:", status.Signal())
		}
	}
}

// killChildren kills all children. Their children then become children of this process.
func killChildren() {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, _ := os.ReadFile(s)
		// PID (NAME) STATE PPID …; NAME may contain any character (proc(5)).
		_, rest, _ := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(s))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
