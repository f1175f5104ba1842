package table

import (
	"bytes"
	"hash/crc32"
)

// Offsets in a GPT header, UEFI 2.10 table 5.5.
const (
	gptHeaderSize   = 12
	gptHeaderCRC    = 16
	gptMyLBA        = 24
	gptAlternateLBA = 32
	gptFirstUsable  = 40
	gptLastUsable   = 48
	gptDiskGUID     = 56
	gptEntriesLBA   = 72
	gptEntryCount   = 80
	gptEntrySize    = 84
	gptEntriesCRC   = 88
	gptHeaderMin    = 92
)

// Offsets in a GPT entry, UEFI 2.10 table 5.6. An entry may be larger than 128 bytes; the
// bytes after the name are reserved.
const (
	gptEntryGUID  = 16
	gptEntryFirst = 32
	gptEntryLast  = 40 // inclusive
	gptEntryAttrs = 48
	gptEntryName  = 56
	gptEntryMin   = 128
)

// maxEntriesBytes limits the size of the entry array, which comes from the disk. Linux
// refuses more than its largest allocation, 4 MiB (efi.c, is_gpt_valid). All tools write
// 16 KiB.
const maxEntriesBytes = 4 << 20

var gptSignature = []byte("EFI PART")

// header is the whole sector with a GPT header. Only the fields that must change are written,
// so that a larger header, a later revision and the bytes after the header are preserved.
type header []byte

func (h header) signed() bool            { return bytes.HasPrefix(h, gptSignature) }
func (h header) size() uint64            { return uint64(get32(h[gptHeaderSize:])) }
func (h header) at(field int) uint64     { return get64(h[field:]) }
func (h header) set(field int, v uint64) { put64(h[field:], v) }
func (h header) entryCount() uint64      { return uint64(get32(h[gptEntryCount:])) }
func (h header) entrySize() uint64       { return uint64(get32(h[gptEntrySize:])) }
func (h header) entriesBytes() uint64    { return h.entryCount() * h.entrySize() }
func (h header) clone() header           { return bytes.Clone(h) }

// entriesSectors returns the number of sectors of the entry array.
func (h header) entriesSectors() uint64 {
	sector := uint64(len(h))
	return (h.entriesBytes() + sector - 1) / sector
}

// sizeValid reports whether 92 ≤ HeaderSize ≤ sector size (UEFI 2.10 table 5.5).
func (h header) sizeValid() bool {
	return h.size() >= gptHeaderMin && h.size() <= uint64(len(h))
}

// checksum returns the checksum of HeaderSize bytes, with the checksum's own field as zero.
func (h header) checksum() uint32 {
	sum := h.clone()[:h.size()]
	put32(sum[gptHeaderCRC:], 0)
	return crc32.ChecksumIEEE(sum)
}

func (h header) intact() bool {
	return h.signed() && h.sizeValid() && h.checksum() == get32(h[gptHeaderCRC:])
}

func (h header) seal() { put32(h[gptHeaderCRC:], h.checksum()) }

// hasGPT reports whether LBA 1 holds an intact GPT header that belongs there.
func (d *device) hasGPT() (bool, error) {
	if !d.has(1, 1) {
		return false, nil
	}
	sector, err := d.read(1, 1)
	if err != nil {
		return false, err
	}
	h := header(sector.data)
	return h.intact() && h.at(gptMyLBA) == 1, nil
}
