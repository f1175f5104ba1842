// Package memory knows where a Linux that is hibernated keeps the image of its memory:
// a swap partition, a swap volume or a swap file, whose header then has another
// signature. Until the system has resumed from it nothing on its disks may change,
// because it goes on with the file systems as it remembers them.
//
// It is pure. What it reads was written by a guest, and is believed in nothing but
// what to look at.
package memory

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/fstab"
)

// Type is blkid's word for a swap that holds a memory image.
const Type = "swsuspend"

// HeaderSize is how much of a swap has to be read to see its header: it ends the
// first page, and pages have 4 to 64 KiB.
const HeaderSize = 64 << 10

// signatures are those of the kernel's own hibernation, of its predecessors and of
// TuxOnIce (util-linux, libblkid/src/superblocks/swap.c).
var signatures = [][]byte{
	[]byte("S1SUSPEND"), []byte("S2SUSPEND"), []byte("ULSUSPEND"), []byte("LINHIB0001"),
	{0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c},
}

// Suspended reports whether the beginning of a swap reports that it holds a memory image.
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

// SwapFiles returns the files that an fstab swaps to.
func SwapFiles(text []byte) []string {
	var files []string
	for _, e := range fstab.Entries(text) {
		if e.Type == "swap" && isFile(e.Spec) {
			files = append(files, path.Clean(e.Spec))
		}
	}
	return files
}

// UnitFile returns the file that a systemd.swap(5) unit swaps to; "" for a device.
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

// maxOffsets bounds what is taken of one text.
const maxOffsets = 16

// ResumeOffsets returns the places of swap files on their devices, in pages, that a boot
// loader's configuration tells the kernel (resume_offset=).
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
