package block

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/guest/block/qmp"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Gate is an NBD export on a Unix socket. It begins as an empty disk of the final size,
// and is later pointed to the overlay. So an appliance can boot on it while the guest still
// uses the real disk, and its boot adds nothing to the outage.
type Gate struct {
	// Socket is the path of the export's socket, Name the export's name.
	Socket, Name string

	dir     string
	size    size.Bytes
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	exited  chan struct{}
	monitor *qmp.Client
}

// Names of the gate's block nodes.
const (
	gateNode   = "gate"
	closedNode = "closed"
	imageNode  = "image"
)

// StartGate starts the storage daemon with the gate closed. dir is a directory of the job
// with a short path: a socket's path must stay under 108 bytes (unix(7)).
func StartGate(ctx context.Context, dir string, to size.Bytes) (*Gate, error) {
	g := &Gate{Socket: filepath.Join(dir, "gate.sock"), Name: gateNode, dir: dir, size: to, exited: make(chan struct{})}
	control := filepath.Join(dir, "qmp.sock")
	if len(g.Socket) > 107 {
		return nil, fmt.Errorf("the path %s is too long for a socket", g.Socket)
	}
	g.cmd = exec.Command("qemu-storage-daemon",
		"--blockdev", fmt.Sprintf("driver=null-co,node-name=%s,size=%d,read-zeroes=on", closedNode, int64(to)),
		"--blockdev", fmt.Sprintf("driver=raw,node-name=%s,file=%s", gateNode, closedNode),
		"--nbd-server", "addr.type=unix,addr.path="+option(g.Socket),
		"--export", fmt.Sprintf("type=nbd,id=export,node-name=%s,writable=on,name=%s", gateNode, g.Name),
		// With wait=off, the greeting or the beginning of a command is lost if the
		// client connects while the monitor is being set up.
		"--chardev", "socket,id=control,server=on,wait=on,path="+option(control),
		"--monitor", "chardev=control")
	g.cmd.Stderr = &g.stderr
	// The kernel kills the daemon when this process ends, even by SIGKILL.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A killed run may have left a socket on which a daemon still listens.
	g.removeSockets()
	if err := g.start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("qemu-storage-daemon is not installed (virt-grow doctor shows what is missing)")
		}
		return nil, err
	}
	if err := g.connect(ctx, control); err != nil {
		g.kill()
		return nil, err
	}
	return g, nil
}

// start starts the daemon and waits for its end in one thread: the parent-death signal is
// sent when the thread that started the daemon ends (PR_SET_PDEATHSIG(2const)).
func (g *Gate) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := g.cmd.Start()
		started <- err
		if err == nil {
			_ = g.cmd.Wait()
			close(g.exited)
		}
	}()
	return <-started
}

func (g *Gate) removeSockets() {
	for _, name := range []string{"gate.sock", "qmp.sock"} {
		_ = os.Remove(filepath.Join(g.dir, name))
	}
}

// answerLimit is how long the daemon may take to open its control socket, and to
// send the greeting on it.
const answerLimit = 30 * time.Second

// connect connects to the control socket, which the daemon opens after the export.
func (g *Gate) connect(ctx context.Context, control string) error {
	conn, err := g.dial(ctx, control)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("qemu-storage-daemon sent no greeting within %s", answerLimit))
	defer stop()
	if g.monitor, err = qmp.New(ctx, conn, nil); errors.Is(err, qmp.ErrClosed) {
		return g.lost(err)
	}
	return err
}

func (g *Gate) dial(ctx context.Context, control string) (conn net.Conn, err error) {
	wait := poll.Wait{For: "qemu-storage-daemon to open its control socket", Every: 5 * time.Millisecond, Limit: answerLimit}
	var last error
	err = poll.Until(ctx, wait, func() (bool, error) {
		if g.hasExited() {
			return false, g.died()
		}
		conn, last = (&net.Dialer{}).DialContext(ctx, "unix", control)
		return last == nil, nil
	})
	if errors.Is(err, poll.ErrTimeout) {
		err = fmt.Errorf("%w: %w", err, last)
	}
	return conn, err
}

func (g *Gate) hasExited() bool {
	select {
	case <-g.exited:
		return true
	default:
		return false
	}
}

func (g *Gate) died() error {
	return fmt.Errorf("qemu-storage-daemon ended: %s", bytes.TrimSpace(g.stderr.Bytes()))
}

