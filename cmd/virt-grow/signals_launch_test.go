package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestInterruptedLaunch checks that Ctrl-C ends a QEMU that hangs during the appliance's
// launch, also if its name is not qemu-system (RHEL: /usr/libexec/qemu-kvm).
func TestInterruptedLaunch(t *testing.T) {
	level.Need(t, level.Real)
	dir := t.TempDir()
	image, pid := filepath.Join(dir, "a.raw"), filepath.Join(dir, "pid")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20)); err != nil {
		t.Fatal(err)
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	// The script answers libguestfs's queries of its features, and then hangs under the
	// name that RHEL gives QEMU.
	hang := filepath.Join(dir, "qemu-kvm")
	if err := exec.Command("cp", sleep, hang).Run(); err != nil {
		t.Fatal(err)
	}
	hv := filepath.Join(dir, "hv")
	script := "#!/bin/sh\ncase \" $* \" in *.sock*) echo $$ >" + pid + "; exec " + hang + " 600;; esac\nexec " + qemu + " \"$@\"\n"
	if err := os.WriteFile(hv, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(buildWithFaults(t), "--state-dir", filepath.Join(dir, "state"), "--accel", "tcg", "inspect", image, "--format", "raw")
	cmd.Env = append(os.Environ(), "LIBGUESTFS_HV="+hv)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); !written(pid); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 2*time.Minute {
			_ = cmd.Process.Kill()
			t.Fatalf("QEMU was not started\n%s", out.String())
		}
	}
	begun := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !ended.Stop() {
		t.Fatalf("Ctrl-C did not end it\n%s", out.String())
	}
	t.Logf("ended %.1f s after Ctrl-C", time.Since(begun).Seconds())
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit %d, want %d\n%s", code, exitInterrupted, out.String())
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	hung, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", hung)); err == nil && exe == hang {
		t.Errorf("the hanging QEMU (pid %d) was left running", hung)
		_ = syscall.Kill(hung, syscall.SIGKILL)
	}
}

// written reports whether a file exists and has content.
func written(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}
