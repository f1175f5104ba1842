package domain

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
)

// Domain is one domain. Its UUID identifies it, because a name can be given to another.
type Domain struct {
	Name, UUID string
	conn       *Conn
}

// power starts and stops a domain.
type power interface {
	GetID() (uint, error) // of a running domain; each start gives another
	GetState() (libvirt.DomainState, int, error)
	Create() error
	Destroy() error
	Resume() error
	ShutdownFlags(libvirt.DomainShutdownFlags) error
}

// State says whether a domain runs.
type State string

// The states that matter. Held stands for every other one: paused, suspended, being
// saved.
const (
	Running State = "running"
	Off     State = "off"
	Crashed State = "crashed"
	Held    State = "paused"
)

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Open connects to libvirt and finds a domain by name or UUID. Closing the domain closes the
// connection.
func Open(ctx context.Context, uri, name string) (*Domain, error) {
	conn, err := Connect(uri)
	if err != nil {
		return nil, err
	}
	d, err := conn.Find(ctx, name)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d, nil
}

// Find finds a domain by name or UUID.
func (c *Conn) Find(ctx context.Context, name string) (*Domain, error) {
	d := &Domain{conn: c}
	err := c.do(ctx, func(l connection) error {
		lookup := l.DomainByName
		if uuidForm.MatchString(name) {
			lookup = l.DomainByUUID
		}
		found, err := lookup(name)
		if err != nil {
			return err
		}
		defer found.Free()
		if d.Name, err = found.GetName(); err != nil {
			return err
		}
		d.UUID, err = found.GetUUIDString()
		return err
	})
	if isCode(err, libvirt.ERR_NO_DOMAIN) {
		return nil, plan.Refuse(plan.NotFound, name, "there is no domain %s at %s", name, c.uri)
	}
	return d, err
}

// Close ends the domain's connection.
func (d *Domain) Close() error { return d.conn.Close() }

// URI returns the URI of the domain's libvirt.
func (d *Domain) URI() string { return d.conn.uri }

// call calls f with a handle of the domain, and once more if the connection breaks in the
// middle of it.
func (d *Domain) call(ctx context.Context, f func(handle) error) error {
	return d.conn.do(ctx, func(l connection) error {
		found, err := l.DomainByUUID(d.UUID)
		if err != nil {
			return err
		}
		defer found.Free()
		return f(found)
	})
}

// ask is call for an f with a result.
func ask[T any](ctx context.Context, d *Domain, f func(handle) (T, error)) (T, error) {
	var answer, none T
	err := d.call(ctx, func(l handle) (err error) {
		answer, err = f(l)
		return err
	})
	if err != nil {
		return none, err // a call that hangs may still write the answer
	}
	return answer, nil
}

// askOnce is ask for an f that must not be called again once it may have had an effect.
func askOnce[T any](ctx context.Context, d *Domain, f func(handle) (T, error)) (T, error) {
	return ask(ctx, d, func(l handle) (T, error) {
		answer, err := f(l)
		if err != nil {
			err = &sentError{plain(err)}
		}
		return answer, err
	})
}

// State returns the domain's state.
func (d *Domain) State(ctx context.Context) (State, error) {
	state, err := ask(ctx, d, func(l handle) (libvirt.DomainState, error) {
		state, _, err := l.GetState()
		return state, err
	})
	if err != nil {
		return Held, err
	}
	return stateOf(state), nil
}

func stateOf(state libvirt.DomainState) State {
	switch state {
	case libvirt.DOMAIN_RUNNING, libvirt.DOMAIN_BLOCKED, libvirt.DOMAIN_SHUTDOWN:
		return Running
	case libvirt.DOMAIN_SHUTOFF:
		return Off
	case libvirt.DOMAIN_CRASHED:
		return Crashed
	}
	return Held
}

// liveXML returns the definition that the domain runs with, without its secrets.
func (d *Domain) liveXML(ctx context.Context) (string, error) { return d.xml(ctx, 0) }

func (d *Domain) xml(ctx context.Context, flags libvirt.DomainXMLFlags) (string, error) {
	return ask(ctx, d, func(l handle) (string, error) { return l.GetXMLDesc(flags) })
}

// Start starts the domain, unless it runs already.
func (d *Domain) Start(ctx context.Context) error {
	err := d.call(ctx, handle.Create)
	if isCode(err, libvirt.ERR_OPERATION_INVALID) {
		if state, asked := d.State(ctx); asked == nil && state == Running {
			return nil
		}
	}
	return err
}

// Destroy stops the domain at once, as a power failure would.
func (d *Domain) Destroy(ctx context.Context) error {
	err := d.call(ctx, handle.Destroy)
	if isCode(err, libvirt.ERR_OPERATION_INVALID) {
		if state, asked := d.State(ctx); asked == nil && state == Off {
			return nil
		}
	}
	return err
}

