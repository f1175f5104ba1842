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

// silently makes a call that libguestfs prints no error of: it comes back as
// one. libguestfs has an error handler and a last error for each thread, and
// the binding asks for that error in a second call, which Go may make from
// another thread; so this one is held.
func silently(g *guestfs.Guestfs, call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The binding has no call for it and hides the handle, which is the one
	// field of its struct.
	if handle := *(**C.guestfs_h)(unsafe.Pointer(g)); handle != nil { // not closed yet
		C.guestfs_set_error_handler(handle, nil, nil)
	}
	return plain(call())
}
