package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan/size"
)

// LaunchTimeout is how long an appliance may take to start unless Options say otherwise:
// with software emulation it takes a minute and a half on the busiest hosts, and in a
// host that is itself emulated five minutes. With KVM it takes a few seconds.
const (
	LaunchTimeout = 5 * time.Minute
	kvmLimit      = time.Minute
)

// programName is the name of this program for libguestfs.
const programName = "virt-grow"

// ErrHung reports that an appliance did not start in time. Rarely, an appliance hangs
// during its start; the next attempt works.
var ErrHung = errors.New("the appliance did not start in time: its QEMU is running, but the appliance does not answer (--launch-timeout allows more time)")

// kvmFailed is why a launch with KVM failed in this process, if a launch without KVM
// worked.
var kvmFailed atomic.Pointer[error]

// Launch starts the appliance, without KVM if that fails: if /dev/kvm exists but does not
// work (nested hosts), QEMU exits at once or hangs, and libguestfs does not fall back by
// itself.
func Launch(ctx context.Context, o Options) (*Appliance, error) {
	if o.Accel == "" {
		o.Accel = Auto
	}
	if o.Limit == 0 {
		o.Limit = LaunchTimeout
	}
	if o.Accel != Auto || !kvmPresent() {
		return launch(ctx, o)
	}
	if known := kvmFailed.Load(); known != nil {
		return launchWithout(ctx, o, *known)
	}
	first := o
	first.Limit = min(o.Limit, kvmLimit)
	a, err := launch(ctx, first)
	if err == nil || ctx.Err() != nil {
		return a, err
	}
	return launchWithout(ctx, o, err)
}

// launchWithout launches without KVM, after a launch with KVM failed.
func launchWithout(ctx context.Context, o Options, failed error) (*Appliance, error) {
	o.Accel = TCG
	a, err := launch(ctx, o)
	if ctx.Err() != nil {
		return a, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w (with KVM: %w)", err, failed)
	}
	kvmFailed.Store(&failed)
	a.KVMError = failed
	return a, nil
}

// kvmPresent reports whether this user may use /dev/kvm, working or not.
func kvmPresent() bool {
	return unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil
}

// launch launches with the unpacked kernel if that is faster, and with the appliance's own
// kernel if the unpacked one fails.
func launch(ctx context.Context, o Options) (*Appliance, error) {
	if o.Accel == TCG || !kvmPresent() {
		a, err := launchKernel(ctx, o, true)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrHung) {
			return a, err
		}
	}
	return launchKernel(ctx, o, false)
}

// launchKernel launches with the appliance's own kernel, or with the unpacked one.
func launchKernel(ctx context.Context, o Options, unpacked bool) (*Appliance, error) {
	g, err := guestfs.Create()
	if err != nil {
		return nil, fmt.Errorf("libguestfs: %w", err)
	}
	a := &Appliance{g: g, keys: o.Keys, Used: o.Accel, ntfsCluster: map[string]size.Bytes{},
		measured: map[string]size.Bytes{}, passed: map[string]string{}}
	for _, d := range o.Drives {
		a.drives = append(a.drives, drive{Drive: d})
	}
	if err := a.configure(o); err != nil {
		a.free()
		return nil, err
	}
	if unpacked {
		if err := a.unpackKernel(ctx); err != nil {
			a.free()
			return nil, err
		}
	}
	if err := a.boot(ctx, o); err != nil {
		a.free()
		return nil, err
	}
	if o.Accel == Auto {
		a.Used = KVM
		if !kvmPresent() {
			a.Used = TCG
		}
	}
	return a, nil
}

func (a *Appliance) configure(o Options) error {
	settings := []func() error{
		func() error { return a.g.Set_backend("direct") },
		// RHEL's libguestfs supports NTFS only in programs whose name begins with
		// "virt-" (its patch to guestfs_available and mount).
		func() error { return a.g.Set_program(programName) },
		// Ctrl-C at the terminal must not reach the appliance.
		func() error { return a.g.Set_pgroup(true) },
		// With a second processor the appliance boots 10 % faster: udev uses it. A third
		// does not help.
		func() error { return a.g.Set_smp(min(cmp.Or(o.Processors, 2), runtime.NumCPU())) },
		func() error { return a.g.Set_autosync(false) },
		func() (err error) {
			if a.memory, err = a.g.Get_memsize(); err != nil {
				return err
			}
			a.memory = memoryFor(a.memory, o.Disks, AvailableMemory())
			return a.g.Set_memsize(a.memory)
		},
		func() error { return o.addDrives(a.g) },
	}
	switch o.Accel {
	case TCG:
		settings = append(settings, func() error { return a.g.Set_backend_setting("force_tcg", "1") })
	case KVM:
		settings = append(settings, func() error { return a.g.Set_backend_setting("force_kvm", "1") })
	}
	for _, set := range settings {
		if err := silently(a.g, set); err != nil {
			return fmt.Errorf("libguestfs: %w", err)
		}
	}
	return nil
}

