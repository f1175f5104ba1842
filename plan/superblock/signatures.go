package superblock

import (
	"bytes"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// How much of a device's beginning and end Signatures needs.
const (
	SignatureHead size.Bytes = 128 << 10
	SignatureTail size.Bytes = 128 << 10
)

// Signature has the bytes by which blkid recognises a device's content.
type Signature struct {
	// Type is blkid's name of the content.
	Type string
	// Offset is the offset of the bytes on the device, for wipefs(8).
	Offset size.Bytes
}

// magics are the signatures at fixed offsets (util-linux, libblkid/src/superblocks).
var magics = []struct {
	kind  string
	at    size.Bytes
	bytes string
}{
	{"ext2/3/4", 0x438, "\x53\xef"}, {"xfs", 0, "XFSB"}, {"btrfs", 0x10040, "_BHRfS_M"}, {"ntfs", 3, "NTFS    "},
	{"crypto_LUKS", 0, "LUKS\xba\xbe"}, {"LVM2_member", 0x218, "LVM2 001"}, {"LVM2_member", 0x18, "LVM2 001"},
	{"vfat", 0x52, "FAT32   "}, {"vfat", 0x36, "FAT16   "}, {"vfat", 0x36, "FAT12   "}, {"exfat", 3, "EXFAT   "},
	{"swap", 0xff6, "SWAPSPACE2"}, {"swsuspend", 0xff6, "S1SUSPEND"}, {"f2fs", 0x400, "\x10\x20\xf5\xf2"},
	{"jfs", 0x8000, "JFS1"}, {"reiserfs", 0x10034, "ReIsEr2Fs"}, {"reiserfs", 0x10034, "ReIsErFs"}, {"reiserfs", 0x10034, "ReIsEr3Fs"},
	{"iso9660", 0x8001, "CD001"}, {"squashfs", 0, "hsqs"}, {"erofs", 0x400, "\xe2\xe1\xf5\xe0"},
	{"bcache", 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"linux_raid_member", 0x1000, "\xfc\x4e\x2b\xa9"}, {"linux_raid_member", 0, "\xfc\x4e\x2b\xa9"},
	{"BitLocker", 3, "-FVE-FS-"}, {"nilfs2", 0x406, "\x34\x34"}, {"ufs", 65536 + 1372, "\x19\x01\x54\x19"},
	{"zfs_member", 0x20000 - 0x400, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
}

// Signatures returns the signatures on a device of n bytes, sorted by offset. head has its
// first bytes, tail its last.
func Signatures(head, tail []byte, n size.Bytes) []Signature {
	var found []Signature
	for _, m := range magics {
		if end := m.at + size.Bytes(len(m.bytes)); end <= size.Bytes(len(head)) && string(head[m.at:end]) == m.bytes {
			found = append(found, Signature{m.kind, m.at})
		}
	}
	// md's superblock 0.90 is in the last 64 KiB block that is at least 64 KiB from the
	// end; that of 1.0 is at least 8 KiB from the end, at a multiple of 4 KiB.
	start := n - size.Bytes(len(tail))
	for _, at := range []size.Bytes{n.Down(64<<10) - 64<<10, n.Down(4096) - 8192} {
		if at >= start && at-start+4 <= size.Bytes(len(tail)) && bytes.Equal(tail[at-start:at-start+4], []byte("\xfc\x4e\x2b\xa9")) {
			found = append(found, Signature{"linux_raid_member", at})
		}
	}
	slices.SortStableFunc(found, func(a, b Signature) int { return int(a.Offset - b.Offset) })
	return found
}
