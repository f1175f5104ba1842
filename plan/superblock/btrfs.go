package superblock

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/virt-grow/virt-grow/plan/size"
)

// The offset and the length of a btrfs superblock.
const (
	BtrfsAt  = 0x10000
	BtrfsLen = 4096
)

var btrfsIncompat = []bit{
	{0x1, "mixed_backref"}, {0x2, "default_subvol"}, {0x4, "mixed_groups"}, {0x8, "compress_lzo"}, {0x10, "compress_zstd"},
	{0x20, "big_metadata"}, {0x40, "extended_iref"}, {0x80, "raid56"}, {0x100, "skinny_metadata"}, {0x200, "no_holes"},
	{0x400, "metadata_uuid"}, {0x800, "raid1c34"}, {0x1000, "zoned"}, {0x2000, "extent_tree_v2"},
	{0x4000, "raid_stripe_tree"}, {0x10000, "simple_quota"}, {0x20000, "remap_tree"},
}

var btrfsROCompat = []bit{{0x1, "free_space_tree"}, {0x2, "free_space_tree_valid"}, {0x4, "verity"}, {0x8, "block_group_tree"}}

var (
	btrfsIncompatSince = []since{{0, 0x3ff}, {5 << 8, 0x400}, {5<<8 | 5, 0x800}, {5<<8 | 12, 0x1000}, {6<<8 | 7, 0x10000}}
	btrfsROSince       = []since{{0, 0x3}, {5<<8 | 15, 0x4}, {6<<8 | 1, 0x8}}
)

// Btrfs has fields of a btrfs superblock.
type Btrfs struct {
	Size       size.Bytes // the sum of all devices
	DeviceSize size.Bytes // of this one, as the file system has it
	Devices    uint64
	Sector     size.Bytes
	DeviceID   uint64
	Incompat   uint64
	ROCompat   uint64
	UUID       string
	seeding    bool
	sound      bool
}

// ReadBtrfs reads a superblock. b begins at BtrfsAt. An error other than ErrNone names the
// field with an impossible value.
func ReadBtrfs(b []byte) (*Btrfs, error) {
	le := binary.LittleEndian
	if len(b) < BtrfsLen || string(b[0x40:0x48]) != "_BHRfS_M" {
		return nil, ErrNone
	}
	s := &Btrfs{
		Size: size.Bytes(le.Uint64(b[0x70:]) & (1<<62 - 1)), Devices: le.Uint64(b[0x88:]), Sector: size.Bytes(le.Uint32(b[0x90:])),
		ROCompat: le.Uint64(b[0xb4:]), Incompat: le.Uint64(b[0xbc:]),
		DeviceID: le.Uint64(b[0xc9:]), DeviceSize: size.Bytes(le.Uint64(b[0xd1:]) & (1<<62 - 1)),
		UUID:    uuid(b[0x20:]),
		seeding: le.Uint64(b[0x38:])&(1<<32) != 0,
	}
	// Type 0 is CRC-32C; the kernel checks the other types.
	s.sound = le.Uint16(b[0xc4:]) != 0 || le.Uint32(b) == crc32.Checksum(b[0x20:BtrfsLen], crc32.MakeTable(crc32.Castagnoli))
	if s.Sector < 512 || s.Sector > 1<<16 || s.Sector&(s.Sector-1) != 0 {
		return s, fmt.Errorf("its sector size is %d", int64(s.Sector))
	}
	return s, nil
}

// Sound reports whether the superblock's checksum is right.
func (s *Btrfs) Sound() bool { return s.sound }

// Seeding reports whether it is a read-only seed for other file systems.
func (s *Btrfs) Seeding() bool { return s.seeding }

// Unknown returns the features that a kernel release does not know.
func (s *Btrfs) Unknown(release string) []Unknown {
	return append(unknown("incompatible", s.Incompat, knownTo(release, btrfsIncompatSince), btrfsIncompat),
		unknown("read-only compatible", s.ROCompat, knownTo(release, btrfsROSince), btrfsROCompat)...)
}
