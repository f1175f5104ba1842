package superblock

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/virt-grow/virt-grow/plan/size"
)

// XFSLen is how much of an XFS's first sector is read; the headers of the group are in the
// sectors behind it.
const XFSLen = 512

// Offsets in struct xfs_dsb (Linux, fs/xfs/libxfs/xfs_format.h; big-endian).
const (
	xfsInodes     = 128
	xfsInodesFree = 136
	xfsBlocksFree = 144
	xfsCRC        = 224
)

var xfsIncompat = []bit{
	{0x1, "ftype"}, {0x2, "sparse inodes"}, {0x4, "meta UUID"}, {0x8, "bigtime"}, {0x10, "needs repair"},
	{0x20, "nrext64"}, {0x40, "exchange-range"}, {0x80, "parent pointers"}, {0x100, "metadir"},
	{0x200, "zoned"}, {0x400, "zone gaps"},
}

var xfsROCompat = []bit{{0x1, "finobt"}, {0x2, "rmapbt"}, {0x4, "reflink"}, {0x8, "inobtcount"}}

const xfsNeedsRepair = 0x10

// XFS has fields of an XFS superblock.
type XFS struct {
	BlockSize, SectorSize int64
	Blocks                int64
	GroupBlocks, Groups   int64
	LogStart              uint64
	Version, Features2    uint32
	Incompat, ROCompat    uint32
	Inodes, InodesFree    uint64
	BlocksFree            uint64
	UUID                  string
	realtimeBlocks        uint64
}

// ReadXFS reads an XFS's first sector. An error other than ErrNone names the field with an
// impossible value.
func ReadXFS(b []byte) (*XFS, error) {
	be := binary.BigEndian
	if len(b) < XFSLen || string(b[:4]) != "XFSB" {
		return nil, ErrNone
	}
	x := &XFS{
		BlockSize: int64(be.Uint32(b[4:])), Blocks: int64(be.Uint64(b[8:]) & (1<<62 - 1)), realtimeBlocks: be.Uint64(b[16:]),
		LogStart: be.Uint64(b[48:]), GroupBlocks: int64(be.Uint32(b[84:])), Groups: int64(be.Uint32(b[88:])),
		Version: uint32(be.Uint16(b[100:])) & 0xf, SectorSize: int64(be.Uint16(b[102:])),
		Inodes: be.Uint64(b[xfsInodes:]), InodesFree: be.Uint64(b[xfsInodesFree:]), BlocksFree: be.Uint64(b[xfsBlocksFree:]),
		Features2: be.Uint32(b[200:]), UUID: uuid(b[32:]),
	}
	if x.Version >= 5 {
		x.ROCompat, x.Incompat = be.Uint32(b[212:]), be.Uint32(b[216:])
	}
	switch {
	case x.BlockSize < 512 || x.BlockSize > 1<<16 || x.BlockSize&(x.BlockSize-1) != 0:
		return x, fmt.Errorf("its block size is %d", x.BlockSize)
	case x.SectorSize < 512 || x.SectorSize > 1<<15 || x.SectorSize&(x.SectorSize-1) != 0:
		return x, fmt.Errorf("its sector size is %d", x.SectorSize)
	case x.GroupBlocks < 64 || x.Groups < 1 || x.Blocks < 1 || x.Blocks > 1<<46 || x.Groups > x.Blocks:
		return x, fmt.Errorf("it has %d blocks in %d groups of %d", x.Blocks, x.Groups, x.GroupBlocks)
	}
	return x, nil
}

// Sound reports whether the checksum of the whole first sector is right; before version 5
// there is none.
func (x *XFS) Sound(sector []byte) bool {
	if x.Version < 5 {
		return true
	}
	return int64(len(sector)) >= x.SectorSize && binary.LittleEndian.Uint32(sector[xfsCRC:]) == xfsSum(sector[:x.SectorSize])
}

func xfsSum(sector []byte) uint32 {
	c := append([]byte(nil), sector...)
	clear(c[xfsCRC : xfsCRC+4])
	return crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli))
}

// NeedsRepair reports whether an xfs_repair was not finished.
func (x *XFS) NeedsRepair() bool { return x.Incompat&xfsNeedsRepair != 0 }

