package appliance

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/virt-grow/virt-grow/plan/size"
)

// perDisk is how many bytes of a disk one byte of the appliance's memory is for: the
// checkers keep bitmaps of all blocks and lists of all inodes. xfs_repair(8) takes the
// most, up to 1 GiB for a file system of 1 TiB.
const perDisk = 1024

// memoryFor is how much memory an appliance gets, in MiB: what libguestfs gives by
// itself, and more for large disks, but no more than half of what the host has left.
// QEMU takes memory from the host only when the appliance uses it.
func memoryFor(usual int, disks, available size.Bytes) int {
	more := min(disks/perDisk, available/2-size.Bytes(usual)*size.MiB)
	return usual + int(max(more, 0)/size.MiB)
}

// AvailableMemory returns how much memory the host can give to new programs; 0 if it does
// not tell.
func AvailableMemory() size.Bytes {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	return readAvailable(f)
}

// readAvailable finds MemAvailable in the text of proc(5)'s meminfo.
func readAvailable(r io.Reader) size.Bytes {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var kib size.Bytes
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib * size.KiB
		}
	}
	return 0
}
