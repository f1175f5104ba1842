package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// onTerminal runs a command line of the program on a terminal of 80 columns, where it
// shows its progress.
func (r images) onTerminal(t *testing.T, line string) (int, string) {
	t.Helper()
	command := "stty cols 80; exec " + r.program + " --state-dir " + filepath.Join(r.dir, "state") + " " + line
	cmd := exec.Command("script", "-q", "-e", "-c", command, "/dev/null")
	cmd.Dir = r.dir
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestTerminal checks that every command that takes a while works on a terminal as well,
// and erases its progress line.
func TestTerminal(t *testing.T) {
	r := images{buildWithFaults(t), onePartition(t, "mkfs.ext4 -q -L data fs")}
	shell(t, r.dir, "echo hello >note")
	for _, c := range []struct {
		line, says string
		long       bool
		exit       int
	}{
		{"plan disk.raw --size 1G", "sda1", false, 0},
		{"df disk.raw", "ext4", false, 0},
		{"inspect disk.raw", "ext4", true, 0},
		{"copy-in --mount sda1 note disk.raw:/", "note", true, 0},
		{"ls --mount sda1 disk.raw:/", "note", true, 0},
		{"cat --mount sda1 disk.raw:/note", "hello", true, 0},
		{"copy-out --mount sda1 disk.raw:/note out", "out", true, 0},
		{"rehearse disk.raw --size 1G", "discarded", true, 0},
		{"doctor", "libguestfs", true, 0},
		{"plan disk.raw --size 1G -o saved.json --detailed-exit-code", "sda1", true, 10},
		{"apply saved.json --dry-run", "dry run", true, 0},
		{"grow disk.raw --size 1100M --dry-run", "dry run", true, 0},
		{"apply saved.json --yes", "is grown", true, 0},
		{"grow disk.raw --size 1100M --yes", "is grown", true, 0},
	} {
		t.Run(strings.Fields(c.line)[0], func(t *testing.T) {
			if c.long {
				level.Need(t, level.Long)
			} else {
				level.Only(t, level.Real)
			}
			code, out := r.onTerminal(t, c.line)
			if code != c.exit || !strings.Contains(out, c.says) || !strings.Contains(out, " … ") {
				t.Errorf("%s: exit %d\n%q", c.line, code, out)
			}
			if strings.Contains(out, "goroutine ") {
				t.Errorf("%s crashed", c.line)
			}
		})
	}
}
