package usage

import (
	"context"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/plan/size"
)

// hostile is a name that does harm where it is not escaped.
const hostile = "=/a\"\\b\n# x\x1b[31m\u202e,'{}"

// fileSystem returns one on vda with figures in GiB.
func fileSystem(mount string, used, usable size.Bytes) FileSystem {
	return FileSystem{FileSystem: appliance.FileSystem{Device: "vda1", Type: "ext4", Mounted: []string{mount},
		Size: usable * size.GiB, Used: used * size.GiB, Free: (usable - used) * size.GiB}, Disks: []string{"vda"}}
}

// guestWith returns a running guest with those file systems.
func guestWith(name string, all ...FileSystem) Guest {
	return Guest{Name: name, UUID: "uuid-" + name, Running: true, Source: ByAgent, FileSystems: all}
}

func sizeOf(n int64) size.Bytes { return size.Bytes(n) }

// deadline returns a context that has ended.
func deadline(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 0)
}
