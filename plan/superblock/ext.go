package superblock

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"github.com/virt-grow/virt-grow/plan/size"
)

// ExtAt is the offset of the superblock of an ext2, ext3 or ext4, ExtLen how much of it is
// read.
const (
	ExtAt  = 1024
	ExtLen = 1024
)

// Features of ext that affect a growth (Linux, fs/ext4/ext4.h).
const (
	extCompatResizeInode  = 0x0010
	extCompatSparseSuper2 = 0x0200
	extIncompatJournalDev = 0x0008
	extIncompatMetaBG     = 0x0010
	extIncompat64bit      = 0x0080
	extIncompatFlexBG     = 0x0200
	extROSparseSuper      = 0x0001
	extROBigalloc         = 0x0200
	extCompatHasJournal   = 0x0004
)

// extErrors is the bit of the state that the kernel sets when it finds an error, and
// e2fsck clears (fs/ext4/ext4.h, EXT4_ERROR_FS).
const extErrors = 0x2

var extCompat = []bit{
	{0x1, "dir_prealloc"}, {0x2, "imagic_inodes"}, {0x4, "has_journal"}, {0x8, "ext_attr"},
	{0x10, "resize_inode"}, {0x20, "dir_index"}, {0x200, "sparse_super2"}, {0x400, "fast_commit"},
	{0x800, "stable_inodes"}, {0x1000, "orphan_file"},
}

var extIncompat = []bit{
	{0x1, "compression"}, {0x2, "filetype"}, {0x4, "needs_recovery"}, {0x8, "journal_dev"},
	{0x10, "meta_bg"}, {0x40, "extent"}, {0x80, "64bit"}, {0x100, "mmp"}, {0x200, "flex_bg"},
	{0x400, "ea_inode"}, {0x1000, "dirdata"}, {0x2000, "metadata_csum_seed"}, {0x4000, "large_dir"},
	{0x8000, "inline_data"}, {0x10000, "encrypt"}, {0x20000, "casefold"},
}

var extROCompat = []bit{
	{0x1, "sparse_super"}, {0x2, "large_file"}, {0x4, "btree_dir"}, {0x8, "huge_file"},
	{0x10, "uninit_bg"}, {0x20, "dir_nlink"}, {0x40, "extra_isize"}, {0x80, "has_snapshot"},
	{0x100, "quota"}, {0x200, "bigalloc"}, {0x400, "metadata_csum"}, {0x800, "replica"},
	{0x1000, "read-only"}, {0x2000, "project"}, {0x4000, "shared_blocks"}, {0x8000, "verity"},
	{0x10000, "orphan_present"},
}

// Ext has the fields of an ext superblock that determine how the file system grows. They
// do not change while the file system is in use.
type Ext struct {
	Blocks         int64  `json:"blocks"`                  // how many blocks it has
	BlockSize      int64  `json:"block_size"`              // in bytes
	BlocksPerGroup int64  `json:"blocks_per_group"`        // how many blocks
	InodesPerGroup int64  `json:"inodes_per_group"`        // how many inodes
	InodeSize      int64  `json:"inode_size"`              // in bytes
	FirstDataBlock int64  `json:"first_data_block"`        // a block's number
	DescSize       int64  `json:"desc_size"`               // of a group descriptor, in bytes
	ReservedGDT    int64  `json:"reserved_gdt_blocks"`     // how many blocks
	FlexGroups     int64  `json:"flex_groups,omitempty"`   // how many groups share their tables
	FirstMetaBG    int64  `json:"first_meta_bg,omitempty"` // a group's number
	BackupGroups   [2]int `json:"backup_groups"`           // the groups with sparse_super2's backups
	Compat         uint32 `json:"compat"`                  // bits of compatible features
	Incompat       uint32 `json:"incompat"`                // bits of incompatible features
	ROCompat       uint32 `json:"ro_compat"`               // bits of read-only compatible features
	Errors         bool   `json:"errors,omitempty"`        // a kernel found an error since the last e2fsck

	// The probe alone uses Revision and the fields after it.
	Revision     uint32 `json:"-"`
	UUID         string `json:"-"`
	Inodes       int64  `json:"-"` // number of inodes in use
	FreeBlocks   int64  `json:"-"`
	JournalInode uint32 `json:"-"`
	MMPBlock     int64  `json:"-"`
}

