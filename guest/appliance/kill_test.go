package appliance

import (
	"bufio"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
)

// TestKill checks that a child of the launching thread ends together with its own
// children, and that other processes are not killed.
func TestKill(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/bin/sh", "-c", `sleep 60 & echo $!; wait`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grandchild, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	var processes []*block.Process
	for _, pid := range []int{cmd.Process.Pid, grandchild} {
		p, err := block.Open(fmt.Sprint(pid), pid)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		processes = append(processes, p)
	}
	kill(unix.Gettid(), grandchild)
	kill(unix.Gettid()+1, cmd.Process.Pid)
	for _, p := range processes {
		if !block.Alive(p.Proc) {
			t.Fatalf("%s is not the thread's child, and was killed", p.Role)
		}
	}
	kill(unix.Gettid(), cmd.Process.Pid)
	for _, p := range processes {
		if err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
