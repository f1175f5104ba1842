// Package inhibit keeps the host from being shut down, with an inhibitor lock of systemd's
// logind (systemd-inhibit(1)). It knows nothing of guests.
package inhibit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
)

// limit is how long logind may take to answer: D-Bus starts it if it does not run.
const limit = 5 * time.Second

// absent are the errors of D-Bus on a host without logind, such as a container.
var absent = []string{
	"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
	"org.freedesktop.DBus.Error.Spawn.ServiceNotFound", "org.freedesktop.DBus.Error.Spawn.ChildExited",
	"org.freedesktop.DBus.Error.Spawn.Failed", "org.freedesktop.systemd1.NoSuchUnit",
	"org.freedesktop.DBus.Error.TimedOut", "org.freedesktop.DBus.Error.NoReply",
}

// Shutdown keeps the host from being shut down or restarted, until release is called or the
// process ends. why is a sentence that systemd-inhibit --list shows. On a host without D-Bus
// or logind it does nothing, without an error.
func Shutdown(why string) (release func(), err error) {
	nothing := func() {}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nothing, nil
	}
	defer bus.Close()
	var lock dbus.UnixFD
	err = bus.Object("org.freedesktop.login1", "/org/freedesktop/login1").
		CallWithContext(ctx, "org.freedesktop.login1.Manager.Inhibit", 0, "shutdown", "virt-grow", why, "block").Store(&lock)
	var failed dbus.Error
	switch {
	case err == nil:
	case errors.As(err, &failed) && slices.Contains(absent, failed.Name), ctx.Err() != nil:
		return nothing, nil
	default:
		return nothing, fmt.Errorf("cannot inhibit the host's shutdown: %w", err)
	}
	// logind releases the lock when the last copy of this file is closed.
	held := os.NewFile(uintptr(lock), "inhibitor")
	return func() { _ = held.Close() }, nil
}