// ReadExt reads a superblock. b begins at ExtAt. An error other than ErrNone names the field
// with an impossible value.
func ReadExt(b []byte) (*Ext, error) {
	le := binary.LittleEndian
	if len(b) < ExtLen || le.Uint16(b[0x38:]) != 0xef53 {
		return nil, ErrNone
	}
	e := &Ext{
		Blocks: int64(le.Uint32(b[4:])), FreeBlocks: int64(le.Uint32(b[0xc:])), FirstDataBlock: int64(le.Uint32(b[0x14:])),
		BlocksPerGroup: int64(le.Uint32(b[0x20:])), InodesPerGroup: int64(le.Uint32(b[0x28:])),
		InodeSize: 128, DescSize: 32, Revision: le.Uint32(b[0x4c:]),
		Errors: le.Uint16(b[0x3a:])&extErrors != 0, UUID: uuid(b[0x68:]),
		Inodes: max(0, int64(le.Uint32(b[0:]))-int64(le.Uint32(b[0x10:]))),
	}
	logBlock := le.Uint32(b[0x18:])
	if logBlock > 6 {
		return nil, fmt.Errorf("its block size is 1024 << %d", logBlock)
	}
	e.BlockSize = 1024 << logBlock
	if e.Revision > 0 {
		e.InodeSize = int64(le.Uint16(b[0x58:]))
		e.Compat, e.Incompat, e.ROCompat = le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
		e.JournalInode = le.Uint32(b[0xe0:])
		e.MMPBlock = int64(le.Uint64(b[0x168:]) & (1<<48 - 1))
	}
	e.ReservedGDT = int64(le.Uint16(b[0xce:]))
	e.BackupGroups = [2]int{int(le.Uint32(b[0x24c:])), int(le.Uint32(b[0x250:]))}
	if e.has64() {
		e.Blocks |= int64(le.Uint32(b[0x150:])) << 32
		e.FreeBlocks |= int64(le.Uint32(b[0x158:])) << 32
		if d := int64(le.Uint16(b[0xfe:])); d != 0 {
			e.DescSize = d
		}
	}
	if n := b[0x174]; e.Incompat&extIncompatFlexBG != 0 && n < 31 {
		e.FlexGroups = 1 << n
	}
	if e.Incompat&extIncompatMetaBG != 0 {
		e.FirstMetaBG = int64(le.Uint32(b[0x104:]))
	}
	return e, e.sane()
}

// sane refuses impossible numbers, so that no computation overflows or divides by zero.
func (e *Ext) sane() error {
	switch {
	case e.BlocksPerGroup < 8 || e.BlocksPerGroup > e.BlockSize*8*64:
		return fmt.Errorf("it has %d blocks per group", e.BlocksPerGroup)
	case e.InodesPerGroup < 1 || e.InodesPerGroup > e.BlockSize*8:
		return fmt.Errorf("it has %d inodes per group", e.InodesPerGroup)
	case e.InodeSize < 128 || e.InodeSize > e.BlockSize || bits.OnesCount64(uint64(e.InodeSize)) != 1:
		return fmt.Errorf("its inodes have %d bytes", e.InodeSize)
	case e.DescSize < 32 || e.DescSize > 1024 || bits.OnesCount64(uint64(e.DescSize)) != 1:
		return fmt.Errorf("its group descriptors have %d bytes", e.DescSize)
	case e.FirstDataBlock > 1 || e.Blocks <= e.FirstDataBlock || e.Blocks > 1<<48:
		return fmt.Errorf("it has %d blocks, from %d on", e.Blocks, e.FirstDataBlock)
	case e.ReservedGDT > e.BlockSize/4:
		return fmt.Errorf("it reserves %d blocks for descriptors", e.ReservedGDT)
	}
	return nil
}

// Journaled reports whether the file system has a journal.
func (e *Ext) Journaled() bool { return e.Compat&extCompatHasJournal != 0 }

func (e *Ext) has64() bool       { return e.Incompat&extIncompat64bit != 0 }
func (e *Ext) resizeInode() bool { return e.Compat&extCompatResizeInode != 0 }

// Size returns the file system's size.
func (e *Ext) Size() size.Bytes { return size.Bytes(e.Blocks * e.BlockSize) }

