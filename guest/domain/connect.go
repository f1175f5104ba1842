package domain

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/plan"
)

// DefaultURI is the host's own libvirt.
const DefaultURI = "qemu:///system"

// Conn is a connection that comes back by itself after libvirtd was restarted.
type Conn struct {
	uri  string
	mu   sync.Mutex
	live *libvirt.Connect
}

// events runs libvirt's event loop, which keepalive messages and the embedded
// driver need. It has to be there before the first connection.
var events = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for {
			_ = libvirt.EventRunDefaultImpl()
		}
	}()
	return nil
})

// Connect connects to a libvirt on this host: disks are opened by their paths,
// so another host's are of no use.
func Connect(uri string) (*Conn, error) {
	if u, err := url.Parse(uri); err != nil || u.Host != "" {
		return nil, plan.Refuse(plan.RemoteHost, uri, "%s is another host's libvirt: disks can only be grown on the host that has them", uri)
	}
	if err := events(); err != nil {
		return nil, fmt.Errorf("libvirt: %w", plain(err))
	}
	// Unless an output is named, libvirt's client writes warnings to standard error,
	// between our own lines. Where one is named, it also logs the errors that its
	// functions return, so the output is one that drops everything.
	if os.Getenv("LIBVIRT_LOG_OUTPUTS") == "" {
		os.Setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
	}
	c := &Conn{uri: uri}
	if err := c.open(); err != nil {
		return nil, plan.Refuse(plan.NoLibvirt, uri, "cannot connect to libvirt at %s: %v", uri, err)
	}
	return c, nil
}

func (c *Conn) open() error {
	live, err := libvirt.NewConnect(c.uri)
	if err != nil {
		return plain(err)
	}
	// A daemon that hangs is noticed after a quarter of a minute.
	_ = live.SetKeepAlive(5, 3)
	c.live = live
	return nil
}

// About gives libvirt's version and how many domains there are.
func (c *Conn) About(ctx context.Context) (version string, domains int, err error) {
	err = c.do(ctx, func(l *libvirt.Connect) error {
		n, err := l.GetLibVersion() // 9000000 is 9.0.0
		if err != nil {
			return err
		}
		version = fmt.Sprintf("%d.%d.%d", n/1000000, n/1000%1000, n%1000)
		all, err := l.ListAllDomains(0)
		domains = len(all)
		for i := range all {
			_ = all[i].Free()
		}
		return err
	})
	return version, domains, err
}

// SecurityDrivers returns what libvirt confines guests with: "apparmor", "selinux", "dac".
func (c *Conn) SecurityDrivers(ctx context.Context) (drivers []string, err error) {
	var text string
	err = c.do(ctx, func(l *libvirt.Connect) (err error) { text, err = l.GetCapabilities(); return err })
	if err != nil {
		return nil, err
	}
	var x libvirtxml.Caps
	if err := x.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("cannot read libvirt's capabilities: %w", err)
	}
	for _, model := range x.Host.SecModel {
		if model.Name != "none" {
			drivers = append(drivers, model.Name)
		}
	}
	return drivers, nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		return nil
	}
	_, err := c.live.Close()
	c.live = nil
	return plain(err)
}

// patience is how long a restart of libvirtd may take.
const patience = 60 * time.Second

// do makes libvirt calls on the connection, on a new one if it broke: every
// call made through it has to bear being made twice. libvirt calls know no
// context; one that hangs is left to itself when ctx ends.
func (c *Conn) do(ctx context.Context, call func(*libvirt.Connect) error) error {
	deadline := time.Now().Add(patience)
	for {
		err := c.once(ctx, call)
		if err == nil || ctx.Err() != nil || !c.broken() || time.Now().After(deadline) {
			return err
		}
		if err := Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		c.reopen()
	}
}

func (c *Conn) once(ctx context.Context, call func(*libvirt.Connect) error) error {
	c.mu.Lock()
	live := c.live
	c.mu.Unlock()
	if live == nil {
		return errors.New("not connected to libvirt")
	}
	done := make(chan error, 1)
	go func() { done <- plain(call(live)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// broken says whether the connection itself is why a call failed.
func (c *Conn) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		return true
	}
	alive, err := c.live.IsAlive()
	return err != nil || !alive
}

func (c *Conn) reopen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		_, _ = c.live.Close()
		c.live = nil
	}
	_ = c.open()
}

// plain keeps libvirt's message and leaves out its numbers; the error stays
// one that IsCode can ask.
func plain(err error) error {
	var e libvirt.Error
	if !errors.As(err, &e) {
		return err
	}
	return &Error{Code: e.Code, Text: e.Message}
}

// Error is what libvirt said.
type Error struct {
	Code libvirt.ErrorNumber
	Text string
}

func (e *Error) Error() string { return "libvirt: " + e.Text }

func isCode(err error, codes ...libvirt.ErrorNumber) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// Sleep waits that long, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
