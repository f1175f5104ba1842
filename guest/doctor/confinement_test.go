package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host makes a root directory with these files.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDaemon(t *testing.T) {
	const units = "usr/lib/systemd/system/"
	for name, c := range map[string]struct {
		units []string
		want  string
	}{
		"nothing installed":          {nil, "libvirtd"},
		"Debian":                     {[]string{units + "libvirtd.service", "etc/systemd/system/multi-user.target.wants/libvirtd.service"}, "libvirtd"},
		"RHEL 9":                     {[]string{units + "virtqemud.service"}, "virtqemud"},
		"both, virtqemud is enabled": {[]string{units + "libvirtd.service", units + "virtqemud.service", "etc/systemd/system/sockets.target.wants/virtqemud.socket"}, "virtqemud"},
		"both, libvirtd is enabled":  {[]string{units + "libvirtd.service", units + "virtqemud.service", "etc/systemd/system/sockets.target.wants/libvirtd.socket"}, "libvirtd"},
		"an administrator's unit":    {[]string{"etc/systemd/system/virtqemud.service"}, "virtqemud"},
	} {
		files := map[string]string{}
		for _, unit := range c.units {
			files[unit] = ""
		}
		if got := daemon(host(t, files)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestJudgeConfinement(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		drivers []string
		says    []string
	}{
		"Debian":     {map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n"}, []string{"apparmor", "dac"}, []string{"host: apparmor;", "with: apparmor, dac"}},
		"RHEL":       {map[string]string{"sys/fs/selinux/enforce": "1"}, []string{"selinux", "dac"}, []string{"host: selinux;", "with: selinux, dac"}},
		"permissive": {map[string]string{"sys/fs/selinux/enforce": "0"}, []string{"selinux"}, []string{"selinux (permissive)"}},
		"off":        {map[string]string{"sys/module/apparmor/parameters/enabled": "N\n"}, nil, []string{"neither", "with: none"}},
	} {
		got := judgeConfinement(host(t, c.files), c.drivers)
		for _, words := range c.says {
			if !strings.Contains(got.Text, words) {
				t.Errorf("%s: %q does not say %q", name, got.Text, words)
			}
		}
	}
}