func (e *Ext) groups(blocks int64) int64 {
	return (blocks - e.FirstDataBlock + e.BlocksPerGroup - 1) / e.BlocksPerGroup
}

func (e *Ext) descBlocks(groups int64) int64 {
	per := e.BlockSize / e.DescSize
	return (groups + per - 1) / per
}

// tableBlocks returns the number of blocks of a group's inode table.
func (e *Ext) tableBlocks() int64 {
	return (e.InodesPerGroup*e.InodeSize + e.BlockSize - 1) / e.BlockSize
}

// hasBackup reports whether a group has a copy of the superblock; last is the last group
// (e2fsprogs, lib/ext2fs/closefs.c, ext2fs_bg_has_super; for sparse_super2 as in
// resize2fs).
func (e *Ext) hasBackup(group int64) bool {
	switch {
	case group <= 1:
		return true
	case e.ROCompat&extROSparseSuper == 0:
		return true
	case group%2 == 0:
		return false
	}
	return isPower(group, 3) || isPower(group, 5) || isPower(group, 7)
}

func isPower(n, base int64) bool {
	for n > 1 && n%base == 0 {
		n /= base
	}
	return n == 1
}

// lastHasBackup is hasBackup for the last group of a file system with that many groups.
func (e *Ext) lastHasBackup(groups int64) bool {
	if e.Compat&extCompatSparseSuper2 == 0 {
		return e.hasBackup(groups - 1)
	}
	if groups == 2 {
		return e.BackupGroups[0] != 0
	}
	return e.BackupGroups[1] != 0
}

// pageSize is the page size of the host: resize2fs makes the size of a file system a
// multiple of it.
const pageSize = 4096

// lastGroupSpare is how many blocks besides its metadata the last group must have for
// resize2fs to keep it (resize/resize2fs.c, adjust_fs_info).
const lastGroupSpare = 50

// Grown returns the size that resize2fs gives the file system on a device of that size.
func (e *Ext) Grown(device size.Bytes) size.Bytes {
	blocks := int64(device) / e.BlockSize
	if e.BlockSize < pageSize {
		blocks -= blocks % (pageSize / e.BlockSize)
	}
	if !e.has64() && blocks == 1<<32 {
		blocks--
	}
	if blocks <= e.Blocks {
		return e.Size()
	}
	groups := e.groups(blocks)
	overhead := 2 + e.tableBlocks()
	if e.lastHasBackup(groups) {
		overhead += 1 + e.descBlocks(groups) + e.ReservedGDT
	}
	rest := (blocks - e.FirstDataBlock) % e.BlocksPerGroup
	if groups > 1 && rest > 0 && rest < overhead+lastGroupSpare {
		blocks -= rest
	}
	return size.Bytes(max(blocks, e.Blocks) * e.BlockSize)
}

// Max returns the largest size that resize2fs can give the file system, and why.
func (e *Ext) Max() (limit size.Bytes, why string) {
	lower := func(groups int64, because string) {
		if groups >= math.MaxInt64/(e.BlocksPerGroup*e.BlockSize)-1 {
			return // beyond an int64
		}
		if n := size.Bytes((e.FirstDataBlock + groups*e.BlocksPerGroup) * e.BlockSize); limit == 0 || n < limit {
			limit, why = n, because
		}
	}
	if !e.has64() {
		limit, why = size.Bytes((1<<32-1)*e.BlockSize), "its block numbers have 32 bits (it lacks the feature 64bit)"
	}
	perBlock := e.BlockSize / e.DescSize
	lower((1<<32-1)/e.InodesPerGroup, "its inode numbers have 32 bits")
	// resize/main.c: "New size results in too many block group descriptors".
	lower((e.BlocksPerGroup-e.FirstDataBlock)*perBlock, "its group descriptors have to fit into one group")
	if e.resizeInode() && !e.canMoveResizeInode() {
		lower((e.descBlocks(e.groups(e.Blocks))+e.ReservedGDT)*perBlock, "it has room for so many group descriptors only, which were reserved for growth when it was made (resize_inode)")
	}
	return limit, why
}

