package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Process is a process with a pidfd (pidfd_open(2)): a signal never reaches another
// process, even if the kernel has reused the pid.
type Process struct {
	journal.Proc
	// pidfd is nil on kernels before Linux 5.3, which have no pidfds. There, the process
	// is compared with Proc right before each signal; a pid that is reused in between is
	// not detected.
	pidfd *os.File
}

// pidfdOpen is the system call; a test replaces it with one that fails.
var pidfdOpen = unix.PidfdOpen

// Open opens the process that has the pid now. The error is os.ErrProcessDone if no
// running process has the pid.
func Open(role string, pid int) (*Process, error) {
	p := &Process{}
	fd, err := pidfdOpen(pid, 0)
	switch {
	case err == nil:
		// Only on a non-blocking file can the runtime wait with a deadline.
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
		p.pidfd = os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", pid))
	case errors.Is(err, unix.ESRCH):
		return nil, os.ErrProcessDone
	case !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM): // EPERM is a sandbox's ENOSYS
		return nil, fmt.Errorf("pidfd_open of %d: %w", pid, err)
	}
	// This must come after pidfd_open: before it, the pid could be another process's.
	if p.Proc, err = Identify(role, pid); err != nil {
		p.Close()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			err = os.ErrProcessDone
		}
		return nil, err
	}
	return p, nil
}

// OpenProcess opens the process that was identified. The error is os.ErrProcessDone if the
// process no longer runs, even if another process has its pid.
func OpenProcess(identified journal.Proc) (*Process, error) {
	p, err := Open(identified.Role, identified.Pid)
	if err != nil {
		return nil, err
	}
	if p.Proc != identified {
		p.Close()
		return nil, os.ErrProcessDone
	}
	return p, nil
}

// Close releases the process. It may be called while Signal runs.
func (p *Process) Close() {
	if p.pidfd != nil {
		_ = p.pidfd.Close() // a pidfd has no data to flush
	}
}

// Signal sends a signal. The error is os.ErrProcessDone if the process has ended.
func (p *Process) Signal(signal unix.Signal) error {
	err := p.send(signal)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func (p *Process) send(signal unix.Signal) error {
	if p.pidfd == nil {
		if !Alive(p.Proc) {
			return os.ErrProcessDone
		}
		return unix.Kill(p.Pid, signal)
	}
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	return errors.Join(err, sent)
}

// Wait returns nil when the process has ended, and the context's cause if that ends
// first.
func (p *Process) Wait(ctx context.Context) error {
	if p.pidfd == nil {
		wait := poll.Wait{For: "the end of " + p.Role, Every: 10 * time.Millisecond}
		return poll.Until(ctx, wait, func() (bool, error) { return !Alive(p.Proc), nil })
	}
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = p.pidfd.SetReadDeadline(time.Unix(1, 0)) // long past
	})
	err = conn.Read(ended)
	if !stop() {
		<-interrupted
		_ = p.pidfd.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

// ended reports whether the process of a pidfd has ended: the pidfd is readable
// then.
func ended(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n == 1
}
