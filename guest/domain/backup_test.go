package domain

import (
	"errors"
	"testing"

	"libvirt.org/go/libvirt"
)

var view = DiskSnapshot{Target: "vda", Socket: "/run/it's.sock", Scratch: "/tmp/scratch.qcow2"}

func TestView(t *testing.T) {
	const xml = "<domainbackup mode='pull'><server transport='unix' socket='/run/it&#39;s.sock'/><disks>" +
		"<disk name='vda' backup='yes' type='file' exportname='vda'><driver type='qcow2'/><scratch file='/tmp/scratch.qcow2'/></disk>" +
		"<disk name='sda' backup='no'/></disks></domainbackup>"
	if got, want := view.URI("vda"), "nbd+unix:///vda?socket=%2Frun%2Fit%27s.sock"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, c := range []struct {
		what  string
		hooks map[string]hook
		err   string
		begun bool
	}{
		{"begun", nil, "", true},
		{"refused", map[string]hook{"begin": noAgent}, "not responding", false},
		{"begun, and the answer is lost", map[string]hook{"begin": func(v *vm, n int) error {
			if n > 1 {
				return failure(libvirt.ERR_OPERATION_INVALID, "domain has active block job")
			}
			v.backup = v.sent["begin"]
			v.restart(0)
			return nil
		}}, "", true},
	} {
		d, v := fake(t, c.hooks)
		v.sent["begin"] = xml
		wants(t, d.BeginSnapshot(t.Context(), view), c.err)
		if (v.backup == xml) != c.begun {
			t.Errorf("%s: %s", c.what, v.backup)
		}
	}
}

func TestEndView(t *testing.T) {
	ends := func(v *vm, _ int) error { v.backup = ""; return nil }
	for _, c := range []struct {
		what, backup string
		hooks        map[string]hook
		aborts, err  string
	}{
		{"it takes a while", "/run/it&#39;s.sock", map[string]hook{"backup": at(4, ends)}, "abort", ""},
		{"ended at once", "/run/it&#39;s.sock", map[string]hook{"abort": ends}, "abort", ""},
		{"none", "", nil, "", ""},
		{"somebody else's", "/run/other.sock", nil, "", ""},
		{"ended by itself", "/run/it&#39;s.sock", map[string]hook{"abort": func(v *vm, _ int) error { v.backup = ""; return errNotActive }}, "abort", ""},
		{"it cannot be ended", "/run/it&#39;s.sock", map[string]hook{"abort": noAgent}, "abort", "not responding"},
		{"the guest ends", "/run/it&#39;s.sock", map[string]hook{"backup": at(3, func(v *vm, _ int) error { v.powerOff(); return errNotActive })}, "abort", ""},
		{"the daemon restarts", "/run/it&#39;s.sock", map[string]hook{"backup": func(v *vm, n int) error {
			switch n {
			case 2:
				v.restart(1)
			case 4:
				v.backup = ""
			}
			return nil
		}}, "abort", ""},
	} {
		d, v := fake(t, c.hooks)
		v.backup = c.backup
		wants(t, d.EndSnapshot(t.Context(), view), c.err)
		if got := v.called("abort"); got != c.aborts {
			t.Errorf("%s: %q", c.what, got)
		}
	}
	ctx, stop := cancelled(t, 2)
	d, v := fake(t, map[string]hook{"backup": stop})
	v.backup = "/run/it&#39;s.sock"
	if err := d.EndSnapshot(ctx, view); !errors.Is(err, errStopped) {
		t.Errorf("%v", err)
	}
}

func TestFreeze(t *testing.T) {
	d, v := fake(t, nil)
	v.answers = map[string]string{"fsfreeze-freeze": `{"return":3}`, "fsfreeze-thaw": `{"return":3}`}
	wants(t, errors.Join(d.Freeze(t.Context()), d.Thaw(t.Context())), "")
	if got := v.called("fsfreeze-freeze", "fsfreeze-thaw"); got != "fsfreeze-freeze fsfreeze-thaw" {
		t.Error(got)
	}
}
