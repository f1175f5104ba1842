package plan

import (
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// Filled returns the size that the content has after its tool has grown it on a device of
// that size; never less than its present size.
func (c Content) Filled(device size.Bytes) size.Bytes {
	return max(c.filled(device), c.Size)
}

func (c Content) filled(device size.Bytes) size.Bytes {
	switch c.Type {
	case "ext2", "ext3", "ext4":
		if c.Ext != nil {
			return c.Ext.Grown(device)
		}
	case "xfs":
		if c.Block > 0 && c.Unit > 0 {
			return superblock.GrownXFS(device, c.Block, c.Unit)
		}
	case "btrfs":
		if c.Block > 0 {
			return device.Down(c.Block)
		}
	case "ntfs":
		// A sector at the end is the copy of the boot sector; the rest is whole
		// clusters (ntfsresize.c: new_size = (bytes - sector_size) / cluster_size).
		if c.Block > 0 && c.SectorSize > 0 {
			return (device - c.SectorSize).Down(c.Block)
		}
	}
	return device
}

// Fills reports whether the content cannot grow on a device of that size.
func (c Content) Fills(device size.Bytes) bool { return c.Filled(device) == c.Size }
