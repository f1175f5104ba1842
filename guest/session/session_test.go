package session

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestHung stops the appliance's QEMU while it starts. That QEMU is ended, and a second
// one boots.
func TestHung(t *testing.T) {
	level.Need(t, level.Real)
	ctx := context.Background()
	var stopped, all []journal.Proc
	s, err := Start(ctx, shortDir(t), []Drive{{Size: 64 * size.MiB, Sector: 512}}, Options{
		limit: time.Second,
		Started: func(p journal.Proc) {
			all = append(all, p)
			if p.Role == "appliance" && len(stopped) == 0 {
				stopped = append(stopped, p)
				if err := syscall.Kill(p.Pid, syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
			}
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(stopped) == 0 || block.Alive(stopped[0]) {
		t.Errorf("the stopped appliance is still there: %+v", stopped)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range all {
		if block.Alive(p) {
			t.Errorf("left behind: %+v", p)
		}
	}
}

// shortDir returns a temporary directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
