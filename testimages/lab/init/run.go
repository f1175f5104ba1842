package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runGuest runs the guest: it misbehaves if the options say so, starts the heartbeats and the
// agent, and stops on request.
func runGuest() error {
	o, err := readOptions("/proc/cmdline")
	if err != nil {
		return err
	}
	h, err := startHeart()
	if err != nil {
		return err
	}
	if err := o.misbehave(h); err != nil {
		return err
	}
	if err := h.beat(); err != nil {
		return err
	}
	go func() {
		mountFstab(h)
		mountData(h)
	}()
	go watchPowerButtons(h)
	if !o.noAgent {
		go startAgent(h, o)
	}
	return h.untilAsked(o)
}

// options are the ways to misbehave, from the kernel's command line.
type options struct {
	ignoreShutdown bool
	slowShutdown   time.Duration
	noAgent        bool
	hang           bool
	hibernate      bool
	windows        string // the agent is one of Windows, of this kind
	without        string // commands that the agent must not carry out
	was            int64  // size of a disk with which the guest works
	bigger         string // what to do on a larger disk: hang, panic or off
}

func readOptions(path string) (o options, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	words := strings.Fields(string(b))
	o.ignoreShutdown = slices.Contains(words, "ignore-shutdown")
	o.noAgent = slices.Contains(words, "no-agent")
	o.hang = slices.Contains(words, "hang")
	o.hibernate = slices.Contains(words, "hibernate")
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "slow-shutdown":
			var s float64
			s, err = strconv.ParseFloat(value, 64)
			o.slowShutdown = time.Duration(s * float64(time.Second))
		case "windows":
			o.windows = value
		case "agent-without":
			o.without = value
		case "was":
			o.was, err = strconv.ParseInt(value, 10, 64)
		case "bigger":
			o.bigger = value
		}
		if err != nil {
			return o, fmt.Errorf("kernel command line: %s: %w", w, err)
		}
	}
	return o, nil
}

// misbehave does what the options say for the boot. It returns if that is nothing.
func (o options) misbehave(h *heart) error {
	size, err := diskSize(h.disk)
	if err != nil {
		return err
	}
	what := ""
	switch {
	case o.hang:
		what = "hang"
	case o.bigger != "" && size > o.was:
		what = o.bigger
	default:
		return nil
	}
	h.note("told to " + what)
	switch what {
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "panic":
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "off":
		return h.stop(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
	return fmt.Errorf("kernel command line: bigger=%s", what)
}

// untilAsked waits for a request to stop, from /sbin/shutdown or a power button, and stops.
func (h *heart) untilAsked(o options) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	for s := range asked {
		h.note("asked to stop")
		if o.ignoreShutdown {
			continue
		}
		time.Sleep(o.slowShutdown)
		if o.hibernate {
			if err := hibernate("/data"); err != nil {
				h.note(fmt.Sprint("hibernate: ", err))
			}
		}
		if s == syscall.SIGINT {
			return h.stop(syscall.LINUX_REBOOT_CMD_RESTART)
		}
		return h.stop(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
	return nil
}

// hibernate writes to a volume what Windows writes at a shutdown with fast startup: a
// hibernation file of at least one page that begins with "hibr", which ntfs-3g checks
// (libntfs-3g/volume.c, ntfs_volume_check_hiberfile).
func hibernate(volume string) error {
	f, err := os.Create(filepath.Join(volume, "hiberfil.sys"))
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte("hibr"), make([]byte, 64<<10-4)...))
	return errors.Join(err, f.Sync(), f.Close())
}

// stop ends all programs and unmounts the file systems cleanly.
func (h *heart) stop(how int) error {
	h.still()
	_ = syscall.Unmount("/data", 0)
	_ = syscall.Kill(-1, syscall.SIGTERM)
	waitForChildren(2 * time.Second)
	_ = syscall.Kill(-1, syscall.SIGKILL)
	waitForChildren(time.Second)
	syscall.Sync()
	var err error
	for range 50 {
		if err = syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		h.note(fmt.Sprint("root file system stays writable: ", err))
	}
	h.note("stopped")
	return syscall.Reboot(how)
}

// waitForChildren reaps children until none is left.
func waitForChildren(limit time.Duration) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return
		}
		if pid == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// startAgent creates the port of the guest agent, under the name that udev would give it, and
// runs the agent.
func startAgent(h *heart, o options) {
	const name = "org.qemu.guest_agent.0"
	port := ""
	for deadline := time.Now().Add(5 * time.Second); port == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		port = portNamed(name)
	}
	if port == "" {
		h.note("no port for the agent")
		return
	}
	if o.windows != "" {
		startWindowsAgent(h, port, o.windows)
		return
	}
	link := "/dev/virtio-ports/" + name
	_ = os.MkdirAll(filepath.Dir(link), 0o755)
	_ = os.Symlink(port, link)
	args := []string{"-m", "virtio-serial", "-p", link, "-t", "/run", "-l", "/run/qemu-ga.log"}
	if o.without != "" {
		args = append(args, "-b", o.without)
	}
	cmd := exec.Command("/usr/sbin/qemu-ga", args...)
	if err := cmd.Start(); err != nil {
		h.note(fmt.Sprint("agent: ", err))
	}
}

func portNamed(name string) string {
	ports, _ := filepath.Glob("/sys/class/virtio-ports/*")
	for _, p := range ports {
		if b, _ := os.ReadFile(p + "/name"); strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(p)
		}
	}
	return ""
}

// mountFstab mounts the entries of fstab(5), except the root, which is its first line.
func mountFstab(h *heart) {
	fstab, err := os.ReadFile("/etc/fstab")
	if err != nil || bytes.Count(bytes.TrimSpace(fstab), []byte("\n")) == 0 {
		return
	}
	if out, err := exec.Command("/sbin/mount", "-a").CombinedOutput(); err != nil {
		h.note(fmt.Sprintf("mount -a: %v: %s", err, bytes.TrimSpace(out)))
	}
}

// mountData mounts the first NTFS at /data.
func mountData(h *heart) {
	for _, dev := range blockDevices() {
		if kind, _ := identify(dev); kind != "ntfs" {
			continue
		}
		if err := mountNTFS(dev); err != nil {
			h.note(fmt.Sprintf("mount %s: %v", dev, err))
		} else {
			h.note("mounted " + dev + " at /data")
		}
		return
	}
}

// mountNTFS uses ntfs-3g: not every kernel has a driver.
func mountNTFS(dev string) error {
	if out, err := exec.Command("/sbin/ntfs-3g", dev, "/data").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