// Wake resumes a guest that QEMU paused because a disk was full or failed. A guest that
// was paused for another reason stays paused.
func (d *Domain) Wake(ctx context.Context) error {
	return d.call(ctx, func(l handle) error {
		state, reason, err := l.GetState()
		if err != nil || state != libvirt.DOMAIN_PAUSED || libvirt.DomainPausedReason(reason) != libvirt.DOMAIN_PAUSED_IOERROR {
			return err
		}
		return l.Resume()
	})
}

// ShutdownMethod is a method to shut a guest down.
type ShutdownMethod string

// The methods, in the order in which they are tried.
const (
	ByAgent ShutdownMethod = "agent"
	ByACPI  ShutdownMethod = "acpi"
	ByForce ShutdownMethod = "force"
)

// ShutdownAttempt is a shutdown method, and how long the guest may take.
type ShutdownAttempt struct {
	Method ShutdownMethod
	Limit  time.Duration
}

// ErrStillRuns means that no method has shut the guest down.
var ErrStillRuns = errors.New("the guest did not shut down")

// errStartedAgain means that the guest stopped, and that another user started it again.
var errStartedAgain = fmt.Errorf("%w: it was started again meanwhile", ErrStillRuns)

// ShutDown tries the methods in order until the guest is off, and announces each with
// said. When a method fails, it tries the next one after a moment: a guest that powers off
// faster than libvirt learns of it makes the request fail, because its agent's socket is
// closed. It does not stop a guest that another user starts again.
func (d *Domain) ShutDown(ctx context.Context, methods []ShutdownAttempt, said func(string)) error {
	run, err := d.run(ctx)
	if err != nil || run == 0 {
		return err
	}
	var tried []string
	for _, m := range methods {
		said(fmt.Sprintf("asking the guest to shut down (%s, up to %s)", m.Method, m.Limit))
		end := time.Now().Add(m.Limit)
		why := fmt.Sprintf("still running after %s", m.Limit)
		if err := d.stopUntil(ctx, m.Method, end); err != nil {
			if ctx.Err() != nil {
				return err
			}
			why = err.Error()
			if soon := time.Now().Add(d.conn.pace.grace); soon.Before(end) {
				end = soon
			}
		}
		if off, err := d.waitOff(ctx, run, end); off || err != nil {
			return err
		}
		tried = append(tried, fmt.Sprintf("%s: %s", m.Method, why))
	}
	return fmt.Errorf("%w (%s)", ErrStillRuns, strings.Join(tried, "; "))
}

// stopUntil sends a request to stop. A request that has not returned by end counts as
// sent: libvirt's shutdown by the agent waits a minute for the guest to stop.
func (d *Domain) stopUntil(ctx context.Context, method ShutdownMethod, end time.Time) error {
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := d.stop(limited, method)
	if limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

func (d *Domain) stop(ctx context.Context, method ShutdownMethod) error {
	switch method {
	case ByForce:
		return d.Destroy(ctx)
	case ByAgent:
		return d.call(ctx, func(l handle) error { return l.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_GUEST_AGENT) })
	}
	return d.call(ctx, func(l handle) error { return l.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN) })
}

// WaitOff waits until the guest is off, and reports whether it was off within limit.
func (d *Domain) WaitOff(ctx context.Context, limit time.Duration) (bool, error) {
	run, err := d.run(ctx)
	if err != nil || run == 0 {
		return err == nil, err
	}
	off, err := d.waitOff(ctx, run, time.Now().Add(limit))
	if errors.Is(err, errStartedAgain) {
		err = nil
	}
	return off, err
}

// waitOff waits until a run of the guest is over, and reports whether it was over by end.
func (d *Domain) waitOff(ctx context.Context, run uint, end time.Time) (bool, error) {
	w := poll.Wait{For: "the guest to be off", Every: d.conn.pace.off, Limit: max(1, time.Until(end))}
	err := poll.Until(ctx, w, func() (bool, error) {
		now, err := d.run(ctx)
		if err == nil && now != 0 && now != run {
			err = errStartedAgain
		}
		return now == 0, err
	})
	if errors.Is(err, poll.ErrTimeout) {
		return false, nil
	}
	return err == nil, err
}

// run returns libvirt's ID of the running guest, which changes with every start, or 0 if
// the guest is off.
func (d *Domain) run(ctx context.Context) (uint, error) {
	return ask(ctx, d, func(l handle) (uint, error) {
		state, _, err := l.GetState()
		if err != nil || state == libvirt.DOMAIN_SHUTOFF {
			return 0, err
		}
		// Without an ID, because the guest was started after the handle was made, GetID
		// fails and returns a number that no run has.
		id, _ := l.GetID()
		return id, nil
	})
}
