package domain

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/plan"
)

// Domain is one domain, known by its UUID: a name can change hands.
type Domain struct {
	Name, UUID string
	conn       *Conn
}

// State is whether a domain runs.
type State string

// The states that matter. Held is every one in which a guest is neither
// running nor off: paused, suspended, being saved.
const (
	Running State = "running"
	Off     State = "off"
	Crashed State = "crashed"
	Held    State = "paused"
)

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Find finds a domain by name or UUID.
func (c *Conn) Find(ctx context.Context, name string) (*Domain, error) {
	d := &Domain{conn: c}
	err := c.do(ctx, func(l *libvirt.Connect) error {
		lookup := l.LookupDomainByName
		if uuidForm.MatchString(name) {
			lookup = l.LookupDomainByUUIDString
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

// URI is the libvirt that has it.
func (d *Domain) URI() string { return d.conn.uri }

// call makes calls about the domain.
func (d *Domain) call(ctx context.Context, f func(*libvirt.Domain) error) error {
	return d.conn.do(ctx, func(l *libvirt.Connect) error {
		found, err := l.LookupDomainByUUIDString(d.UUID)
		if err != nil {
			return err
		}
		defer found.Free()
		return f(found)
	})
}

// State asks whether it runs.
func (d *Domain) State(ctx context.Context) (State, error) {
	var state libvirt.DomainState
	err := d.call(ctx, func(l *libvirt.Domain) (err error) {
		state, _, err = l.GetState()
		return err
	})
	switch state {
	case libvirt.DOMAIN_RUNNING, libvirt.DOMAIN_BLOCKED, libvirt.DOMAIN_SHUTDOWN:
		return Running, err
	case libvirt.DOMAIN_SHUTOFF:
		return Off, err
	case libvirt.DOMAIN_CRASHED:
		return Crashed, err
	}
	return Held, err
}

// XML is the persistent definition's text, with its secrets: what Define takes
// to restore it.
func (d *Domain) XML(ctx context.Context) (string, error) {
	return d.xml(ctx, libvirt.DOMAIN_XML_INACTIVE|libvirt.DOMAIN_XML_SECURE)
}

// liveXML is what it runs with.
func (d *Domain) liveXML(ctx context.Context) (string, error) { return d.xml(ctx, 0) }

func (d *Domain) xml(ctx context.Context, flags libvirt.DomainXMLFlags) (string, error) {
	var text string
	err := d.call(ctx, func(l *libvirt.Domain) (err error) {
		text, err = l.GetXMLDesc(flags)
		return err
	})
	return text, err
}

// Define gives the domain back a definition that XML had given.
func (d *Domain) Define(ctx context.Context, text string) error {
	return d.conn.do(ctx, func(l *libvirt.Connect) error {
		defined, err := l.DomainDefineXML(text)
		if err != nil {
			return err
		}
		return defined.Free()
	})
}

// Start starts it; one that runs already is left alone.
func (d *Domain) Start(ctx context.Context) error {
	err := d.call(ctx, (*libvirt.Domain).Create)
	if isCode(err, libvirt.ERR_OPERATION_INVALID) {
		if state, asked := d.State(ctx); asked == nil && state == Running {
			return nil
		}
	}
	return err
}

// Destroy stops it at once, as pulling the plug does.
func (d *Domain) Destroy(ctx context.Context) error {
	err := d.call(ctx, (*libvirt.Domain).Destroy)
	if isCode(err, libvirt.ERR_OPERATION_INVALID) {
		if state, asked := d.State(ctx); asked == nil && state == Off {
			return nil
		}
	}
	return err
}

// Wake lets a guest go on that QEMU paused because its disk was full or failed.
// One that somebody paused stays so.
func (d *Domain) Wake(ctx context.Context) error {
	return d.call(ctx, func(l *libvirt.Domain) error {
		state, reason, err := l.GetState()
		if err != nil || state != libvirt.DOMAIN_PAUSED || libvirt.DomainPausedReason(reason) != libvirt.DOMAIN_PAUSED_IOERROR {
			return err
		}
		return l.Resume()
	})
}

// Way is how a guest is asked to stop.
type Way string

// The ways, in the order they are tried.
const (
	ByAgent Way = "agent"
	ByACPI  Way = "acpi"
	ByForce Way = "force"
)

// Rung is one step of the ladder: ask that way, and wait that long.
type Rung struct {
	Way   Way
	Limit time.Duration
}

// ErrStillRuns says that a guest did not stop, whatever it was asked.
var ErrStillRuns = errors.New("the guest did not shut down")

// ShutDown goes down the ladder until the guest is off. said is told of each
// rung; a way that cannot be asked is left out at once.
func (d *Domain) ShutDown(ctx context.Context, ladder []Rung, said func(string)) error {
	var tried []string
	for _, rung := range ladder {
		if state, err := d.State(ctx); err != nil || state == Off {
			return err
		}
		said(fmt.Sprintf("asking the guest to shut down (%s, up to %s)", rung.Way, rung.Limit))
		end := time.Now().Add(rung.Limit)
		if err := d.askUntil(ctx, rung.Way, end); err != nil {
			if ctx.Err() != nil {
				return err
			}
			tried = append(tried, fmt.Sprintf("%s: %v", rung.Way, err))
			continue
		}
		off, err := d.WaitOff(ctx, time.Until(end))
		if off || err != nil {
			return err
		}
		tried = append(tried, fmt.Sprintf("%s: still running after %s", rung.Way, rung.Limit))
	}
	return fmt.Errorf("%w (%s)", ErrStillRuns, strings.Join(tried, "; "))
}

// askUntil asks, and takes a call that has not come back by then for made:
// libvirt's agent shutdown waits a minute for the guest to go.
func (d *Domain) askUntil(ctx context.Context, way Way, end time.Time) error {
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := d.ask(limited, way)
	if limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

func (d *Domain) ask(ctx context.Context, way Way) error {
	switch way {
	case ByForce:
		return d.Destroy(ctx)
	case ByAgent:
		return d.call(ctx, func(l *libvirt.Domain) error { return l.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_GUEST_AGENT) })
	}
	return d.call(ctx, func(l *libvirt.Domain) error { return l.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN) })
}

// WaitOff waits for a guest that was asked to be off, at most that long.
func (d *Domain) WaitOff(ctx context.Context, limit time.Duration) (bool, error) {
	for deadline := time.Now().Add(limit); ; {
		state, err := d.State(ctx)
		if err != nil || state == Off {
			return err == nil, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := Sleep(ctx, 30*time.Millisecond); err != nil {
			return false, err
		}
	}
}
