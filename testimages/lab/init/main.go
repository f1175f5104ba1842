// Init is the first program of the test guest: as /init of the initramfs it mounts the root
// file system, as /sbin/init there it runs the guest, and as /sbin/shutdown it asks
// /sbin/init to stop. It is a Go program and not a shell script because starting a program
// takes tens of milliseconds on an emulated processor, and the guest writes ten heartbeats a
// second.
//
// On a host it does nothing.
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
	// Init ends all programs, but the agent must see that this one succeeds.
	signal.Ignore(syscall.SIGTERM)
	how := syscall.SIGTERM
	for _, a := range args {
		if a == "-r" {
			how = syscall.SIGINT
		}
	}
	return syscall.Kill(1, how)
}
