package plan

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
)

// EndRoom is how many bytes of a device's end FormatAtEnd needs.
const EndRoom = 132 * size.KiB

// FormatAtEnd returns the format whose metadata is in a device's last sectors; "" for no
// known format. tail has the last bytes of the device.
func FormatAtEnd(tail []byte, device size.Bytes) string {
	at := func(offset size.Bytes, n int) []byte {
		from := offset - (device - size.Bytes(len(tail)))
		if from < 0 || from+size.Bytes(n) > size.Bytes(len(tail)) {
			return make([]byte, n)
		}
		return tail[from : from+size.Bytes(n)]
	}
	for _, last := range []size.Bytes{512, 4096} {
		// geom(4): the class's name in 16 bytes.
		if class := at(device-last, 16); bytes.HasPrefix(class, []byte("GEOM::")) {
			return strings.TrimRight(strings.ToValidUTF8(string(class), "?"), "\x00")
		}
		if string(at(device-last, 4)) == "\xde\x11\xde\x11" {
			return "DDF RAID"
		}
		if string(at(device-2*last, 24)) == "Intel Raid ISM Cfg Sig. " {
			return "Intel RAID (IMSM)"
		}
		if string(at(device-2*last, 8)) == "NVIDIA  " {
			return "NVIDIA RAID"
		}
	}
	// md(4): the superblock of version 1.0 is at least 8 KiB from the end, at a multiple
	// of 4 KiB; that of 0.90 is at least 64 KiB from it, at a multiple of 64 KiB. Both
	// contain their version.
	if isMD(at((device-8*size.KiB).Down(4*size.KiB), 8), 1) {
		return "md RAID, metadata 1.0"
	}
	if isMD(at((device-64*size.KiB).Down(64*size.KiB), 8), 0) {
		return "md RAID, metadata 0.90"
	}
	// drbd_md_mgt: the last 4 KiB, numbered by version.
	if magic := binary.BigEndian.Uint32(at((device-4*size.KiB).Down(4*size.KiB)+60, 4)); magic>>8 == 0x837402 && magic&0xff >= 0x67 && magic&0xff <= 0x6f {
		return "DRBD"
	}
	if string(at(device-64, 4)) == "AVBf" {
		return "Android verified boot"
	}
	if string(at(device-16*size.KiB, 4)) == "\xc4\xb1\xb5\xd0" {
		return "Android disk encryption"
	}
	return ""
}

func isMD(sb []byte, major uint32) bool {
	const magic = 0xa92b4efc
	return binary.LittleEndian.Uint32(sb) == magic && binary.LittleEndian.Uint32(sb[4:]) == major ||
		binary.BigEndian.Uint32(sb) == magic && binary.BigEndian.Uint32(sb[4:]) == major
}

// bearsLength has the contents that can be in a longer partition: they keep no metadata
// at the partition's end, or find it by their own numbers.
var bearsLength = map[string]bool{
	ContentNone: true, ContentPV: true, ContentLUKS: true, "BitLocker": true, "swap": true,
	"ext2": true, "ext3": true, "ext4": true, "jbd": true, "xfs": true, "btrfs": true, "ntfs": true, "vfat": true, "exfat": true,
	"f2fs": true, "reiserfs": true, "jfs": true, "ufs": true, "zfs_member": true, "hfsplus": true, "hfs": true, "apfs": true, "ReFS": true,
	"squashfs": true, "iso9660": true, "erofs": true, "cramfs": true, "romfs": true, "minix": true, "ocfs2": true, "gfs2": true,
	"linux_raid_member": true, // versions 1.1 and 1.2: FormatAtEnd finds the others
	"bcache":            true, "stratis": true, "DM_integrity": true, "bsd": true,
}

// endsWell refuses to make a partition longer without its content if the content would no
// longer find its metadata at the end.
func (b *builder) endsWell(goals []goal) error {
	if !b.request.PartitionOnly {
		return nil
	}
	for _, g := range goals {
		if b.now(g.Name).Size == g.Size {
			continue // the partition may move, but does not become longer
		}
		kind := g.Content.Type
		switch {
		case g.AtEnd != "":
			return refuseEnd(g.Name, "%s has %s, which keeps its metadata in the partition's last sectors and does not find it once the partition is longer", g.Name, g.AtEnd)
		case strings.HasSuffix(kind, "_raid_member") && kind != "linux_raid_member", kind == "drbd":
			return refuseEnd(g.Name, "%s is part of a %s, which keeps its metadata in the partition's last sectors and does not find it once the partition is longer", g.Name, strings.TrimSuffix(kind, "_member"))
		case !bearsLength[kind] && !b.request.EvenUnknown:
			r := Refuse(UnsupportedLayout, g.Name, "%s holds %s, which may keep metadata in the partition's last sectors and not find it once the partition is longer", g.Name, contentName(kind))
			r.Way = WayEvenUnknown
			return r
		}
	}
	return nil
}

// diskEndsWell refuses to make a disk larger if there is metadata in its last sectors.
func (b *onDisk) diskEndsWell() error {
	disk, _ := b.before.Find(b.disk.Name())
	if b.newSize == b.disk.Size || disk.AtEnd == "" {
		return nil
	}
	return refuseEnd(disk.Name, "the disk as a whole has %s, which keeps its metadata in the disk's last sectors and does not find it once the disk is larger", disk.AtEnd)
}

func refuseEnd(subject, format string, args ...any) *Refusal {
	r := Refuse(UnsupportedLayout, subject, format, args...)
	r.Way = WayRemake
	return r
}
