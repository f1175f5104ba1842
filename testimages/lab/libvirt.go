package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Libvirt is a private libvirtd with its files below a directory:
//
//	etc, lib, log, cache, run   its /etc/libvirt, /var/lib/libvirt, /var/log/libvirt, /var/cache/libvirt, /run
//	boot                        kernel and initramfs of the guests
//	serial                      the output of guests on their serial ports
//	clock                       shared with guests, which set their clocks with it
//	tmp                         temporary files of libvirt and QEMU
//	daemon.pid                  the daemon's process
//	supervisors                 the processes that supervise daemon and guests
//
// Its processes see the host's files, except in those directories: they do not see the host's
// /run.
type Libvirt struct {
	dir      string
	detached bool
}

var directories = []struct {
	name string
	mode os.FileMode
}{
	{"", 0o755}, {"etc", 0o755}, {"lib", 0o755}, {"log", 0o755}, {"cache", 0o755}, {"run", 0o755},
	{"boot", 0o755}, {"serial", 0o755}, {"clock", 0o777 | os.ModeSticky}, {"tmp", 0o777 | os.ModeSticky},
}

// configuration returns the daemon's files.
func configuration() map[string]string {
	return map[string]string{
		"etc/libvirtd.conf": `auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
`,
		// Without stdio_handler a virtlogd would be needed. The machine's cgroups
		// and security labels belong to the host's own libvirt.
		"etc/qemu.conf": `stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
` + groupOfKVM(),
	}
}

// groupOfKVM has QEMU run in the group that may open /dev/kvm, as udev makes it on most hosts.
// Where QEMU has KVM when libvirt examines it, but not as its user, libvirt examines it again
// and again: each definition and start of a guest takes one to nine seconds longer.
func groupOfKVM() string {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("group = \"+%d\"\n", info.Sys().(*syscall.Stat_t).Gid)
}

// Start starts a libvirtd on a directory of the lab, which is created if necessary. The
// directory's path must be short, because it contains a socket, and every user must be able
// to reach it, because QEMU runs as another user; t.TempDir does not fit. The daemon and its
// guests end with Stop, or when this process ends for any reason.
func Start(ctx context.Context, dir string) (*Libvirt, error) { return start(ctx, dir, false) }

// StartDetached is Start, but daemon and guests keep running when this process ends. Another
// process can use them with Attach.
func StartDetached(ctx context.Context, dir string) (*Libvirt, error) { return start(ctx, dir, true) }

func start(ctx context.Context, dir string, detached bool) (*Libvirt, error) {
	l, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	l.detached = detached
	if err := l.Restart(ctx); err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return l, nil
}

// Attach finds what StartDetached started.
func Attach(dir string) (*Libvirt, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Libvirt{dir: dir, detached: true}
	if _, err := os.Stat(l.path("supervisors")); err != nil {
		return nil, fmt.Errorf("no libvirt was started in %s: %w", dir, err)
	}
	return l, nil
}

func prepare(dir string) (*Libvirt, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a private libvirt needs root")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Libvirt{dir: dir}
	if len(l.socket()) > 107 {
		return nil, fmt.Errorf("%s is too long a path for a socket", l.socket())
	}
	if err := reachable(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	for _, f := range directories {
		// Mkdir's mode is subject to the umask.
		if err := errors.Join(os.MkdirAll(l.path(f.name), f.mode), os.Chmod(l.path(f.name), f.mode)); err != nil {
			return nil, err
		}
	}
	for name, text := range configuration() {
		if err := os.WriteFile(l.path(name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return l, writeBootTime(l.path("run/utmp"))
}

// reachable returns an error if some users cannot reach a directory.
func reachable(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode()&0o001 == 0 {
		return fmt.Errorf("QEMU's user cannot get into %s", dir)
	}
	if parent := filepath.Dir(dir); parent != dir {
		return reachable(parent)
	}
	return nil
}

func (l *Libvirt) path(name string) string { return filepath.Join(l.dir, name) }

func (l *Libvirt) socket() string { return l.path("run/libvirt/libvirt-sock") }

// URI returns the URI for clients outside of the namespace.
func (l *Libvirt) URI() string { return "qemu:///system?socket=" + l.socket() }

// Restart starts the daemon, which must not run, with its old state.
func (l *Libvirt) Restart(ctx context.Context) error {
	cmd, err := l.supervisor(ctx)
	if err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return l.waitReady(ctx, exited)
}

// waitReady waits until the daemon answers and knows its guests.
func (l *Libvirt) waitReady(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := until(ctx, "libvirtd", func() (bool, error) {
		select {
		case <-exited:
			return false, errors.New("libvirtd ended")
		default:
		}
		c, err := net.Dial("unix", l.socket())
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	})
	if err == nil {
		_, err = l.Virsh(ctx, "list", "--all")
	}
	if err != nil {
		return fmt.Errorf("start private libvirtd: %w: %s", err, l.complaints())
	}
	return nil
}

// complaints returns the last lines of the daemon's logs.
func (l *Libvirt) complaints() string {
	var all []string
	for _, name := range []string{"log/daemon.out", "log/libvirtd.log"} {
		b, _ := os.ReadFile(l.path(name))
		all = append(all, string(bytes.TrimSpace(b[max(0, len(b)-1000):])))
	}
	return strings.Join(all, "\n")
}

// Virsh runs one command of virsh.
func (l *Libvirt) Virsh(ctx context.Context, args ...string) (string, error) {
	return output(ctx, "virsh", append([]string{"-q", "-c", l.URI()}, args...)...)
}

// QEMUPid returns the pid of a running guest's QEMU, from libvirt's pid file.
func (l *Libvirt) QEMUPid(domain string) (int, error) {
	pid, err := pidIn(l.path("run/libvirt/qemu/" + domain + ".pid"))
	if err != nil {
		return 0, err
	}
	if !l.runs(pid) {
		return 0, fmt.Errorf("guest %s does not run", domain)
	}
	return pid, nil
}

// Kill kills the daemon as a crash would. The guests keep running.
func (l *Libvirt) Kill() error {
	daemon, err := pidIn(l.path("daemon.pid"))
	if err != nil {
		return err
	}
	if !l.runs(daemon) {
		return errors.New("libvirtd does not run")
	}
	return l.end(daemon, syscall.SIGKILL)
}

// Stop ends guests and daemon. If the daemon still runs, it restores the images' owners. The
// logs are kept.
func (l *Libvirt) Stop() error {
	l.destroyAll()
	daemon, err := pidIn(l.path("daemon.pid"))
	errs := []error{err, l.end(daemon, syscall.SIGTERM)}
	supervisors, err := l.supervisors()
	errs = append(errs, err)
	for _, pid := range supervisors {
		errs = append(errs, l.end(pid, syscall.SIGTERM)) // takes all its children along
	}
	for _, name := range []string{"run", "daemon.pid", "supervisors"} {
		errs = append(errs, os.RemoveAll(l.path(name)))
	}
	return errors.Join(errs...)
}

// destroyAll ends the guests through libvirt. It ignores errors, because Stop then ends the
// processes.
func (l *Libvirt) destroyAll() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	names, _ := l.Virsh(ctx, "list", "--name")
	for _, name := range strings.Fields(names) {
		_, _ = l.Virsh(ctx, "destroy", name)
	}
}
