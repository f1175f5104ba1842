package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	beatEvery = 100 * time.Millisecond
	lineEvery = time.Second
	linesFile = "/var/heartbeat"
)

// heart writes lines to the second serial port:
//
//	boot BOOT TIME WRITTEN            once; WRITTEN is the last line found on the disk
//	beat BOOT TIME DISK FS WRITTEN    ten times a second
//	note BOOT TIME TEXT               other messages
//
// BOOT identifies the boot, TIME is the wall clock in seconds since 1970 with six decimals,
// DISK and FS are the sizes in bytes of the root disk and the root file system. WRITTEN is
// the number of the last line that is safe in /var/heartbeat, to which a line is added every
// second.
type heart struct {
	port    *os.File
	id      string
	disk    string // directory in sysfs
	written atomic.Int64
	stopped chan struct{}
	running sync.WaitGroup
}

func startHeart() (*heart, error) {
	port, err := openSerial("/dev/ttyS1")
	if err != nil {
		return nil, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	h := &heart{port: port, id: string(id[:8]), stopped: make(chan struct{})}
	if h.disk, err = rootDisk(); err != nil {
		return nil, err
	}
	last, err := lastLine()
	if err != nil {
		return nil, err
	}
	h.written.Store(last)
	return h, h.say("boot", strconv.FormatInt(last, 10))
}

// say writes one line in one call, so that lines of different goroutines do not mix.
func (h *heart) say(what, text string) error {
	now := time.Now().UnixMicro()
	_, err := fmt.Fprintf(h.port, "%s %s %d.%06d %s\n", what, h.id, now/1e6, now%1e6, text)
	return err
}

func (h *heart) note(text string) {
	_ = h.say("note", strings.Join(strings.Fields(text), " "))
}

// beat starts beating and writing.
func (h *heart) beat() error {
	f, err := os.OpenFile(linesFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	h.running.Add(2)
	go h.keepBeating()
	go h.keepWriting(f)
	return nil
}

// still ends beating and writing.
func (h *heart) still() {
	close(h.stopped)
	h.running.Wait()
}

func (h *heart) keepBeating() {
	defer h.running.Done()
	for tick := time.NewTicker(beatEvery); ; {
		disk, err := diskSize(h.disk)
		if err != nil {
			h.note(err.Error())
		}
		fs, err := rootSize()
		if err != nil {
			h.note(err.Error())
		}
		_ = h.say("beat", fmt.Sprint(disk, fs, h.written.Load()))
		select {
		case <-h.stopped:
			return
		case <-tick.C:
		}
	}
}

// keepWriting runs separately from the heartbeats: a frozen file system blocks it.
func (h *heart) keepWriting(f *os.File) {
	defer h.running.Done()
	defer f.Close()
	for tick := time.NewTicker(lineEvery); ; {
		next := h.written.Load() + 1
		if _, err := fmt.Fprintln(f, next); err != nil {
			h.note(err.Error())
		} else if err := f.Sync(); err != nil {
			h.note(err.Error())
		} else {
			h.written.Store(next)
		}
		select {
		case <-h.stopped:
			return
		case <-tick.C:
		}
	}
}

// lastLine returns the number in the last complete line on the disk, 0 if there is
// none.
func lastLine() (int64, error) {
	b, err := os.ReadFile(linesFile)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	complete := b[:bytes.LastIndexByte(b, '\n')+1]
	lines := strings.Fields(string(complete))
	if len(lines) == 0 {
		return 0, nil
	}
	return strconv.ParseInt(lines[len(lines)-1], 10, 64)
}

// openSerial opens a serial port for unmodified lines.
func openSerial(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var t syscall.Termios
	if err := ioctl(f, syscall.TCGETS, unsafe.Pointer(&t)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Oflag &^= syscall.OPOST // no carriage returns
	t.Lflag = 0
	t.Cflag |= syscall.CLOCAL
	if err := ioctl(f, syscall.TCSETS, unsafe.Pointer(&t)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