// lost ends a daemon whose monitor connection has ended, and returns its messages as an
// error.
func (g *Gate) lost(err error) error {
	g.kill()
	return fmt.Errorf("%w (%w)", g.died(), err)
}

// Process identifies the daemon, for the journal.
func (g *Gate) Process() (journal.Proc, error) {
	return Identify("qemu-storage-daemon", g.cmd.Process.Pid)
}

// Open points the gate to the overlay. After that, the caches of the export's clients are
// stale.
func (g *Gate) Open(ctx context.Context, overlay string) error {
	return g.add(ctx, overlayNode(overlay))
}

// OpenShared points the gate to an overlay on the image of a running guest. The image may
// change meanwhile: this is only good for an estimate.
func (g *Gate) OpenShared(ctx context.Context, o Overlay) error {
	node := overlayNode(o.Path)
	node["backing"] = map[string]any{
		"driver": o.Format, "read-only": true, "force-share": true,
		"file": map[string]any{"driver": driverOf(o.Image), "filename": o.Image},
	}
	return g.add(ctx, node)
}

// OpenNew points the gate to a new image.
func (g *Gate) OpenNew(ctx context.Context, path, format string) error {
	node := overlayNode(path)
	node["driver"] = format
	return g.add(ctx, node)
}

// driverOf returns QEMU's driver for a path: file, or host_device for a block device.
func driverOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeDevice != 0 {
		return "host_device"
	}
	return "file"
}

// overlayNode describes the overlay. Flushes are ignored: an incomplete overlay is
// discarded after any failure, and Overlay.Sync flushes a complete one.
func overlayNode(path string) map[string]any {
	lazy := map[string]any{"no-flush": true}
	return map[string]any{
		"driver": "qcow2", "node-name": imageNode, "cache": lazy,
		"file": map[string]any{"driver": "file", "filename": path, "cache": lazy},
	}
}

func (g *Gate) add(ctx context.Context, node map[string]any) error {
	if err := g.run(ctx, "blockdev-add", node); err != nil {
		return asInUse(err)
	}
	return g.point(ctx, imageNode)
}

// Shut points the gate to the empty disk again and closes the overlay.
func (g *Gate) Shut(ctx context.Context) error {
	if err := g.point(ctx, closedNode); err != nil {
		return err
	}
	return g.run(ctx, "blockdev-del", map[string]any{"node-name": imageNode})
}

func (g *Gate) point(ctx context.Context, node string) error {
	return g.run(ctx, "blockdev-reopen", map[string]any{
		"options": []any{map[string]any{"driver": "raw", "node-name": gateNode, "file": node}},
	})
}

// run runs one command. The daemon is killed if ctx ends first, because the command may
// still run, or if the monitor connection has ended.
func (g *Gate) run(ctx context.Context, command string, args any) error {
	err := g.monitor.Execute(ctx, command, args, nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		g.kill()
		return context.Cause(ctx)
	case errors.Is(err, qmp.ErrClosed):
		return g.lost(fmt.Errorf("%s: %w", command, err))
	}
	return fmt.Errorf("qemu-storage-daemon: %s: %w", command, err)
}

// Stop ends the daemon, which flushes its caches, and removes the sockets.
func (g *Gate) Stop() error {
	if g == nil {
		return nil
	}
	if !g.terminate(20 * time.Second) {
		g.kill()
		return errors.New("qemu-storage-daemon did not end by itself within 20 s and was killed")
	}
	if g.monitor != nil {
		g.monitor.Close()
	}
	g.removeSockets()
	if status := g.cmd.ProcessState; !status.Success() {
		return fmt.Errorf("qemu-storage-daemon ended with %s: %s", status, bytes.TrimSpace(g.stderr.Bytes()))
	}
	return nil
}

// terminate sends SIGTERM until the daemon ends. Its signal handler only sets a flag, and
// misses a signal that arrives between the check of the flag and the wait for events (QEMU
// 7.2, storage-daemon).
func (g *Gate) terminate(limit time.Duration) bool {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(limit)
	for {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-g.exited:
			return true
		case <-again.C:
		case <-deadline:
			return false
		}
	}
}

func (g *Gate) kill() {
	_ = g.cmd.Process.Kill()
	<-g.exited
}
