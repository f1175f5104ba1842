package appliance

/*
#cgo LDFLAGS: -lguestfs
#include <guestfs.h>
*/
import "C"

import (
	"runtime"
	"unsafe"

	"libguestfs.org/guestfs"
)

// silently makes a call without libguestfs printing its error. libguestfs has an error
// handler and a last error for each thread, and the binding fetches the error in a second
// call, which Go may make from another thread; so the goroutine is locked to its thread.
func silently(g *guestfs.Guestfs, call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The binding has no call for this and hides the handle, which is the only field of
	// its struct.
	if handle := *(**C.guestfs_h)(unsafe.Pointer(g)); handle != nil { // not closed yet
		C.guestfs_set_error_handler(handle, nil, nil)
	}
	return plain(call())
}
