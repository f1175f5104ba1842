// Init is the first program of the test guest, and the only one that is ours:
// as /init of the initramfs it finds and mounts the root file system, as
// /sbin/init from there it keeps the guest going, and as /sbin/shutdown it asks
// the second one to stop. It is Go and not a shell script because every program
// started costs tens of milliseconds where the processor is emulated, and the
// guest is to say ten times a second that it is alive.
//
// It belongs to the guest: run on a host it does nothing.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	var err error
	switch {
	case filepath.Base(os.Args[0]) == "shutdown":
		err = askInit(os.Args[1:])
	case os.Getpid() != 1:
		err = fmt.Errorf("this is the test guest's init, not a program to run")
	case os.Args[0] == "/init":
		err = enterRoot()
	default:
		err = runGuest()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1) // a panic, if this is process 1
	}
}

// askInit is shutdown(8), as the guest agent calls it: -r reboots, all else
// powers off.
func askInit(args []string) error {
	// Init ends all programs; the agent wants to hear that this one went well.
	signal.Ignore(syscall.SIGTERM)
	how := syscall.SIGTERM
	for _, a := range args {
		if a == "-r" {
			how = syscall.SIGINT
		}
	}
	return syscall.Kill(1, how)
}
