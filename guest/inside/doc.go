// Package inside acts in a running guest through its agent: it lists block devices,
// mounts and unmounts, activates logical volumes, and edits the fstab.
//
// It knows no job. What has to survive a crash is given to the caller to save before it
// is done, and everything can be done twice. What a guest says is not trusted: it
// becomes an argument of a program in that guest, or a text that is shown.
package inside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/poll"
)

// Agent is what the package needs of a guest's agent. *domain.Domain is one.
type Agent interface {
	// Ping returns an error while the agent does not answer.
	Ping(context.Context) error
	// Run runs a program with that standard input, and waits for its end. A program
	// that fails is no error. An agent that runs no programs returns
	// domain.ErrMayNotExec.
	Run(ctx context.Context, command []string, input string) (domain.ExecResult, error)
	// FileSystems lists what is mounted.
	FileSystems(context.Context) ([]domain.FS, error)
	// GuestDisks lists the disks; agents before QEMU 5.2 return an error.
	GuestDisks(context.Context) ([]domain.GuestDisk, error)
	// MountsOn lists the mount points of the file systems on a disk.
	MountsOn(context.Context, domain.GuestDisk) ([]string, error)
	// OS returns the system's name: "debian", "mswindows"; "" if it is not known.
	OS(context.Context) string
}

// Guest is a running guest.
type Guest struct {
	name  string
	agent Agent
	waits waits
}

// New returns a guest of that name, which is used in messages.
func New(name string, a Agent) *Guest {
	return &Guest{name: name, agent: a, waits: waits{
		every: 200 * time.Millisecond, disk: 30 * time.Second, content: 10 * time.Second, mount: 10 * time.Second,
	}}
}

// waits are the time between two checks, and the limits of what is waited for: a disk
// that was plugged in, what is on it, and a mount that fails while the guest still looks
// at the disk.
type waits struct{ every, disk, content, mount time.Duration }

// Await waits until the agent answers. Between two attempts it calls runs, and returns
// the error with which runs reports that the guest is not running any more.
func (g *Guest) Await(ctx context.Context, runs func(context.Context) error) error {
	return poll.Until(ctx, poll.Wait{For: "the guest agent", Every: g.waits.every}, func() (bool, error) {
		if g.agent.Ping(ctx) == nil {
			return true, nil
		}
		return false, runs(ctx)
	})
}

// programLimit is how long a short program may take, mount(8) of a file system with a
// journal to replay included.
const programLimit = 90 * time.Second

// output runs a short program and returns what it printed. One that fails is a
// *domain.ExecError.
func (g *Guest) output(ctx context.Context, command ...string) ([]byte, error) {
	return g.outputOf(ctx, "", command...)
}

// outputOf is output of a program with a standard input.
func (g *Guest) outputOf(ctx context.Context, input string, command ...string) ([]byte, error) {
	ctx, stop := context.WithTimeoutCause(ctx, programLimit, fmt.Errorf("%s in the guest takes longer than %s", command[0], programLimit))
	defer stop()
	ran, err := g.agent.Run(ctx, command, input)
	if err != nil {
		return nil, err
	}
	return ran.Out, ran.Failure(command[0])
}

// test runs a program that answers with its exit status, such as test(1).
func (g *Guest) test(ctx context.Context, command ...string) (bool, error) {
	_, err := g.output(ctx, command...)
	if errors.As(err, new(*domain.ExecError)) {
		return false, nil
	}
	return err == nil, err
}
