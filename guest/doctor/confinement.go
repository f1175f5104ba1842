package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
)

// unitDirs are where systemd looks for units (systemd.unit(5)).
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// daemon returns the host's libvirt daemon for QEMU: virtqemud if libvirt has one daemon
// per driver (RHEL 9, Fedora 35 and later), else libvirtd. If both are installed, it
// returns the enabled one.
func daemon(root string) string {
	switch {
	case hasUnit(root, "sockets.target.wants/virtqemud.socket"), hasUnit(root, "multi-user.target.wants/virtqemud.service"):
		return "virtqemud"
	case hasUnit(root, "sockets.target.wants/libvirtd.socket"), hasUnit(root, "multi-user.target.wants/libvirtd.service"):
		return "libvirtd"
	case hasUnit(root, "virtqemud.service"):
		return "virtqemud"
	}
	return "libvirtd"
}

func hasUnit(root, unit string) bool {
	return slices.ContainsFunc(unitDirs, func(dir string) bool {
		// A link that enables a unit has an absolute target, which does not exist
		// below root.
		_, err := os.Lstat(filepath.Join(root, dir, unit))
		return err == nil
	})
}

// examineConfinement reports which security drivers keep a guest's QEMU from other files:
// they explain a "permission denied" that the files' modes do not.
func examineConfinement(ctx context.Context, uri string) (Finding, bool) {
	conn, err := domain.Connect(uri)
	if err != nil {
		return Finding{}, false // the finding on libvirt says why
	}
	defer conn.Close()
	drivers, err := conn.SecurityDrivers(ctx)
	if err != nil {
		return Finding{}, false
	}
	return judgeConfinement("/", drivers), true
}

// judgeConfinement compares what the host's kernel enforces with what libvirt uses.
func judgeConfinement(root string, drivers []string) Finding {
	var active []string
	if read(root, "sys/module/apparmor/parameters/enabled") == "Y" {
		active = append(active, "apparmor")
	}
	switch read(root, "sys/fs/selinux/enforce") {
	case "1":
		active = append(active, "selinux")
	case "0":
		active = append(active, "selinux (permissive)")
	}
	host, used := "neither AppArmor nor SELinux is active on this host", "none"
	if len(active) > 0 {
		host = "active on this host: " + strings.Join(active, ", ")
	}
	if len(drivers) > 0 {
		used = strings.Join(drivers, ", ")
	}
	return Finding{Name: "confinement", Level: OK, Text: fmt.Sprintf("%s; libvirt confines guests with: %s", host, used)}
}

// read returns a small file's text without the end of its line, "" if there is none.
func read(root, file string) string {
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
