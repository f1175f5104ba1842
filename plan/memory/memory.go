// Package memory finds the memory image of a hibernated Linux: it is in a swap partition, a
// swap volume or a swap file, whose header then has another signature. Until the system has
// resumed, nothing on its disks may change, because the file systems in its memory would no
// longer match.
//
// The package is pure. It does not trust what it reads, which only determines what is
// inspected.
package memory

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/fstab"
)

// Type is blkid's name for a swap with a memory image.
const Type = "swsuspend"

// HeaderSize is how much of a swap must be read for its header, which is at the end of the
// first page: pages have 4 to 64 KiB.
const HeaderSize = 64 << 10

// signatures are the signatures of the kernel's hibernation, of its predecessors and of
// TuxOnIce (util-linux, libblkid/src/superblocks/swap.c).
var signatures = [][]byte{
	[]byte("S1SUSPEND"), []byte("S2SUSPEND"), []byte("ULSUSPEND"), []byte("LINHIB0001"),
	{0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c},
}

// Suspended reports whether the beginning of a swap has the signature of a memory image.
func Suspended(head []byte) bool {
	for page := 4 << 10; page <= HeaderSize && page <= len(head); page *= 2 {
		end := head[page-10 : page]
		for _, s := range signatures {
			if bytes.HasPrefix(end, s) {
				return true
			}
		}
	}
	return false
}

// SwapFiles returns the swap files in an fstab.
func SwapFiles(text []byte) []string {
	var files []string
	for _, e := range fstab.Entries(text) {
		if e.Type == "swap" && isFile(e.Spec) {
			files = append(files, path.Clean(e.Spec))
		}
	}
	return files
}

// UnitFile returns the swap file of a systemd.swap(5) unit; "" for a device.
func UnitFile(text string) string {
	for line := range strings.Lines(text) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "What="); ok && isFile(what) {
			return path.Clean(what)
		}
	}
	return ""
}

func isFile(spec string) bool {
	return strings.HasPrefix(spec, "/") && path.Clean(spec) != "/" && !strings.HasPrefix(path.Clean(spec)+"/", "/dev/")
}

// maxOffsets limits the number of offsets from one text.
const maxOffsets = 16

// ResumeOffsets returns the offsets of swap files on their devices, in pages, from a boot
// loader's configuration (resume_offset=).
func ResumeOffsets(text string) []int64 {
	var found []int64
	for rest := text; len(found) < maxOffsets; {
		_, after, ok := strings.Cut(rest, "resume_offset=")
		if !ok {
			break
		}
		rest = after
		digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
		if n, err := strconv.ParseInt(digits, 10, 40); err == nil && n > 0 && !contains(found, n) {
			found = append(found, n)
		}
	}
	return found
}

func contains(all []int64, n int64) bool {
	for _, have := range all {
		if have == n {
			return true
		}
	}
	return false
}
