// Package kvm reports whether the host's KVM works.
package kvm

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Works tries KVM once, until the first output of a guest's firmware. With a broken KVM,
// QEMU ends at its start, or the guest hangs.
var Works = sync.OnceValue(func() bool {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "pc,accel=kvm", "-cpu", "host", "-m", "64",
		"-nodefaults", "-display", "none", "-chardev", "stdio,id=out", "-device", "isa-debugcon,iobase=0x402,chardev=out")
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return false
	}
	n, _ := out.Read(make([]byte, 1))
	cancel()
	_ = cmd.Wait()
	return n > 0
})
