package domain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const uuid = "8a8a2a4e-7a7c-4c79-a7a0-6a4ad6dbb3a1"

// TestDirOfQEMU parses the arguments that libvirt 4.5 and 9.0 give to QEMU.
func TestDirOfQEMU(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"libvirt 9": {[]string{"/usr/bin/qemu-system-x86_64", "-name", "guest=dev7,debug-threads=on", "-S", "-object",
			`{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/var/lib/libvirt/qemu/domain-3-dev7/master-key.aes"}`,
			"-uuid", uuid}, "/var/lib/libvirt/qemu/domain-3-dev7"},
		"libvirt 4.5": {[]string{"/usr/libexec/qemu-kvm", "-object",
			"secret,id=masterKey0,format=raw,file=/var/lib/libvirt/qemu/domain-12-a-name-of-more-than-t/master-key.aes", "-uuid", uuid},
			"/var/lib/libvirt/qemu/domain-12-a-name-of-more-than-t"},
		"session": {[]string{"qemu", "-uuid", uuid, "-object",
			`{"file":"/home/u/.config/libvirt/qemu/lib/domain-1-x/master-key.aes"}`}, "/home/u/.config/libvirt/qemu/lib/domain-1-x"},
		"another domain":    {[]string{"qemu", "-uuid", "8a8a2a4e", "-object", `{"file":"/x/master-key.aes"}`}, ""},
		"no key":            {[]string{"qemu", "-uuid", uuid}, ""},
		"the UUID is gone":  {[]string{"qemu", "-uuid"}, ""},
		"no absolute path":  {[]string{"qemu", "-uuid", uuid, "-object", `{"file":"master-key.aes"}`}, ""},
		"not the key":       {[]string{"qemu", "-uuid", uuid, "-drive", "file=/tmp/master-key.aes.qcow2"}, ""},
		"no program at all": {nil, ""},
	} {
		if got := dirOfQEMU(c.args, uuid); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestPrivateDir checks that the directory is only used if QEMU sees the same one.
func TestPrivateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "domain-1-x")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	line := strings.Join([]string{"qemu", "-uuid", uuid, "-object", `{"file":"` + dir + `/master-key.aes"}`}, "\x00") + "\x00"
	process := func(root string) (proc string) {
		proc = t.TempDir()
		p := filepath.Join(proc, "77")
		for _, err := range []error{os.Mkdir(p, 0o700), os.WriteFile(p+"/cmdline", []byte(line), 0o600), os.Symlink(root, p+"/root")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return proc
	}
	if got := privateDir(process("/"), uuid); got != dir {
		t.Errorf("%q, want %q", got, dir)
	}
	if got := privateDir(process(t.TempDir()), uuid); got != "" {
		t.Errorf("a directory that QEMU does not see: %q", got)
	}
	if got := privateDir(process("/"), "another"); got != "" {
		t.Errorf("another domain's: %q", got)
	}
}
