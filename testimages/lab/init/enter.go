package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const newRoot = "/root"

// enterRoot is the work of the initramfs: it loads modules, mounts the root file system and
// runs /sbin/init there.
func enterRoot() error {
	if err := mountKernel(); err != nil {
		return err
	}
	for _, m := range []string{"virtio_pci", "virtio_blk", "virtio_console", "button", "evdev", "9pnet_virtio", "9p"} {
		if slices.Contains(words("without="), m) {
			continue
		}
		if err := loadModule(m); err != nil {
			return err
		}
	}
	if err := setClock(); err != nil {
		fmt.Println("init: the clock stays as it is:", err)
	}
	if hasVirtioSCSI() {
		loadOptional("virtio_scsi", "sd_mod")
	}
	loadOptional(words("disks=")...)
	root, err := findRoot(10 * time.Second)
	if err != nil {
		return err
	}
	if err := mountRoot(root); err != nil {
		return err
	}
	return switchRoot()
}

// hasVirtioSCSI reports whether there is such a controller: without one, the SCSI layer, which
// loads slowly, is not needed.
func hasVirtioSCSI() bool {
	devices, _ := filepath.Glob("/sys/bus/virtio/devices/*/device")
	for _, d := range devices {
		if id, _ := os.ReadFile(d); strings.TrimSpace(string(id)) == "0x0008" {
			return true
		}
	}
	return false
}

func mountKernel() error {
	for _, m := range []struct{ fs, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := errors.Join(os.MkdirAll(m.at, 0o755), syscall.Mount(m.fs, m.at, m.fs, 0, "")); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// root is the root file system, on a partition or in a volume group.
type root struct{ device, fs string }

// findRoot waits for a partition with a file system labelled root, or with a physical volume.
func findRoot(limit time.Duration) (root, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		for _, dev := range blockDevices() {
			switch kind, label := identify(dev); {
			case kind == "lvm":
				return root{"/dev/vg/root", "ext4"}, activate()
			case label == "root":
				return root{dev, kind}, nil
			}
		}
		if time.Now().After(deadline) {
			return root{}, fmt.Errorf("no root file system on %s", strings.Join(blockDevices(), " "))
		}
	}
}

// activate makes the volume group's devices. There is no udev to do it.
func activate() error {
	if err := loadModule("dm-mod"); err != nil {
		return err
	}
	cmd := exec.Command("/sbin/lvm", "vgchange", "-a", "y", "vg")
	cmd.Env = []string{"LVM_SUPPRESS_FD_WARNINGS=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("activate volume group: %w: %s", err, out)
	}
	return nil
}

func mountRoot(r root) error {
	if err := loadModule(r.fs); err != nil {
		return err
	}
	// These modules are needed later, when the initramfs cannot be read any more.
	loadOptional("fuse")
	loadOptional(words("load=")...)
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(r.device, newRoot, r.fs, 0, ""); err != nil {
		return fmt.Errorf("mount %s (%s): %w", r.device, r.fs, err)
	}
	return nil
}

// words returns the modules that an option on the kernel's command line names, for example
// load=ext4,btrfs.
func words(option string) []string {
	b, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(b)) {
		if list, ok := strings.CutPrefix(word, option); ok {
			return strings.Split(list, ",")
		}
	}
	return nil
}

// switchRoot is switch_root(8), without emptying the initramfs.
func switchRoot() error {
	for _, at := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := syscall.Mount(at, newRoot+at, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", at, err)
		}
	}
	if err := errors.Join(
		os.Chdir(newRoot),
		syscall.Mount(".", "/", "", syscall.MS_MOVE, ""),
		syscall.Chroot("."),
		os.Chdir("/")); err != nil {
		return fmt.Errorf("switch to the root file system: %w", err)
	}
	return syscall.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=/sbin:/bin:/usr/sbin:/usr/bin", "HOME=/"})
}
