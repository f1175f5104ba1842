package domain

import (
	"errors"
	"strings"
	"testing"

	"libvirt.org/go/libvirt"
)

// TestSaid checks that the output of a guest program is safe to print on the host's
// terminal.
func TestSaid(t *testing.T) {
	for _, c := range []struct{ stderr, stdout, want string }{
		{"", "", "it printed nothing"},
		{"\r\n  Resize-Partition : no room\r\nAt line:1\r\n", "", "Resize-Partition : no room"},
		{"", "only this\n", "only this"},
		{"\x1b[2J\x1b]0;title\x07evil\u202e", "", "[2J]0;titleevil"},
		{"\xff\xfe broken", "", "\ufffd\ufffd broken"},
	} {
		if got := firstOutput([]byte(c.stderr), []byte(c.stdout)); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.stderr, c.stdout, got, c.want)
		}
	}
	if got := firstOutput([]byte(strings.Repeat("ü", 1000))); len(got) != 300 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestRun(t *testing.T) {
	const started = `{"return":{"pid":7}}`
	for _, c := range []struct {
		what, exec, status string
		hooks              map[string]hook
		said, err          string
	}{
		{"ends well", started, `{"return":{"exited":true,"exitcode":0,"out-data":"aGVsbG8K"}}`, nil, "hello", ""},
		{"fails", started, `{"return":{"exited":true,"exitcode":32,"err-data":"bm8K"}}`, nil, "", "mount ended with status 32: no"},
		{"killed", started, `{"return":{"exited":true,"signal":9}}`, nil, "", "mount ended with status 137: it printed nothing"},
		{"no answer", started, "", map[string]hook{"exec": noAgent}, "", "not responding"},
		{"forbidden", started, "", map[string]hook{"exec": func(*vm, int) error {
			return failure(libvirt.ERR_INTERNAL_ERROR, "unable to execute QEMU agent command 'guest-exec': Command guest-exec has been disabled")
		}}, "", ErrMayNotExec.Error()},
		{"no JSON", "?", "", nil, "", "the guest agent's answer to guest-exec"},
		{"too much", strings.Repeat("x", maxAnswer+1), "", nil, "", "too long: 1048577 bytes"},
		{"lost on the way", started, "?", nil, "", "the guest agent's answer to guest-exec-status"},
	} {
		d, v := fake(t, c.hooks)
		v.answers = map[string]string{"exec": c.exec, "exec-status": c.status}
		got, err := d.Exec(t.Context(), []string{"mount", "/data"})
		wants(t, err, c.err)
		if got != c.said {
			t.Errorf("%s: %q", c.what, got)
		}
	}
}

// TestRunWaits checks that the program gets its input, and that Run waits for its end.
func TestRunWaits(t *testing.T) {
	d, v := fake(t, nil)
	v.answers = map[string]string{"exec": `{"return":{"pid":7}}`, "exec-status": `{"return":{"exited":false}}`}
	v.hooks = map[string]hook{"exec-status": func(v *vm, n int) error {
		if n == 3 {
			v.answers["exec-status"] = `{"return":{"exited":true}}`
		}
		return nil
	}}
	ran, err := d.Run(t.Context(), []string{"tee", "/etc/fstab"}, "text")
	if err != nil || ran.Status != 0 || v.called("exec-status") != "exec-status exec-status exec-status" {
		t.Errorf("%+v %v %s", ran, err, v.called("exec-status"))
	}
	if want := `{"execute":"guest-exec","arguments":{"arg":["/etc/fstab"],"capture-output":true,"input-data":"dGV4dA==","path":"tee"}}`; v.sent["exec"] != want {
		t.Errorf("%s\nwant %s", v.sent["exec"], want)
	}
	ctx, stop := cancelled(t, 2)
	v.hooks, v.count = map[string]hook{"exec-status": stop}, map[string]int{}
	v.answers["exec-status"] = `{"return":{"exited":false}}`
	if _, err := d.Run(ctx, []string{"sleep", "9"}, ""); !errors.Is(err, errStopped) {
		t.Errorf("%v", err)
	}
}

func TestAgentAnswers(t *testing.T) {
	d, v := fake(t, nil)
	v.answers = map[string]string{
		"get-fsinfo": `{"return":[{"name":"vda2","mountpoint":"/","type":"xfs","total-bytes":100,"used-bytes":50}]}`,
		"get-osinfo": `{"return":{"id":"mswindows"}}`,
		"info":       `{"return":{"supported_commands":[{"name":"guest-exec","enabled":true},{"name":"guest-exec-status","enabled":true}]}}`,
	}
	if all, err := d.FileSystems(t.Context()); err != nil || len(all) != 1 || all[0] != (FS{"vda2", "/", "xfs", 100, 50}) {
		t.Errorf("%+v %v", all, err)
	}
	if d.OS(t.Context()) != "mswindows" || !d.mayExec(t.Context()) {
		t.Error("the system, or what the agent may do")
	}
	v.answers["info"] = `{"return":{"supported_commands":[{"name":"guest-exec","enabled":true},{"name":"guest-exec-status","enabled":false}]}}`
	if d.mayExec(t.Context()) {
		t.Error("a command that is disabled counts")
	}
	v.hooks = map[string]hook{"info": noAgent, "get-osinfo": noAgent}
	if d.OS(t.Context()) != "" || d.mayExec(t.Context()) {
		t.Error("an agent that does not answer counts")
	}
}

func TestUnsupported(t *testing.T) {
	for text, want := range map[string]bool{
		"The command guest-exec has not been found":                        true,
		"Command guest-exec has been disabled: the command is not allowed": true,
		"this feature or command is not currently supported":               true,
		"argument unsupported: QEMU guest agent is not configured":         true,
		"Guest agent is not responding: QEMU guest agent is not connected": false,
	} {
		if got := Unsupported(errors.New(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if Unsupported(nil) {
		t.Error("no error")
	}
}
