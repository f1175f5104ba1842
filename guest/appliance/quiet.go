package appliance

/*
#cgo LDFLAGS: -lguestfs
#include <guestfs.h>
*/
import "C"

import (
	"unsafe"

	"libguestfs.org/guestfs"
)

// quiet keeps libguestfs from printing every error to standard error as well:
// they come back from the calls. The binding has no call for it and hides the
// handle, which is the one field of its struct.
func quiet(g *guestfs.Guestfs) {
	handle := *(**C.guestfs_h)(unsafe.Pointer(g))
	C.guestfs_set_error_handler(handle, nil, nil)
}
