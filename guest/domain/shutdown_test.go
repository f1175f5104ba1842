package domain

import (
	"errors"
	"testing"
	"time"

	"libvirt.org/go/libvirt"
)

// Hooks for shutdown requests.
var (
	goesOff hook = func(v *vm, _ int) error { v.powerOff(); return nil }
	ignored hook = func(*vm, int) error { return nil }
	hangs   hook = func(*vm, int) error { return errHang }
	noAgent hook = func(*vm, int) error {
		return failure(libvirt.ERR_AGENT_UNRESPONSIVE, "Guest agent is not responding")
	}
)

// at calls a hook only the nth time.
func at(nth int, h hook) hook {
	return func(v *vm, n int) error {
		if n != nth {
			return nil
		}
		return h(v, n)
	}
}

func TestShutDown(t *testing.T) {
	// A request that is still on its way when its limit ends would be missing in the trace.
	const short, long = 50 * time.Millisecond, time.Minute
	for _, c := range []struct {
		what               string
		agent, acpi, force time.Duration // limits
		hooks              map[string]hook
		asked              string
		err                string // "" if the guest went off
	}{
		{"the agent shuts down", long, long, long, map[string]hook{"agent": goesOff}, "agent", ""},
		{"the guest takes its time", long, long, long, map[string]hook{"state": at(5, goesOff)}, "agent", ""},
		{"no agent", long, long, long, map[string]hook{"agent": noAgent, "acpi": goesOff}, "agent acpi", ""},
		{"the agent does nothing", short, long, long, map[string]hook{"acpi": goesOff}, "agent acpi", ""},
		{"the agent hangs", short, long, long, map[string]hook{"agent": hangs, "acpi": goesOff}, "agent acpi", ""},
		{"the agent hangs, and the guest goes off", short, long, long,
			map[string]hook{"agent": func(v *vm, _ int) error { v.powerOff(); return errHang }}, "agent", ""},
		{"ACPI fails", short, long, long, map[string]hook{"acpi": noAgent}, "agent acpi force", ""},
		{"ACPI hangs", short, short, long, map[string]hook{"acpi": hangs}, "agent acpi force", ""},
		{"force fails", short, short, long, map[string]hook{"force": noAgent}, "agent acpi force",
			"agent: still running after 50ms; acpi: still running after 50ms; force: libvirt: Guest agent is not responding"},
		{"force hangs", short, short, short, map[string]hook{"force": hangs}, "agent acpi force", "force: still running"},
		{"nothing helps", short, short, short, map[string]hook{"force": ignored}, "agent acpi force", "the guest did not shut down"},
		{"it ends by itself before it is asked", long, long, long,
			map[string]hook{"agent": func(v *vm, _ int) error { v.powerOff(); return errNotActive }}, "agent", ""},
		{"it ends by itself before it is forced", short, short, long,
			map[string]hook{"force": func(v *vm, _ int) error { v.powerOff(); return errNotActive }}, "agent acpi force", ""},
		{"started again by somebody else", long, long, long,
			map[string]hook{"agent": func(v *vm, _ int) error { v.powerOn(); return nil }}, "agent", "started again meanwhile"},
		{"started again, later", long, long, long,
			map[string]hook{"state": at(4, func(v *vm, _ int) error { v.powerOn(); return nil })}, "agent", "started again meanwhile"},
		{"was off", long, long, long, map[string]hook{"state": goesOff}, "", ""},
		{"the daemon restarts during the wait", long, long, long,
			map[string]hook{"state": func(v *vm, n int) error {
				switch n {
				case 3:
					v.restart(2)
				case 6:
					v.powerOff()
				}
				return nil
			}}, "agent", ""},
		{"the daemon restarts, and the answer is lost", long, long, long,
			map[string]hook{"agent": func(v *vm, n int) error {
				if n == 1 {
					v.restart(0)
				} else {
					v.powerOff()
				}
				return nil
			}}, "agent agent", ""},
		{"the domain is gone when the daemon is back", long, long, long,
			map[string]hook{"state": at(3, func(v *vm, _ int) error { v.restart(0); v.gone = true; return nil })}, "agent", "Domain not found"},
		{"paused guests are asked, too", long, long, long,
			map[string]hook{"state": at(1, func(v *vm, _ int) error { v.state = libvirt.DOMAIN_PAUSED; return nil }), "agent": goesOff}, "agent", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			d, v := fake(t, c.hooks)
			methods := []ShutdownAttempt{{ByAgent, c.agent}, {ByACPI, c.acpi}, {ByForce, c.force}}
			var said int
			err := d.ShutDown(t.Context(), methods, func(string) { said++ })
			wants(t, err, c.err)
			if got := v.called("agent", "acpi", "force"); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
			if c.err == "" && v.state != libvirt.DOMAIN_SHUTOFF {
				t.Error("the guest runs")
			}
			if c.asked != "" && said == 0 {
				t.Error("nothing was said")
			}
		})
	}
}

// TestOnlyMethod checks that a guest that went off during a request counts as off even
// if the request failed.
func TestOnlyMethod(t *testing.T) {
	d, _ := fake(t, map[string]hook{"agent": func(v *vm, _ int) error { v.powerOff(); return errNotActive }})
	wants(t, d.ShutDown(t.Context(), []ShutdownAttempt{{ByAgent, time.Minute}}, func(string) {}), "")
}

