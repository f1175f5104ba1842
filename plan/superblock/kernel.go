package superblock

import "strings"

// The kernel versions that introduced features of ext4 (Linux, fs/ext4/ext4.h,
// EXT4_FEATURE_INCOMPAT_SUPP and EXT4_FEATURE_RO_COMPAT_SUPP). Linux does not support these
// features of e2fsprogs: has_snapshot, replica, dirdata and compression.
var (
	extIncompatSince = []since{{0, 0x83d6}, {4<<8 | 1, 0x10000}, {4<<8 | 4, 0x2000}, {4<<8 | 13, 0x4400}, {5<<8 | 2, extCasefold}}
	extROSince       = []since{{0, 0x177f}, {4<<8 | 5, 0x2000}, {5<<8 | 4, 0x8000}, {5<<8 | 15, 0x10000}}
)

// extCasefold is supported only by kernels with CONFIG_UNICODE.
const extCasefold = 0x20000

// MayLack returns the features that a kernel release may not support. A distribution may
// have added or removed some.
func (e *Ext) MayLack(release string) []Unknown {
	return append(unknown("incompatible", uint64(e.Incompat), knownTo(release, extIncompatSince)&^extCasefold, extIncompat),
		unknown("read-only compatible", uint64(e.ROCompat), knownTo(release, extROSince), extROCompat)...)
}

// LargeBlocks reports whether the blocks are larger than the pages of most machines: only
// kernels from 6.19 on mount such a file system there.
func (e *Ext) LargeBlocks() bool { return e.BlockSize > pageSize }

// BlamesFeatures reports whether a kernel refused to mount a file system of a kind because
// of features. log has the kernel's last messages.
func BlamesFeatures(kind, log string) bool {
	tag := map[string]string{"ext2": "EXT4-fs", "ext3": "EXT4-fs", "ext4": "EXT4-fs", "xfs": "XFS (", "btrfs": "BTRFS"}[kind]
	for line := range strings.Lines(log) {
		if strings.Contains(line, tag) && blames(line) {
			return true
		}
	}
	return false
}

// blames recognises the kernel's messages: "Superblock has unknown incompatible features
// (0xc0) enabled." of XFS, "cannot mount because of unknown incompat features (0x…)" of
// btrfs, "couldn't mount because of unsupported optional features (…)" of ext4 and older
// btrfs, "Filesystem with casefold feature cannot be mounted without CONFIG_UNICODE". A
// message about unknown compatible features is only a warning.
func blames(line string) bool {
	for _, s := range []string{"unknown incompatible feature", "unknown read-only compatible feature", "because of unknown", "unsupported optional features", "feature cannot be mounted"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}