// canMoveResizeInode reports whether the file system may grow beyond the blocks that are
// reserved for its group descriptors. resize2fs then needs the blocks behind them, and moves
// their content to the first free block. If the block of the resize inode would be moved
// behind the old end, resize2fs fails and leaves a damaged file system ("Illegal doubly
// indirect block found"). That happens if the old end is in the first group, and the inode
// tables of its flex group are placed in one row from the old free blocks across that end.
func (e *Ext) canMoveResizeInode() bool {
	if e.FlexGroups <= 1 || e.Blocks-e.FirstDataBlock >= e.BlocksPerGroup {
		return true
	}
	return e.FreeBlocks > e.FlexGroups*(2+e.tableBlocks())
}

// The features with which every kernel since 3.10 grows a mounted ext4. Features that a
// kernel may be built without (quota, casefold, verity) are not among them, nor is MMP,
// which delays a mount.
const (
	extMountedCompat   = 0x4 | 0x8 | 0x10 | 0x20 | 0x400 | 0x1000
	extMountedIncompat = 0x2 | 0x4 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000
	extMountedRO       = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | 0x10000
)

// extMaxFlexGroups limits the groups that the kernel adds at a time: before Linux 6.8 it
// allocates memory for all groups of a flex group, and fails if there are too many.
const extMaxFlexGroups = 1 << 10

// GrowsMounted reports whether the kernel can grow the mounted file system to a size, with
// the same result as resize2fs. Beyond the blocks that are reserved for group descriptors,
// the kernel enables meta_bg (fs/ext4/resize.c, ext4_resize_fs). It refuses a file system
// with errors (ext4_resize_begin). A file system without a journal needs e2fsck, which
// repairs what an unclean unmount leaves.
func (e *Ext) GrowsMounted(to size.Bytes) bool {
	groups := e.groups(int64(to) / e.BlockSize)
	switch {
	case e.Errors, !e.resizeInode(), !e.Journaled():
		return false
	case e.Compat&^extMountedCompat != 0, e.Incompat&^extMountedIncompat != 0, e.ROCompat&^extMountedRO != 0:
		return false
	case e.FlexGroups > extMaxFlexGroups:
		return false
	}
	return e.descBlocks(groups) <= e.descBlocks(e.groups(e.Blocks))+e.ReservedGDT
}

// CannotGrow returns a feature with which resize2fs does not grow the file system, and why;
// "" if there is none. The kernel refuses the same features for a mounted file system.
func (e *Ext) CannotGrow() (feature, why string) {
	switch {
	case e.ROCompat&extROBigalloc != 0:
		return "bigalloc", "resize2fs grows it with force alone"
	case e.Compat&0x200 != 0:
		// Seen with resize2fs 1.47.0 and blocks of 1 KiB: e2fsck then finds a wrong bit
		// in a bitmap, in one of five.
		return "sparse_super2", "resize2fs can leave it with wrong bitmaps"
	case e.Incompat&extIncompatJournalDev != 0:
		return "journal_dev", "it is the journal of another file system"
	case e.Compat&extCompatHasJournal != 0 && e.JournalInode == 0 && e.Revision > 0:
		return "journal_dev", "its journal lies on another device"
	case e.ROCompat&0x4000 != 0:
		return "shared_blocks", "its files share blocks, and it can only be read"
	case e.ROCompat&0x1000 != 0:
		return "read-only", "it is marked as read-only for good"
	}
	return "", ""
}

// The features that e2fsprogs 1.44 supports, the oldest version that an appliance may have.
const (
	extOldCompat   = 0x23f
	extOldIncompat = 0x1e3de
	extOldRO       = 0x7fff
)

// Newer returns the features that some versions of e2fsprogs in use do not support.
func (e *Ext) Newer() []Unknown {
	all := unknown("incompatible", uint64(e.Incompat), extOldIncompat, extIncompat)
	all = append(all, unknown("read-only compatible", uint64(e.ROCompat), extOldRO, extROCompat)...)
	return append(all, unknown("compatible", uint64(e.Compat), extOldCompat, extCompat)...)
}

const extMetadataCsum = 0x400

// Sound reports whether the checksum of the superblock is right; without one it is true.
func (e *Ext) Sound(b []byte) bool {
	if e.ROCompat&extMetadataCsum == 0 || len(b) < ExtLen {
		return true
	}
	return binary.LittleEndian.Uint32(b[0x3fc:]) == ^crc32.Checksum(b[:0x3fc], crc32.MakeTable(crc32.Castagnoli))
}
