package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PrivateDir returns the directory that libvirt made for the running domain, for
// example /var/lib/libvirt/qemu/domain-3-dev7. A confined QEMU may create files and sockets
// there: virt-aa-helper writes the AppArmor rule, libvirt sets the SELinux label. In the
// directory for temporary files, AppArmor's abstractions/libvirt-qemu lets QEMU only read.
//
// It returns "" if there is no directory that both this process and QEMU can reach: for
// users who may not read QEMU's entry in /proc, and for a libvirt in a mount namespace.
func (d *Domain) PrivateDir() string { return privateDir("/proc", d.UUID) }

func privateDir(proc, uuid string) string {
	lines, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	for _, file := range lines {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		dir := dirOfQEMU(strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00"), uuid)
		if dir == "" {
			continue
		}
		ours, err := os.Stat(dir)
		if err != nil || !ours.IsDir() {
			return ""
		}
		theirs, err := os.Stat(filepath.Join(filepath.Dir(file), "root", dir))
		if err != nil || !os.SameFile(ours, theirs) {
			return ""
		}
		return dir
	}
	return ""
}

// dirOfQEMU returns the domain's directory from the arguments of its QEMU. The ID and
// the shortened name in it are libvirt's (virDomainDefGetShortName); libvirt always
// keeps the master key there, named in JSON since libvirt 6.10 and as key=value before.
func dirOfQEMU(args []string, uuid string) string {
	i := slices.Index(args, "-uuid")
	if i < 0 || i+1 == len(args) || args[i+1] != uuid {
		return ""
	}
	for _, arg := range args {
		if !strings.Contains(arg, "master-key.aes") {
			continue
		}
		var object struct{ File string }
		if json.Unmarshal([]byte(arg), &object) != nil {
			_, object.File, _ = strings.Cut(arg, "file=")
		}
		if filepath.IsAbs(object.File) && filepath.Base(object.File) == "master-key.aes" {
			return filepath.Dir(object.File)
		}
	}
	return ""
}

// socketLimit is the longest path of a Unix socket (unix(7): 108 bytes with the
// terminating one).
const socketLimit = 107

// PlaceSocket returns the path for a socket in the domain's private directory, or an error
// if there is no such directory or the path is too long.
func (d *Domain) PlaceSocket(name string) (string, error) {
	dir := d.PrivateDir()
	if dir == "" {
		return "", fmt.Errorf("libvirt's directory of %s cannot be reached", d.Name)
	}
	path := filepath.Join(dir, name)
	if len(path) > socketLimit {
		return "", fmt.Errorf("%s is longer than the %d bytes that a socket's path may have", path, socketLimit)
	}
	return path, nil
}
