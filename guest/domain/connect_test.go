package domain

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
)

// dies stops the daemon during a call, once.
func dies(away int) hook {
	return at(1, func(v *vm, _ int) error { v.restart(away); return nil })
}

// TestReconnect checks that a call on a dead connection is repeated on a new one, unless
// it may have had an effect that must not happen twice.
func TestReconnect(t *testing.T) {
	ping := func(d *Domain) error { return d.Ping(t.Context()) }
	run := func(d *Domain) error {
		_, err := d.Run(t.Context(), []string{"mkfs", "/dev/vdb"}, "")
		return err
	}
	for _, c := range []struct {
		what string
		do   func(*Domain) error
		// before restarts the daemon before the call, dies is the call during which it
		// stops.
		before bool
		dies   string
		away   int
		calls  string // the calls of that name, with the connections
		err    string
	}{
		{"dead before the call", ping, true, "", 0, "connect connect ping", ""},
		{"dead in the call", ping, false, "ping", 0, "connect ping connect ping", ""},
		{"back after a while", ping, false, "ping", 3, "connect ping connect connect connect connect ping", ""},
		{"dead before a program is started", run, true, "", 0, "connect connect exec", ""},
		{"dead in the look-up before it", run, false, "lookup", 0, "connect connect exec", ""},
		{"dead while it is started", run, false, "exec", 0, "connect exec", "End of file"},
		{"dead while it runs", run, false, "exec-status", 0, "connect exec connect", ""},
		{"define", func(d *Domain) error { return d.Define(t.Context(), definition) }, false, "define", 0, "connect define connect define", ""},
		{"start", func(d *Domain) error { return d.Start(t.Context()) }, false, "create", 0, "connect create connect create", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			d, v := fake(t, map[string]hook{c.dies: dies(c.away)})
			if c.before {
				v.restart(0)
			}
			wants(t, c.do(d), c.err)
			if got := v.called("connect", "ping", "exec", "define", "create"); got != c.calls {
				t.Errorf("%s, want %s", got, c.calls)
			}
			wants(t, d.Ping(t.Context()), "") // on the current connection
		})
	}
}

// TestGoneAfterReconnect checks that a domain that vanished with the daemon is reported
// as gone.
func TestGoneAfterReconnect(t *testing.T) {
	d, v := fake(t, nil)
	v.restart(1)
	v.gone = true
	_, err := d.State(t.Context())
	if !isCode(err, libvirt.ERR_NO_DOMAIN) {
		t.Errorf("%v", err)
	}
	if got := v.called("connect"); got != "connect connect connect" {
		t.Error(got)
	}
}

// TestHangingCall checks that a call that hangs ends with its context.
func TestHangingCall(t *testing.T) {
	ctx, cancel := cancelled(t, 1)
	d, _ := fake(t, map[string]hook{"state": func(v *vm, n int) error { _ = cancel(v, n); return errHang }})
	if _, err := d.State(ctx); !errors.Is(err, errStopped) {
		t.Errorf("%v", err)
	}
}

// TestEndedContext checks that cleanup calls are made even if their context has ended.
func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sent := make(chan bool)
	d, _ := fake(t, map[string]hook{"fsfreeze-thaw": func(*vm, int) error { close(sent); return nil }})
	_ = d.Thaw(ctx)
	<-sent
}

// TestNoPatience checks that the call's error is the reason why libvirt cannot be
// reached.
func TestNoPatience(t *testing.T) {
	d, v := fake(t, nil)
	d.conn.pace.patience = 5 * time.Millisecond
	v.restart(1 << 30)
	_, err := d.State(t.Context())
	wants(t, err, "Connection refused")
	wants(t, d.Close(), "")
	wants(t, d.Close(), "")
	v.away = 0
	_, err = d.State(t.Context())
	wants(t, err, "") // as after any other loss of the connection
}

func TestConnect(t *testing.T) {
	for uri, want := range map[string]plan.Reason{"qemu+ssh://other/system": plan.RemoteHost, "%": plan.RemoteHost, "nothing:///": plan.NoLibvirt} {
		_, err := Connect(uri)
		if r, ok := plan.IsRefusal(err); !ok || r.Reason != want {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestFind(t *testing.T) {
	d, _ := fake(t, nil)
	for _, name := range []string{"dev7", uuid} {
		if found, err := d.conn.Find(t.Context(), name); err != nil || found.Name != "dev7" || found.UUID != uuid || found.URI() != "fake:///" {
			t.Errorf("%+v %v", found, err)
		}
	}
	_, err := d.conn.Find(t.Context(), "other")
	if r, ok := plan.IsRefusal(err); !ok || r.Reason != plan.NotFound {
		t.Errorf("%v", err)
	}
}

func TestAbout(t *testing.T) {
	d, _ := fake(t, nil)
	if version, n, err := d.conn.About(t.Context()); version != "9.0.1" || n != 1 || err != nil {
		t.Errorf("%s %d %v", version, n, err)
	}
	drivers, err := d.conn.SecurityDrivers(t.Context())
	if err != nil || len(drivers) != 1 || drivers[0] != "apparmor" {
		t.Errorf("%v %v", drivers, err)
	}
}

// hangingConnection hangs in a call until it is released, and counts how often it was closed.
type hangingConnection struct {
	connection
	called, release chan struct{}
	closed          atomic.Int32
}

func (h *hangingConnection) GetLibVersion() (uint32, error) {
	close(h.called)
	<-h.release
	return 9000000, errors.New("too late")
}

func (h *hangingConnection) Close() (int, error) { h.closed.Add(1); return 0, nil }

// TestCloseDuringCall checks that a connection is not closed while a call that was left behind
// still uses it: libvirt would free it.
func TestCloseDuringCall(t *testing.T) {
	h := &hangingConnection{called: make(chan struct{}), release: make(chan struct{})}
	c := &Conn{live: &link{connection: h}, pace: usualPace}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-h.called; cancel() }()
	if _, _, err := c.About(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	wants(t, c.Close(), "")
	if h.closed.Load() != 0 {
		t.Error("the connection was closed during the call")
	}
	close(h.release)
	w := poll.Wait{For: "the end of the call", Every: time.Millisecond, Limit: 10 * time.Second}
	wants(t, poll.Until(t.Context(), w, func() (bool, error) { return h.closed.Load() == 1, nil }), "")
}