// Realtime and ExternalLog report whether a part of the file system is on another device.
func (x *XFS) Realtime() bool    { return x.realtimeBlocks != 0 }
func (x *XFS) ExternalLog() bool { return x.LogStart == 0 }

// Size returns the file system's size, GroupSize that of an allocation group.
func (x *XFS) Size() size.Bytes      { return size.Bytes(x.Blocks * x.BlockSize) }
func (x *XFS) GroupSize() size.Bytes { return size.Bytes(x.GroupBlocks * x.BlockSize) }

// xfsMinGroup is the smallest number of blocks of a last group (XFS_MIN_AG_BLOCKS).
const xfsMinGroup = 64

// GrownXFS returns the size that the kernel gives an XFS on a device of that size: it does
// not add a last group of less than 64 blocks (fs/xfs/xfs_fsops.c,
// xfs_growfs_data_private).
func GrownXFS(device, block, group size.Bytes) size.Bytes {
	n := device.Down(block)
	if rest := n % group; rest > 0 && rest < xfsMinGroup*block {
		n -= rest
	}
	return n
}

// XFSCounts has the sums of the counts in the headers of the allocation groups.
type XFSCounts struct{ Inodes, InodesFree, BlocksFree uint64 }

// lazyCounts is the feature with which blocks of the free space trees count as free.
const lazyCounts = 0x2

// Add adds a group. headers has the group's first four sectors; Add reports whether they
// are valid.
func (c *XFSCounts) Add(x *XFS, group int64, headers []byte) bool {
	be := binary.BigEndian
	if int64(len(headers)) < 4*x.SectorSize {
		return false
	}
	f, i := headers[x.SectorSize:], headers[2*x.SectorSize:]
	if string(f[:4]) != "XAGF" || string(i[:4]) != "XAGI" || int64(be.Uint32(f[8:])) != group || int64(be.Uint32(i[8:])) != group {
		return false
	}
	c.BlocksFree += uint64(be.Uint32(f[52:])) + uint64(be.Uint32(f[48:]))
	if x.Version >= 5 || x.Features2&lazyCounts != 0 {
		c.BlocksFree += uint64(be.Uint32(f[60:]))
	}
	c.Inodes += uint64(be.Uint32(i[16:]))
	c.InodesFree += uint64(be.Uint32(i[28:]))
	return true
}

// Counts returns the counts in the superblock.
func (x *XFS) Counts() XFSCounts { return XFSCounts{x.Inodes, x.InodesFree, x.BlocksFree} }

// WithCounts returns the first sector with other counts.
func (x *XFS) WithCounts(sector []byte, c XFSCounts) []byte {
	out := append([]byte(nil), sector...)
	be := binary.BigEndian
	be.PutUint64(out[xfsInodes:], c.Inodes)
	be.PutUint64(out[xfsInodesFree:], c.InodesFree)
	be.PutUint64(out[xfsBlocksFree:], c.BlocksFree)
	if x.Version >= 5 {
		binary.LittleEndian.PutUint32(out[xfsCRC:], xfsSum(out))
	}
	return out
}

// version is the version of a kernel, 5<<8 | 10 for 5.10.
type version int

func kernel(release string) version {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0
	}
	return version(major<<8 | min(minor, 255))
}

// since has features, and the first kernel that supports them.
type since struct {
	kernel version
	mask   uint64
}

func knownTo(release string, table []since) uint64 {
	var mask uint64
	v := kernel(release)
	for _, s := range table {
		if v == 0 || v >= s.kernel {
			mask |= s.mask
		}
	}
	return mask
}

var (
	xfsIncompatSince = []since{{0, 0x7}, {5<<8 | 10, 0x8}, {5<<8 | 11, 0x10}, {5<<8 | 19, 0x20}, {6<<8 | 10, 0xc0}, {6<<8 | 13, 0x100}, {6<<8 | 15, 0x200}, {6<<8 | 16, 0x400}}
	xfsROSince       = []since{{0, 0x7}, {5<<8 | 10, 0x8}}
)

// Unknown returns the features that a kernel release does not support. The kernel of a
// distribution may support more.
func (x *XFS) Unknown(release string) []Unknown {
	return append(unknown("incompatible", uint64(x.Incompat), knownTo(release, xfsIncompatSince), xfsIncompat),
		unknown("read-only compatible", uint64(x.ROCompat), knownTo(release, xfsROSince), xfsROCompat)...)
}
