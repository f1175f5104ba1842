package appliance

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// TestHung stops the first appliance's QEMU in its start: it is ended, and a
// second one comes up.
func TestHung(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the appliance: not with -short")
	}
	stopped := 0
	a, err := Launch(context.Background(), Options{
		scratch: scratchSize,
		limit:   2 * time.Second,
		Started: func(p journal.Proc) {
			if stopped == 0 {
				stopped = p.Pid
				if err := syscall.Kill(p.Pid, syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	if stopped == 0 || a.pid == stopped {
		t.Errorf("pid %d was stopped, %d runs", stopped, a.pid)
	}
	if err := syscall.Kill(stopped, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the stopped one is still there: %v", err)
	}
	if _, err := a.g.Version(); err != nil {
		t.Error(err)
	}
}
