package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// setClock sets the clock to the host's. The kernel has the time of QEMU's real-time clock,
// which counts whole seconds from the start of QEMU and so is up to one second late. setClock
// writes a file in a directory that is shared with the host: the host sets the file's time,
// which is exact to a few milliseconds. The directory is then unmounted.
func setClock() error {
	const at = "/clock"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("clock", at, "9p", 0, "trans=virtio,version=9p2000.L"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	written, err := writeTime(at + "/now")
	before := time.Now()
	if err == nil {
		now := syscall.NsecToTimeval(written.UnixNano())
		err = syscall.Settimeofday(&now)
	}
	fmt.Println("init: clock was off by", before.Sub(written).Round(time.Millisecond))
	return errors.Join(err, syscall.Unmount(at, 0))
}

// writeTime writes a file and returns the file's time.
func writeTime(path string) (time.Time, error) {
	if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
		return time.Time{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}
