package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
)

// From <linux/input.h> and <linux/input-event-codes.h>, for 64-bit time values.
const (
	inputEventSize = 24
	evKey          = 1
	keyPower       = 116
)

// watchPowerButtons asks for a power-off when a power button is pressed: that is
// how an ACPI shutdown request arrives.
func watchPowerButtons(h *heart) {
	devices, _ := filepath.Glob("/dev/input/event*")
	if len(devices) == 0 {
		h.note("no power button")
	}
	for _, d := range devices {
		go watchButton(d)
	}
}

func watchButton(device string) {
	f, err := os.Open(device)
	if err != nil {
		return
	}
	defer f.Close()
	event := make([]byte, inputEventSize)
	for {
		if n, err := f.Read(event); err != nil || n != inputEventSize {
			return
		}
		if isPress(event) {
			_ = syscall.Kill(1, syscall.SIGTERM)
		}
	}
}

func isPress(event []byte) bool {
	kind, code := binary.LittleEndian.Uint16(event[16:]), binary.LittleEndian.Uint16(event[18:])
	return kind == evKey && code == keyPower && binary.LittleEndian.Uint32(event[20:]) == 1
}
