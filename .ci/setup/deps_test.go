// Package setup tests .ci/deps with an apt-get and a dpkg-query of its own.
package setup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// machine is what the script is told about the machine.
type machine struct {
	// lacking are the packages that are not installed, "kernel" for a kernel.
	lacking string
	// apt is the body of apt-get, a shell script; "" lets it do as asked.
	apt string
	// goes is what go env GOVERSION prints; "-" stands for no Go.
	goes string
	// unprivileged runs it as nobody; noSudo leaves sudo out.
	unprivileged, noSudo bool
}

// run runs .ci/deps SET; calls has what apt-get was told, a line each.
func (m machine) run(t *testing.T, set string) (out, calls string, ok bool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "deps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Only what is made here is found, and the system's tools that do no harm.
	for _, name := range []string{"bash", "env", "mktemp", "rm", "sort", "tail", "grep", "cat", "cmp", "mkdir", "install", "dirname", "sleep"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	boot, log := filepath.Join(dir, "boot"), filepath.Join(dir, "calls")
	lacking := m.lacking
	if strings.Contains(lacking, "kernel") {
		lacking = strings.Replace(lacking, "kernel", "linux-image-amd64", 1)
		err = os.Mkdir(boot, 0o755)
	} else {
		err = os.Mkdir(boot, 0o755)
		program("boot/vmlinuz-6.12.9+deb13-amd64", "")
		program("boot/vmlinuz-6.1.0-9-amd64", "")
	}
	if err != nil {
		t.Fatal(err)
	}
	program("dpkg", "echo amd64")
	program("dpkg-query", `[[ " `+lacking+` " != *" ${@: -1} "* ]] || { echo "no packages found" >&2; exit 1; }; printf installed`)
	program("modinfo", "exit 1")
	program("apt-get", `echo "$*" >>`+log+"\n"+m.apt+`
if [[ $* == *linux-image* ]]; then : >`+boot+`/vmlinuz-6.12.9+deb13-amd64; fi`)
	if m.goes == "" {
		m.goes = "go1.24.4"
	}
	if m.goes != "-" {
		program("go", "echo "+m.goes)
	}
	if !m.noSudo {
		program("sudo", `"$@"`)
	}
	cmd := exec.Command("../deps", set)
	cmd.Env = []string{"PATH=" + dir, "VIRT_GROW_BOOT=" + boot, "APT_LOCK_WAIT=2", "TMPDIR=" + dir}
	if m.unprivileged && os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	b, err := cmd.CombinedOutput()
	c, _ := os.ReadFile(log)
	return string(b), string(c), err == nil
}

func TestDeps(t *testing.T) {
	const locked = `echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)" >&2; exit 100`
	for _, test := range []struct {
		name, set string
		m         machine
		ok        bool
		out       string // what the output has to contain
		calls     string // what apt-get has to be told, or not at all with ""
	}{
		{"complete", "run", machine{}, true, "", ""},
		{"no kernel", "run", machine{lacking: "kernel"}, true, "linux-image-amd64", "install -y --no-install-recommends linux-image-amd64"},
		{"run is content without the demo's", "run", machine{lacking: "guestfish gdisk"}, true, "", ""},
		{"the demo's", "demo", machine{lacking: "guestfish gdisk linux-source-6.12"}, true, "", "install -y --no-install-recommends guestfish\n"},
		{"the collection's", "ansible", machine{lacking: "ansible-core gdisk"}, true, "", "install -y --no-install-recommends ansible-core\n"},
		{"the tests', for the newest kernel", "test", machine{lacking: "linux-source-6.12 linux-headers-6.12.9+deb13-amd64"}, true, "",
			"linux-source-6.12 linux-headers-6.12.9+deb13-amd64"},
		{"for the kernel that was not there", "test", machine{lacking: "kernel linux-headers-6.12.9+deb13-amd64"}, true, "", "linux-headers-6.12.9+deb13-amd64"},
		{"no server", "run", machine{lacking: "gcc", apt: `echo "E: Failed to fetch http://x/ Temporary failure resolving 'x'" >&2; exit 100`},
			false, "no package server can be reached", "update"},
		{"broken", "run", machine{lacking: "gcc", apt: `echo "E: dpkg was interrupted, you must run dpkg --configure -a" >&2; exit 100`},
			false, "dpkg was interrupted", "update"},
		{"locked", "run", machine{lacking: "gcc", apt: locked}, false, "another program has held apt's lock for 2 s", "update"},
		{"locked at first", "run", machine{lacking: "gcc", apt: `[[ -e $TMPDIR/once ]] || { : >$TMPDIR/once; ` + locked + `; }`},
			true, "waiting for it", "install"},
		{"no Go", "run", machine{goes: "-"}, false, "Go is missing", ""},
		{"old Go", "run", machine{goes: "go1.19.8"}, false, "Go 1.19.8 is too old", ""},
		{"no sudo", "run", machine{lacking: "gcc", unprivileged: true, noSudo: true}, false, "there is no sudo", ""},
		{"no root for the demo", "demo", machine{unprivileged: true}, false, "needs root", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.set != "run" && !test.m.unprivileged && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			out, calls, ok := test.m.run(t, test.set)
			if ok != test.ok || !strings.Contains(out, test.out) {
				t.Errorf("passed %v; output:\n%s", ok, out)
			}
			if calls == "" != (test.calls == "") || !strings.Contains(calls, test.calls) {
				t.Errorf("apt-get was told:\n%s", calls)
			}
		})
	}
}
