package remote

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for uri, want := range map[string]struct{ connect, arguments string }{
		"qemu+ssh://web/system":                                 {"qemu:///system", "-T -- web virt-grow __relay"},
		"qemu+ssh://root@web:2222/session":                      {"qemu:///session", "-T -p 2222 -- root@web virt-grow __relay"},
		"QEMU+SSH://[fe80::1]/system":                           {"qemu:///system", "-T -- fe80::1 virt-grow __relay"},
		"qemu+ssh://web/system?keyfile=/k&no_tty=1&no_verify=1": {"qemu:///system", "-T -i /k -o BatchMode=yes -o StrictHostKeyChecking=no -- web virt-grow __relay"},
		"qemu+ssh://web/system?no_tty=0&netcat=nc&proxy=auto":   {"qemu:///system", "-T -- web virt-grow __relay"},
		"qemu+ssh://web/system?socket=/a%26b&mode=direct":       {"qemu:///system?mode=direct&socket=%2Fa%26b", "-T -- web virt-grow __relay"},
		"qemu+ssh://web/system?program=sudo+-n+virt-grow":       {"qemu:///system", "-T -- web sudo -n virt-grow __relay"},
	} {
		h, err := Parse(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if got := strings.Join(h.arguments(), " "); h.Connect != want.connect || got != want.arguments || h.ssh != "ssh" {
			t.Errorf("%s: %s, %s %s", uri, h.Connect, h.ssh, got)
		}
	}
	if h, err := Parse("qemu+ssh://web/system?command=/opt/ssh"); err != nil || h.ssh != "/opt/ssh" {
		t.Errorf("command: %+v, %v", h, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for uri, says := range map[string]string{
		"qemu+ssh:///system":                 "names no host",
		"qemu+ssh://-oProxyCommand=x/system": "begins with -",
		"qemu+ssh://-l@web/system":           "begins with -",
		"qemu+ssh://web":                     "must end with /system or /session",
		"qemu+ssh://web/system/":             "must end with /system or /session",
		"qemu+ssh://u:secret@web/system":     "a password in a URI is not supported",
		"qemu+ssh://web/system?sshauth=none": "the parameter sshauth is not supported",
		"qemu+ssh://web/system?a;b":          "parameters",
		"qemu+ssh://web:port/system":         "is not a URI",
	} {
		_, err := Parse(uri)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestIsURI(t *testing.T) {
	for uri, want := range map[string]bool{
		"qemu+ssh://web/system": true, "Qemu+Ssh://web/system": true, "qemu+ssh": true,
		"qemu:///system": false, "qemu+tls://web/system": false, "qemu+libssh2://web/system": false, "": false,
	} {
		if IsURI(uri) != want {
			t.Error(uri)
		}
	}
}

// TestParametersSorted keeps the list in messages in order.
func TestParametersSorted(t *testing.T) {
	if !slices.IsSorted(parameters) {
		t.Error(parameters)
	}
}
