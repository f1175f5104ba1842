package block

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// kernels runs a test with pidfds, and again as on a kernel without pidfds.
func kernels(t *testing.T, test func(*testing.T)) {
	t.Run("with pidfds", test)
	for name, errno := range map[string]error{"without pidfds": unix.ENOSYS, "in a sandbox without pidfds": unix.EPERM} {
		t.Run(name, func(t *testing.T) {
			real := pidfdOpen
			pidfdOpen = func(int, int) (int, error) { return -1, errno }
			t.Cleanup(func() { pidfdOpen = real })
			test(t)
		})
	}
}

// sleeping starts a process that sleeps for a minute.
func sleeping(t *testing.T) journal.Proc { return start(t, exec.Command("sleep", "60")) }

// stubborn starts a process that SIGTERM does not end.
func stubborn(t *testing.T) journal.Proc {
	cmd := exec.Command("/bin/sh", "-c", `trap "" TERM; echo; exec sleep 60`)
	ready, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts a process that is killed at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) journal.Proc {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := Identify("sleep", cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEnd(t *testing.T) {
	kernels(t, func(t *testing.T) {
		p := sleeping(t)
		if err := End(t.Context(), p, time.Minute); err != nil || Alive(p) {
			t.Errorf("%v, alive: %v", err, Alive(p))
		}
		if err := End(t.Context(), p, time.Minute); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// TestEndKills checks that SIGKILL ends a process that ignores SIGTERM.
func TestEndKills(t *testing.T) {
	kernels(t, func(t *testing.T) {
		p := stubborn(t)
		// The grace period is short to keep the test fast. It may be over before the
		// kernel has ended the process, so the process is checked until it has ended.
		for Alive(p) {
			_ = End(t.Context(), p, time.Millisecond)
		}
	})
}

// TestEndOnlyThatProcess checks that a process is not ended if it only has the same pid
// as the identified one.
func TestEndOnlyThatProcess(t *testing.T) {
	kernels(t, func(t *testing.T) {
		p := sleeping(t)
		for name, other := range map[string]journal.Proc{
			"started at another time": {Role: p.Role, Pid: p.Pid, Start: p.Start - 1, Boot: p.Boot},
			"of another boot":         {Role: p.Role, Pid: p.Pid, Start: p.Start, Boot: "another"},
		} {
			if err := End(t.Context(), other, time.Minute); err != nil || !Alive(p) {
				t.Errorf("%s: %v, alive: %v", name, err, Alive(p))
			}
			if _, err := OpenProcess(other); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("%s: opened, %v", name, err)
			}
		}
	})
}

// TestProcessThatEnded checks that an ended process and an unused pid cause no error.
func TestProcessThatEnded(t *testing.T) {
	kernels(t, func(t *testing.T) {
		p := sleeping(t)
		open, err := OpenProcess(p)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if err := open.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := open.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if err := open.Wait(t.Context()); err != nil {
			t.Errorf("waited for again: %v", err)
		}
		if _, err := OpenProcess(p); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("opened when it had ended: %v", err)
		}
		if _, err := Open("none", 1<<22+1); !errors.Is(err, os.ErrProcessDone) { // above any pid_max
			t.Errorf("opened where there is none: %v", err)
		}
		if err := End(t.Context(), p, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

// TestWaitEndsWithItsContext checks that a wait ends with its context, whether the
// context ended before or ends during the wait, and that a second wait succeeds.
func TestWaitEndsWithItsContext(t *testing.T) {
	why := errors.New("enough")
	kernels(t, func(t *testing.T) {
		open, err := OpenProcess(sleeping(t))
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		ended, end := context.WithCancelCause(t.Context())
		end(why)
		if err := open.Wait(ended); !errors.Is(err, why) {
			t.Errorf("ended before: %v", err)
		}
		ending, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, why)
		defer stop()
		if err := open.Wait(ending); !errors.Is(err, why) {
			t.Errorf("ended meanwhile: %v", err)
		}
		if err := open.Signal(unix.SIGKILL); err != nil {
			t.Error(err)
		}
		if err := open.Wait(t.Context()); err != nil {
			t.Errorf("waited for again: %v", err)
		}
	})
}

// TestEndIsInterrupted checks that End waits for a process no longer than the context
// lasts.
func TestEndIsInterrupted(t *testing.T) {
	why := errors.New("enough")
	kernels(t, func(t *testing.T) {
		p := stubborn(t)
		ctx, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, why)
		defer stop()
		if err := End(ctx, p, time.Hour); !errors.Is(err, why) || !Alive(p) {
			t.Errorf("%v, alive: %v", err, Alive(p))
		}
	})
}

// TestOpenFails checks that an unrelated error is not taken for the end of the process.
func TestOpenFails(t *testing.T) {
	real := pidfdOpen
	pidfdOpen = func(int, int) (int, error) { return -1, unix.EMFILE }
	t.Cleanup(func() { pidfdOpen = real })
	if err := End(t.Context(), sleeping(t), time.Minute); !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v", err)
	}
}
