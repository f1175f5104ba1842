package table

import (
	"bytes"
	"slices"
)

// Offsets in an MBR or EBR, UEFI 2.10 tables 5.1 and 5.2. In sectors larger than 512 bytes,
// only the first 512 are used.
const (
	mbrSignature = 440
	mbrEntries   = 446
	mbrEntrySize = 16
	mbrMagic     = 510
)

const protectiveType = 0xEE

// bootSector is a whole sector that may have four partition entries.
type bootSector []byte

func (b bootSector) signed() bool { return b[mbrMagic] == 0x55 && b[mbrMagic+1] == 0xAA }

func (b bootSector) entry(i int) mbrEntry {
	at := mbrEntries + i*mbrEntrySize
	return mbrEntry(b[at : at+mbrEntrySize])
}

// mbrEntry is one of the four entries, 16 bytes.
type mbrEntry []byte

func (e mbrEntry) kind() byte        { return e[4] }
func (e mbrEntry) start() uint32     { return get32(e[8:]) }
func (e mbrEntry) count() uint32     { return get32(e[12:]) }
func (e mbrEntry) setStart(n uint32) { put32(e[8:], n) }
func (e mbrEntry) setCount(n uint32) { put32(e[12:], n) }
func (e mbrEntry) bootable() bool    { return e[0] == 0x80 }

// used reports whether the entry is in use. As in Linux (msdos.c), the size decides, not the
// type.
func (e mbrEntry) used() bool { return e.count() != 0 }

// extended reports whether the type is one for which Linux reads logical partitions.
func (e mbrEntry) extended() bool {
	return e.used() && slices.Contains([]byte{0x05, 0x0F, 0x85}, e.kind())
}

// protective reports whether an entry has the type that protects a GPT. Linux ignores all
// other entries of such an MBR.
func (b bootSector) protective() bool {
	for i := range 4 {
		if b.entry(i).kind() == protectiveType {
			return true
		}
	}
	return false
}

// protectsLBA1 reports whether Linux and EDK II would read a GPT behind this MBR.
func (b bootSector) protectsLBA1() bool {
	for i := range 4 {
		if e := b.entry(i); e.kind() == protectiveType && e.start() == 1 {
			return true
		}
	}
	return false
}

// protectiveSize returns the size of the first protective entry in sectors. In a standard
// protective MBR, that is also the LBA of the disk's last sector.
func (b bootSector) protectiveSize() uint64 {
	for i := range 4 {
		if e := b.entry(i); e.kind() == protectiveType {
			return uint64(e.count())
		}
	}
	return 0
}

// standardProtective returns the protective entry if it is the only entry and starts at
// LBA 1.
func (b bootSector) standardProtective() (index int, ok bool) {
	for i := range 4 {
		e := b.entry(i)
		switch {
		case e.kind() == protectiveType && e.start() == 1 && !ok:
			index, ok = i, true
		case e.kind() != 0 || e.used():
			return 0, false
		}
	}
	return index, ok && b.signed()
}

func (b bootSector) hybrid() bool {
	for i := range 4 {
		if e := b.entry(i); b.protective() && e.kind() != protectiveType && e.kind() != 0 && e.used() {
			return true
		}
	}
	return false
}

// isTable distinguishes an MBR from the boot sector of a file system, which also ends with
// 0x55AA and has code or text in the place of the entries. Like Linux, it requires every
// boot indicator to be 0 or 0x80; and at least one entry must be in use.
//
// A sector that looks like the start of a file system (for libparted and libblkid, not for
// Linux) is a table only if its entries are plausible: all on the disk, without overlaps.
func (b bootSector) isTable(sectors uint64) bool {
	if !b.signed() {
		return false
	}
	used := 0
	for i := range 4 {
		e := b.entry(i)
		if e[0] != 0 && e[0] != 0x80 {
			return false
		}
		if e.used() && e.kind() != 0 {
			used++
		}
	}
	return used > 0 && (b.fileSystem() == "" || b.plausible(sectors))
}

func (b bootSector) plausible(sectors uint64) bool {
	var ends, starts []uint64
	for i := range 4 {
		e := b.entry(i)
		if !e.used() {
			continue
		}
		start := uint64(e.start())
		end := start + uint64(e.count())
		if start == 0 || e.kind() == 0 || end > sectors {
			return false
		}
		for j := range starts {
			if start < ends[j] && starts[j] < end {
				return false
			}
		}
		starts, ends = append(starts, start), append(ends, end)
	}
	return true
}

var bootMagics = []struct {
	at          int
	magic, name string
}{
	{3, "NTFS    ", "NTFS"},
	{3, "-FVE-FS-", "BitLocker"},
	{3, "EXFAT   ", "exFAT"},
	{3, "ReFS\x00\x00\x00\x00", "ReFS"},
	{0x36, "FAT", "FAT"},
	{0x52, "FAT32", "FAT32"},
	{0, "XFSB", "XFS"},
	{0, "LUKS\xba\xbe", "LUKS"},
}

// fileSystem returns the file system that begins with this sector, or "". The Smart Boot
// Manager has a FAT header in its MBR; libparted recognises it by "SBML".
func (b bootSector) fileSystem() string {
	if bytes.HasPrefix(b[0x40:], []byte("SBML")) {
		return ""
	}
	for _, m := range bootMagics {
		if bytes.HasPrefix(b[m.at:], []byte(m.magic)) {
			return m.name
		}
	}
	return ""
}
