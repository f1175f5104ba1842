package domain

import (
	"slices"
	"strings"
	"testing"

	"libvirt.org/go/libvirt"
)

var withChannel = strings.Replace(definition, "</devices>",
	"<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices>", 1)

func TestStatus(t *testing.T) {
	const commands = `{"return":{"supported_commands":[{"name":"guest-exec","enabled":true},{"name":"guest-exec-status","enabled":true}]}}`
	job := func(v *vm) {
		v.backup = "<domainbackup/>"
		v.job = &libvirt.DomainBlockJobInfo{Type: libvirt.DOMAIN_BLOCK_JOB_TYPE_COMMIT}
	}
	for _, c := range []struct {
		what  string
		set   func(*vm)
		agent bool // whether the agent is asked
		want  Status
	}{
		{"idle", func(*vm) {}, true, Status{State: Running}},
		{"jobs", job, true, Status{State: Running, Job: true, Blocked: []string{"vda"}}},
		{"off", func(v *vm) { v.powerOff(); v.backup = "x" }, true, Status{State: Off}},
		{"an agent", func(v *vm) { v.config = withChannel }, true, Status{State: Running, Agent: true, Exec: true}},
		{"an agent that is not asked", func(v *vm) { v.config = withChannel }, false, Status{State: Running}},
		{"an agent that does not answer", func(v *vm) { v.config = withChannel; v.hooks = map[string]hook{"ping": noAgent} }, true, Status{State: Running}},
	} {
		d, v := fake(t, nil)
		v.answers = map[string]string{"info": commands}
		c.set(v)
		got, err := d.Status(t.Context(), c.agent)
		if err != nil || got.State != c.want.State || got.Job != c.want.Job || !slices.Equal(got.Blocked, c.want.Blocked) || got.Agent != c.want.Agent || got.Exec != c.want.Exec ||
			!got.Persistent || !got.Autostart || got.Saved || got.Checkpoints != 2 || got.Snapshots != 1 {
			t.Errorf("%s: %+v %v", c.what, got, err)
		}
	}
}

// TestStatusFails checks that a failed query is an error. Old libvirts know no
// checkpoints.
func TestStatusFails(t *testing.T) {
	for call, want := range map[string]string{
		"xml": "not responding", "state": "not responding", "persistent": "not responding", "autostart": "not responding",
		"managed save": "not responding", "snapshots": "not responding", "checkpoints": "", "job info": "",
	} {
		d, _ := fake(t, map[string]hook{call: noAgent})
		_, err := d.Status(t.Context(), true)
		wants(t, err, want)
	}
}

// TestStatusReconnect checks that a lost connection during the query does not hide a
// job.
func TestStatusReconnect(t *testing.T) {
	for _, call := range []string{"checkpoints", "job info", "job"} {
		d, v := fake(t, map[string]hook{call: dies(1)})
		v.backup = "<domainbackup/>"
		v.job = &libvirt.DomainBlockJobInfo{Type: libvirt.DOMAIN_BLOCK_JOB_TYPE_COMMIT}
		got, err := d.Status(t.Context(), true)
		if err != nil || got.Checkpoints != 2 || !slices.Equal(got.Blocked, []string{"vda"}) {
			t.Errorf("%s: %+v %v", call, got, err)
		}
	}
}
