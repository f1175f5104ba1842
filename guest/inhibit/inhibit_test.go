package inhibit

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// logind answers as systemd's logind does.
type logind struct {
	calls chan [4]string
	refer *os.File // the end of a pipe that the inhibitor holds
	fail  *dbus.Error
}

func (l *logind) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if l.fail != nil {
		return 0, l.fail
	}
	l.calls <- [4]string{what, who, why, mode}
	return dbus.UnixFD(l.refer.Fd()), nil
}

// startBus starts a message bus of the test's own, and makes it the system's for this
// process.
func startBus(t *testing.T) {
	t.Helper()
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address", "--address="+address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
}

// TestShutdown takes and releases a lock at a logind of its own, on a real bus.
func TestShutdown(t *testing.T) {
	level.Need(t, level.Real)
	startBus(t)
	if release, err := Shutdown("nobody answers"); err != nil {
		t.Errorf("without logind: %v", err)
	} else {
		release()
	}

	server, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	held, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &logind{calls: make(chan [4]string, 1), refer: other}
	if err := server.Export(l, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	release, err := Shutdown("dev7 is being grown")
	if err != nil {
		t.Fatal(err)
	}
	if got := <-l.calls; got != [4]string{"shutdown", "virt-grow", "dev7 is being grown", "block"} {
		t.Errorf("%q", got)
	}
	// The pipe ends when no process has its other end any more.
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := held.Read(make([]byte, 1)); ended <- err }()
	select {
	case err := <-ended:
		t.Errorf("the lock is not held: %v", err)
	default:
	}
	release()
	if err := <-ended; err != io.EOF {
		t.Error(err)
	}

	l.fail = dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"})
	if _, err := Shutdown("x"); err == nil || !strings.Contains(err.Error(), "cannot inhibit") {
		t.Errorf("refused: %v", err)
	}
}

// TestWithoutBus checks a host without D-Bus.
func TestWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	release, err := Shutdown("x")
	if err != nil {
		t.Fatal(err)
	}
	release()
}
