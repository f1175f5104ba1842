package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// loadModule loads a module and those it depends on. /modules/list has a line for each
// module: its name, then the files to load, in order. A module that is built into the kernel
// has a line without files.
func loadModule(name string) error {
	files, err := moduleFiles(name)
	if err != nil {
		return err
	}
	for _, f := range files {
		err := insert("/modules/" + f)
		// Drivers for instructions that this processor does not have return
		// ENODEV; generic drivers replace them.
		if err != nil && !errors.Is(err, syscall.EEXIST) && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("load module %s: %w", f, err)
		}
	}
	return nil
}

// loadOptional loads modules that some kernels do not have, or some guests do not need.
func loadOptional(names ...string) {
	for _, name := range names {
		if err := loadModule(name); err != nil {
			fmt.Println("init:", err)
		}
	}
}

func moduleFiles(name string) ([]string, error) {
	f, err := os.Open("/modules/list")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[0] == name {
			return fields[1:], nil
		}
	}
	return nil, fmt.Errorf("no module %s in the initramfs", name)
}

func insert(path string) error {
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	options := []byte{0}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE,
		uintptr(unsafe.Pointer(&image[0])), uintptr(len(image)), uintptr(unsafe.Pointer(&options[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
