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

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
)

// DefaultURI is the host's own libvirt.
const DefaultURI = "qemu:///system"

// Conn is a connection that is opened again after a restart of libvirtd.
type Conn struct {
	uri  string
	dial func(uri string) (connection, error)
	pace pace
	mu   sync.Mutex
	// live is nil while libvirt cannot be reached; lost is the reason.
	live *link
	lost error
}

// link is a connection that is closed when its last call has returned. A call that hangs is
// left behind when its context ends, and libvirt does not keep a connection that is in use
// from being freed.
type link struct {
	connection
	mu      sync.Mutex
	calls   int
	closing bool
}

func (l *link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls--; l.calls == 0 && l.closing {
		_, _ = l.connection.Close()
	}
}

// Close closes the connection, now or at the end of its last call.
func (l *link) Close() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls > 0 {
		l.closing = true
		return 0, nil
	}
	return l.connection.Close()
}

// pace is the time between two checks of each loop in this package.
type pace struct {
	connect, off, commit, removal, backup time.Duration
	// program, the time for a program in the guest, doubles up to programMost.
	program, programMost time.Duration
	// grace is how long a guest whose shutdown request has failed is waited for.
	grace time.Duration
	// patience is how long a restart of libvirtd may take.
	patience time.Duration
}

var usualPace = pace{
	connect: 200 * time.Millisecond,
	off:     30 * time.Millisecond,
	commit:  50 * time.Millisecond,
	removal: time.Second,
	backup:  30 * time.Millisecond,
	program: 20 * time.Millisecond, programMost: 300 * time.Millisecond,
	grace:    2 * time.Second,
	patience: time.Minute,
}

// Connect connects to a libvirt on this host. Another host's libvirt is refused, because
// the disks are opened by their paths.
func Connect(uri string) (*Conn, error) {
	if u, err := url.Parse(uri); err != nil || u.Host != "" {
		return nil, plan.Refuse(plan.RemoteHost, uri, "%s is another host's libvirt: disks can only be grown on the host that has them", uri)
	}
	if err := events(); err != nil {
		return nil, fmt.Errorf("libvirt: %w", plain(err))
	}
	logNothing()
	c := &Conn{uri: uri, dial: dialLibvirt, pace: usualPace}
	if err := c.open(); err != nil {
		return nil, plan.Refuse(plan.NoLibvirt, uri, "cannot connect to libvirt at %s: %v", uri, err)
	}
	return c, nil
}

// logNothing keeps libvirt's client from writing warnings to standard error, between the lines
// of this program. With a named output, the client also logs the errors that its functions
// return; so the output is a file that drops everything. The environment is changed only
// once, because libvirt reads it in other threads when several connections are opened.
var logNothing = sync.OnceFunc(func() {
	if os.Getenv("LIBVIRT_LOG_OUTPUTS") == "" {
		os.Setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
	}
})

func (c *Conn) open() error {
	live, err := c.dial(c.uri)
	if err != nil {
		c.lost = plain(err)
		return c.lost
	}
	c.live = &link{connection: live}
	return nil
}

// LibraryVersion returns the version of the libvirt library of this program.
func LibraryVersion() (string, error) {
	n, err := libvirt.GetVersion()
	return versionText(n), err
}

// versionText returns the text of a version number of libvirt: 9000000 is 9.0.0.
func versionText(n uint32) string {
	return fmt.Sprintf("%d.%d.%d", n/1000000, n/1000%1000, n%1000)
}

// About returns libvirt's version and the number of domains.
func (c *Conn) About(ctx context.Context) (version string, domains int, err error) {
	err = c.do(ctx, func(l connection) error {
		n, err := l.GetLibVersion()
		if err != nil {
			return err
		}
		version = versionText(n)
		all, err := l.Domains()
		domains = len(all)
		for _, h := range all {
			_ = h.Free()
		}
		return err
	})
	return version, domains, err
}

// SecurityDrivers returns libvirt's security drivers: "apparmor", "selinux", "dac".
func (c *Conn) SecurityDrivers(ctx context.Context) (drivers []string, err error) {
	var text string
	err = c.do(ctx, func(l connection) (err error) { text, err = l.GetCapabilities(); return err })
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
	c.live, c.lost = nil, errors.New("not connected to libvirt")
	return plain(err)
}

// do makes libvirt calls on the connection, and repeats them on a new one if the
// connection broke. A call that must not be repeated returns a sentError. libvirt calls
// take no context: when ctx ends, do returns without waiting for a call that hangs.
func (c *Conn) do(ctx context.Context, call func(connection) error) error {
	err := c.once(ctx, call)
	if c.again(ctx, err) {
		w := poll.Wait{For: "libvirt", Every: c.pace.connect, Limit: c.pace.patience}
		waited := poll.Until(ctx, w, func() (bool, error) {
			c.reopen()
			err = c.once(ctx, call)
			return !c.again(ctx, err), nil
		})
		if waited != nil && !errors.Is(waited, poll.ErrTimeout) {
			return waited
		}
	}
	var sent *sentError
	if errors.As(err, &sent) {
		return sent.err
	}
	return err
}

// again reports whether a call must be repeated.
func (c *Conn) again(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.As(err, new(*sentError)) && c.broken()
}

// sentError is the failure of a call that may have had an effect: it is not repeated.
type sentError struct{ err error }

func (e *sentError) Error() string { return e.err.Error() }

func (c *Conn) once(ctx context.Context, call func(connection) error) error {
	c.mu.Lock()
	live, lost := c.live, c.lost
	if live != nil {
		live.begin()
	}
	c.mu.Unlock()
	if live == nil {
		return lost
	}
	done := make(chan error, 1)
	go func() {
		err := plain(call(live.connection))
		live.end() // before the caller may close the connection
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// broken reports whether a call failed because the connection is dead.
func (c *Conn) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		return true
	}
	alive, err := c.live.IsAlive()
	return err != nil || !alive
}

// stillAlive returns an error if the connection is dead. It is called after a series of
// calls that may fail: calls that failed because of the connection must be repeated.
func stillAlive(l connection) error {
	alive, err := l.IsAlive()
	if err == nil && !alive {
		err = errors.New("the connection to libvirt was lost")
	}
	return err
}

func (c *Conn) reopen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		_, _ = c.live.Close()
		c.live = nil
	}
	_ = c.open() // kept in c.lost
}

// plain returns an error with libvirt's message and code, without the numbers that
// libvirt's own text has.
func plain(err error) error {
	var e libvirt.Error
	if !errors.As(err, &e) {
		return err
	}
	return &Error{Code: e.Code, Text: e.Message}
}

// Error is an error of libvirt.
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

// Sleep waits for d, or until ctx ends.
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
