package block

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestChildrenOf checks that a child is found by the thread that started it, whatever
// the child's program is called, and that children of other threads are not found.
func TestChildrenOf(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	sleep, err = filepath.EvalSymlinks(sleep)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "qemu-kvm")
	if err := exec.Command("cp", sleep, program).Run(); err != nil {
		t.Fatal(err)
	}
	start := func(threads chan<- int, pids chan<- int, end <-chan struct{}) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(program, "60")
		if err := cmd.Start(); err != nil {
			t.Error(err)
		}
		threads <- unix.Gettid()
		pids <- cmd.Process.Pid
		<-end
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	end := make(chan struct{})
	defer close(end)
	threads, pids := make(chan int), make(chan int)
	var started [2][2]int // thread, pid
	for i := range started {
		go start(threads, pids, end)
		started[i] = [2]int{<-threads, <-pids}
	}
	for _, s := range started {
		if got := ChildrenOf(s[0]); !slices.Equal(got, []int{s[1]}) {
			t.Errorf("children of thread %d: %v, want %d", s[0], got, s[1])
		}
	}
}
