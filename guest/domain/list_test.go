package domain

import (
	"testing"

	"libvirt.org/go/libvirt"
)

// TestDomains checks that the list survives a restart of libvirtd, and leaves out a domain
// that was removed meanwhile.
func TestDomains(t *testing.T) {
	for _, hooks := range []map[string]hook{nil, {"name": dies(1)}, {"state": dies(1)}} {
		d, v := fake(t, hooks)
		v.state = libvirt.DOMAIN_SHUTOFF
		all, err := d.conn.Domains(t.Context())
		if err != nil || len(all) != 1 || all[0].Name != "dev7" || all[0].UUID != uuid || all[0].State != Off {
			t.Errorf("%+v %v", all, err)
		}
	}
	d, _ := fake(t, map[string]hook{"name": func(*vm, int) error { return errNotThere }})
	if all, err := d.conn.Domains(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%+v %v", all, err)
	}
	d, _ = fake(t, map[string]hook{"uuid": func(*vm, int) error { return errNotActive }})
	if _, err := d.conn.Domains(t.Context()); err == nil {
		t.Error("an error is lost")
	}
}

// TestDisconnected checks that a guest without a running agent is known from its definition.
func TestDisconnected(t *testing.T) {
	for state, want := range map[string]bool{"": false, " state='connected'": false, " state='disconnected'": true} {
		def, err := parse("<domain><devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'" + state + "/></channel></devices></domain>")
		if err != nil || !def.Channel || def.Disconnected != want {
			t.Errorf("%q: %+v %v", state, def, err)
		}
	}
}