// TestOffAfterFailure checks that a guest counts as off that libvirt sees off only after
// the request has failed: "End of file from agent socket" comes first.
func TestOffAfterFailure(t *testing.T) {
	d, v := fake(t, map[string]hook{
		"agent": func(*vm, int) error { return failure(libvirt.ERR_INTERNAL_ERROR, "End of file from agent socket") },
		"state": at(4, goesOff),
	})
	d.conn.pace.grace = time.Minute
	wants(t, d.ShutDown(t.Context(), []ShutdownAttempt{{ByAgent, time.Minute}, {ByForce, time.Minute}}, func(string) {}), "")
	if got := v.called("agent", "force"); got != "agent" {
		t.Errorf("asked %q, want the agent alone", got)
	}
}

func TestStillRuns(t *testing.T) {
	d, _ := fake(t, map[string]hook{"agent": func(v *vm, _ int) error { v.powerOn(); return nil }})
	for _, methods := range [][]ShutdownAttempt{{{ByAgent, time.Minute}}, {{ByACPI, time.Millisecond}}, nil} {
		if err := d.ShutDown(t.Context(), methods, func(string) {}); !errors.Is(err, ErrStillRuns) {
			t.Errorf("%v: %v", methods, err)
		}
	}
}

// TestShutDownCancelled checks that a wait ends with its context, and that no other
// method is tried.
func TestShutDownCancelled(t *testing.T) {
	for _, call := range []string{"state", "agent"} {
		ctx, stop := cancelled(t, 1)
		d, v := fake(t, map[string]hook{call: stop})
		if err := d.ShutDown(ctx, []ShutdownAttempt{{ByAgent, time.Minute}, {ByForce, time.Minute}}, func(string) {}); !errors.Is(err, errStopped) {
			t.Errorf("%s: %v", call, err)
		}
		if v.called("force") != "" {
			t.Errorf("%s: the guest was forced", call)
		}
	}
}

// TestDaemonStaysAway checks that a call that cannot reconnect in time reports the
// reason.
func TestDaemonStaysAway(t *testing.T) {
	d, _ := fake(t, map[string]hook{"state": at(3, func(v *vm, _ int) error { v.restart(1 << 30); return nil })})
	d.conn.pace.patience = 5 * time.Millisecond
	wants(t, d.ShutDown(t.Context(), []ShutdownAttempt{{ByAgent, time.Minute}}, func(string) {}), "Connection refused")
}

func TestWaitOff(t *testing.T) {
	for what, c := range map[string]struct {
		limit time.Duration
		hook  hook
		off   bool
	}{
		"off":           {time.Minute, goesOff, true},
		"later":         {time.Minute, at(3, goesOff), true},
		"not in time":   {time.Millisecond, ignored, false},
		"started again": {time.Minute, at(3, func(v *vm, _ int) error { v.powerOn(); return nil }), false},
	} {
		d, _ := fake(t, map[string]hook{"state": c.hook})
		if off, err := d.WaitOff(t.Context(), c.limit); off != c.off || err != nil {
			t.Errorf("%s: %v %v", what, off, err)
		}
	}
}

// TestStartAndDestroy checks that starting a running domain, or destroying one that is
// off, is no error.
func TestStartAndDestroy(t *testing.T) {
	d, v := fake(t, nil)
	for _, c := range []struct {
		what string
		do   func() error
		want State
	}{
		{"start what runs", func() error { return d.Start(t.Context()) }, Running},
		{"destroy", func() error { return d.Destroy(t.Context()) }, Off},
		{"destroy what is off", func() error { return d.Destroy(t.Context()) }, Off},
		{"start", func() error { return d.Start(t.Context()) }, Running},
	} {
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if state, err := d.State(t.Context()); state != c.want || err != nil {
			t.Errorf("%s: %s %v", c.what, state, err)
		}
	}
	v.hooks = map[string]hook{"create": noAgent, "force": noAgent}
	for _, err := range []error{d.Start(t.Context()), d.Destroy(t.Context())} {
		wants(t, err, "not responding")
	}
}

// TestWake checks that only a guest is resumed that QEMU paused because its disk was
// full.
func TestWake(t *testing.T) {
	d, v := fake(t, nil)
	wants(t, d.Wake(t.Context()), "")
	v.state = libvirt.DOMAIN_PAUSED // the fake's reason is an I/O error
	wants(t, d.Wake(t.Context()), "")
	if got := v.called("resume"); got != "resume" {
		t.Errorf("%q", got)
	}
}

func TestStates(t *testing.T) {
	d, v := fake(t, nil)
	for state, want := range map[libvirt.DomainState]State{
		libvirt.DOMAIN_RUNNING: Running, libvirt.DOMAIN_SHUTDOWN: Running, libvirt.DOMAIN_SHUTOFF: Off,
		libvirt.DOMAIN_CRASHED: Crashed, libvirt.DOMAIN_PAUSED: Held, libvirt.DOMAIN_PMSUSPENDED: Held,
	} {
		v.state = state
		if got, err := d.State(t.Context()); got != want || err != nil {
			t.Errorf("%v: %s %v", state, got, err)
		}
	}
}
