package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestRehearsalSocket checks that QEMU creates the snapshot's socket in libvirt's
// directory of the running domain, which AppArmor and SELinux allow, if the program sees
// that directory. The tests' libvirt has its own mount namespace, so the program runs
// inside it.
func TestRehearsalSocket(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "socket", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	pid, err := os.ReadFile(filepath.Join(h.dir, "l", "run", "libvirtd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "--mount=/proc/"+strings.TrimSpace(string(pid))+"/ns/mnt", "--",
		x.program, "--state-dir", x.state, "--connect", x.URI(), "rehearse", x.Name, "--size", fmt.Sprintf("%dB", x.want))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	place := ""
	for running := true; running; {
		select {
		case err := <-ended:
			if running = false; err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
		case <-time.After(50 * time.Millisecond):
			if at := listening(t); at != "" {
				place = at
			}
		}
	}
	if dir := filepath.Base(filepath.Dir(place)); !strings.HasPrefix(dir, "domain-") || !strings.HasSuffix(dir, "-socket") {
		t.Errorf("the socket was %q, not in the domain's directory\n%s", place, out.String())
	}
	if at := listening(t); at != "" {
		t.Errorf("%s was left", at)
	}
}

// listening returns the path of a rehearsal's socket of the guest "socket"; "" if there
// is none.
func listening(t *testing.T) string {
	t.Helper()
	all, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		fields := strings.Fields(line)
		if path := fields[len(fields)-1]; strings.Contains(path, "-socket/virt-grow-") {
			return path
		}
	}
	return ""
}
