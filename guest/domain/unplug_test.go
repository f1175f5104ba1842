package domain

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var withoutVDA = func() string {
	from := strings.Index(definition, "    <disk type='file' device='disk'>")
	to := strings.Index(definition, "</disk>\n    <disk") + len("</disk>\n")
	return definition[:from] + definition[to:]
}()

// Hooks for the release of vda, whose alias is virtio-disk0.
var (
	removed hook = func(v *vm, _ int) error { v.live = withoutVDA; v.tell("virtio-disk0", true); return nil }
	refused hook = func(v *vm, _ int) error { v.tell("virtio-disk0", false); return nil }
	silent  hook = func(v *vm, _ int) error { v.live = withoutVDA; return nil }
	other   hook = func(v *vm, _ int) error { v.tell("virtio-disk1", true); v.tell("virtio-disk1", false); return nil }
)

func TestUnplug(t *testing.T) {
	inProgress := func(*vm, int) error {
		return failure(9, "internal error: unable to execute QEMU command 'device_del': Device virtio-disk0 is already in the process of unplug")
	}
	for _, c := range []struct {
		what  string
		limit time.Duration
		hooks map[string]hook
		// calls are the expected calls; look is a query whether the device is present.
		calls string
		err   string
	}{
		{"removed at once", time.Minute, map[string]hook{"detach": removed}, "watch detach", ""},
		{"removed later", time.Minute, map[string]hook{"xml": at(4, removed)}, "watch detach", ""},
		{"the guest refuses", time.Minute, map[string]hook{"detach": refused}, "watch detach", "refused"},
		{"another device's events", time.Minute, map[string]hook{"detach": other, "xml": at(3, removed)}, "watch detach", ""},
		{"ignored", time.Millisecond, nil, "watch detach", "within 1ms"},
		{"gone without an event", time.Minute, map[string]hook{"xml": at(3, silent)}, "watch detach", ""},
		{"gone before it is asked", time.Minute, map[string]hook{"detach": func(v *vm, _ int) error { v.live = withoutVDA; return noJob(v, 1) }}, "watch detach", ""},
		{"libvirt fails", time.Minute, map[string]hook{"detach": noAgent}, "watch detach", "not responding"},
		{"asked before", time.Minute, map[string]hook{"detach": inProgress, "xml": at(3, removed)}, "watch detach", ""},
		{"the guest ends", time.Minute, map[string]hook{"state": at(3, goesOff)}, "watch detach", ""},
		{"the daemon restarts, and the event is lost", time.Minute, map[string]hook{"xml": at(3, func(v *vm, n int) error {
			v.restart(2)
			return silent(v, n)
		})}, "watch detach", ""},
		{"no events", time.Minute, map[string]hook{"watch": noAgent}, "watch", "not responding"},
		{"the domain is gone", time.Minute, map[string]hook{"state": at(2, func(v *vm, _ int) error { v.gone = true; return nil })}, "watch detach", "Domain not found"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d, v := fake(t, nil)
			device := vda(t, d)
			v.hooks = c.hooks
			err := d.Unplug(t.Context(), device, c.limit)
			wants(t, err, c.err)
			if held := strings.Contains(c.err, "refused") || strings.Contains(c.err, "within"); errors.Is(err, ErrHeld) != held {
				t.Errorf("%v", err)
			}
			if got := v.called("watch", "detach"); got != c.calls {
				t.Errorf("called %q, want %q", got, c.calls)
			}
		})
	}
}

func TestUnplugCancelled(t *testing.T) {
	d, v := fake(t, nil)
	device := vda(t, d)
	ctx, stop := cancelled(t, 1)
	v.hooks = map[string]hook{"detach": stop}
	if err := d.Unplug(ctx, device, time.Minute); !errors.Is(err, errStopped) {
		t.Errorf("%v", err)
	}
}

func vda(t *testing.T, d *Domain) Device {
	t.Helper()
	devices, _, err := d.Devices(t.Context(), Live)
	if err != nil || devices[0].Target != "vda" {
		t.Fatalf("%+v %v", devices, err)
	}
	return devices[0]
}

// TestChange checks that the chosen definition gets the element unchanged.
func TestChange(t *testing.T) {
	d, v := fake(t, nil)
	for name, do := range map[string]func() error{
		"attach": func() error { return d.Attach(t.Context(), "<disk/>", Config) },
		"detach": func() error { return d.Detach(t.Context(), "<disk/>", Live) },
		"update": func() error { return d.Update(t.Context(), "<disk/>", Live, true) },
	} {
		if err := do(); err != nil || v.sent[name] != map[string]string{"attach": "2 ", "detach": "1 ", "update": "5 "}[name]+"<disk/>" {
			t.Errorf("%s: %v %q", name, err, v.sent[name])
		}
	}
}