func (o Options) addDrives(g *guestfs.Guestfs) error {
	if o.scratch != 0 {
		return g.Add_drive_scratch(int64(o.scratch), nil)
	}
	for _, d := range o.Drives {
		if err := d.add(g); err != nil {
			return err
		}
	}
	return nil
}

func (d Drive) add(g *guestfs.Guestfs) error {
	drive := &guestfs.OptargsAdd_drive{
		Protocol_is_set: true, Protocol: "nbd",
		Server_is_set: true, Server: []string{"unix:" + d.Socket},
		Format_is_set: true, Format: "raw",
		// Flushes are not needed: an incomplete overlay is discarded, and a complete
		// one is synced as a whole.
		Cachemode_is_set: true, Cachemode: "unsafe",
	}
	if d.Sector == 4096 {
		drive.Blocksize_is_set, drive.Blocksize = true, 4096
	}
	return g.Add_drive(d.Export, drive)
}

// boot launches the appliance. During the launch, its QEMU is a child of the launching
// thread, and libguestfs does not report its pid yet.
func (a *Appliance) boot(ctx context.Context, o Options) error {
	launching := make(chan int, 1)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		launching <- unix.Gettid()
		done <- silently(a.g, a.g.Launch)
	}()
	thread := <-launching
	limited, stop := context.WithTimeoutCause(ctx, o.Limit, ErrHung)
	defer stop()
	ending, end := context.WithCancelCause(limited)
	defer end(nil)
	told := map[int]bool{}
	tell := func(pid int) {
		if told[pid] {
			return
		}
		p, err := block.Identify("appliance", pid)
		if err != nil {
			return
		}
		told[pid] = true
		if o.Started != nil {
			o.Started(p)
		}
		if a.kernel != nil && a.kernel.stale() {
			end(errOtherKernel)
		}
	}
	for {
		select {
		case err := <-done:
			if err != nil {
				if ending.Err() != nil {
					return context.Cause(ending)
				}
				return fmt.Errorf("cannot launch the appliance: %w", err)
			}
			if a.qemu, err = a.openQEMU(); err != nil {
				return err
			}
			tell(a.qemu.Pid)
			return nil
		case <-ending.Done():
			for _, pid := range block.ChildrenOf(thread) {
				kill(thread, pid)
			}
			time.Sleep(20 * time.Millisecond) // launch may start one more child, which sends no notice
		case <-time.After(50 * time.Millisecond):
			// libguestfs starts one QEMU only to query its features; which one is the
			// appliance's is known at the end.
			for _, pid := range block.ChildrenOf(thread) {
				tell(pid)
			}
		}
	}
}

// openQEMU opens the QEMU of an appliance that has just started. libguestfs waits for its
// child only in later calls, so the pid is still QEMU's.
func (a *Appliance) openQEMU() (*block.Process, error) {
	var pid int
	if err := silently(a.g, func() (e error) { pid, e = a.g.Get_pid(); return }); err != nil {
		return nil, err
	}
	qemu, err := block.Open("appliance", pid)
	if err != nil {
		return nil, fmt.Errorf("the appliance's QEMU: %w", err)
	}
	return qemu, nil
}

// kill ends a child of the thread, with all its process group if it leads one:
// LIBGUESTFS_HV may name a script that runs QEMU. There is no pidfd for a group.
func kill(thread, pid int) {
	child, err := block.Open("appliance", pid)
	if err != nil {
		return
	}
	defer child.Close()
	if !slices.Contains(block.ChildrenOf(thread), pid) {
		return // libguestfs has waited for it, so the pid may be another process
	}
	if group, err := unix.Getpgid(pid); err == nil && group == pid {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	_ = child.Signal(unix.SIGKILL)
}
