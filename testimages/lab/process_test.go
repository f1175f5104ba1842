package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leftovers returns an error if a stopped libvirt has left processes, mounts in any
// process's namespace, or sockets.
func leftovers(l *Libvirt) error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range processes {
		environ, _ := os.ReadFile(p + "/environ")
		mounts, _ := os.ReadFile(p + "/mountinfo")
		if bytes.Contains(environ, []byte(l.mark())) || bytes.Contains(mounts, []byte(l.dir)) {
			cmdline, _ := os.ReadFile(p + "/cmdline")
			errs = append(errs, fmt.Errorf("%s is left: %q", p, cmdline))
		}
	}
	if _, err := os.Stat(l.path("run")); err == nil {
		errs = append(errs, errors.New("sockets are left"))
	}
	return errors.Join(errs...)
}

// owner is the user whose images quick uses.
const owner = 12345

// quick starts a guest that hangs, for tests that only need its process.
func quick(ctx context.Context, l *Libvirt) error {
	path := l.path("disk.qcow2")
	if err := errors.Join(Image(ctx, "xfs", "qcow2", path), os.Chown(path, owner, owner)); err != nil {
		return err
	}
	g, err := l.Define(ctx, Spec{Name: "quick", Disks: []Disk{{Path: path, Format: "qcow2", Target: "vda"}}, Cmdline: []string{"hang"}})
	if err != nil {
		return err
	}
	return g.Start(ctx)
}

// abandon is run by TestAbandoned in a process of its own. It starts a guest and does
// not stop it.
func abandon(dir string) {
	l, err := Start(context.Background(), dir)
	if err == nil {
		err = quick(context.Background(), l)
	}
	fmt.Println("running:", err)
	time.Sleep(time.Hour)
}

func TestAbandoned(t *testing.T) {
	privateLibvirt(t)
	dir := temporary(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LAB_ABANDON="+dir)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	said := make([]byte, 1000)
	n, err := out.Read(said)
	if err != nil || string(said[:n]) != "running: <nil>\n" {
		t.Errorf("%q, %v", said[:n], err)
	}
	l := &Libvirt{dir: dir}
	if pid, err := l.QEMUPid("quick"); err != nil || pid == 0 {
		t.Errorf("process %d, %v", pid, err)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	check(t, until(limited(t), "supervisor", func() (bool, error) {
		_, err := l.QEMUPid("quick")
		return err != nil, nil
	}))
	check(t, os.RemoveAll(l.path("run")))
	check(t, until(limited(t), "the end of all", func() (bool, error) { return leftovers(l) == nil, nil }))
}

func TestDetached(t *testing.T) {
	privateLibvirt(t)
	started, err := StartDetached(t.Context(), temporary(t))
	check(t, err)
	t.Cleanup(func() { _ = started.Stop() })
	check(t, quick(t.Context(), started))
	check(t, started.Kill()) // Stop has to work without the supervisor
	if ownerOf(t, started.path("disk.qcow2")) == owner {
		t.Error("libvirt did not take the image over: tests of what it undoes prove nothing")
	}
	l, err := Attach(started.dir)
	check(t, err)
	if pid, err := l.QEMUPid("quick"); err != nil || pid == 0 {
		t.Errorf("process %d, %v", pid, err)
	}
	time.Sleep(1500 * time.Millisecond) // the clock has to advance by a second: see writeBootTime
	check(t, l.Restart(t.Context()))
	check(t, l.Stop())
	check(t, leftovers(l))
	if uid := ownerOf(t, l.path("disk.qcow2")); uid != owner {
		t.Errorf("the image is left to user %d", uid)
	}
	if _, err := Attach(started.dir); err == nil {
		t.Error("attached to what was stopped")
	}
}

func TestStopWithoutDaemon(t *testing.T) {
	privateLibvirt(t)
	l, err := Start(t.Context(), temporary(t))
	check(t, err)
	t.Cleanup(func() { _ = l.Stop() })
	check(t, quick(t.Context(), l))
	check(t, l.Kill())
	check(t, l.Stop())
	check(t, leftovers(l))
}

func TestStartRefuses(t *testing.T) {
	for _, dir := range []string{"/tmp/" + strings.Repeat("long", 30), "/proc/1/fdinfo/x"} {
		if l, err := Start(t.Context(), dir); err == nil {
			t.Errorf("%s was taken", dir)
			_ = l.Stop()
		}
	}
}

// temporary returns a directory with a short path that QEMU's user can get to.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	out, err := output(t.Context(), "stat", "-c", "%u", path)
	check(t, err)
	var uid int
	_, err = fmt.Sscan(out, &uid)
	check(t, err)
	return uid
}
