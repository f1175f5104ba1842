package table

import "bytes"

// geometry is the geometry that a BIOS reports for a disk: the number of heads, and of
// sectors per track. CHS addresses depend on it.
type geometry struct{ heads, sectors uint64 }

// The geometries that BIOSes use (large and LBA-assisted), and those that QEMU and parted
// guess for small disks.
var geometries = []geometry{
	{255, 63}, {240, 63}, {128, 63}, {64, 63}, {32, 63}, {16, 63}, {64, 32}, {255, 32},
}

// encode returns the three bytes of an entry for an LBA. Beyond cylinder 1023 it returns the
// last possible address (FE FF FF with 255 heads), like fdisk and parted.
func (g geometry) encode(lba uint64) []byte {
	cylinder := lba / (g.heads * g.sectors)
	head := lba / g.sectors % g.heads
	sector := lba%g.sectors + 1
	if cylinder > 1023 {
		cylinder, head, sector = 1023, g.heads-1, g.sectors
	}
	return []byte{byte(head), byte(sector) | byte(cylinder>>8)<<6, byte(cylinder)}
}

// run is a range of sectors, counted from the beginning of the disk.
type run struct{ start, end uint64 }

// moveCHS updates the CHS addresses of an entry when its partition moves from old to now. If
// the old start and end match no known geometry, the values stay as they are.
func (e mbrEntry) moveCHS(old, now run) {
	for _, g := range geometries {
		if bytes.Equal(e[1:4], g.encode(old.start)) && bytes.Equal(e[5:8], g.encode(old.end-1)) {
			copy(e[1:4], g.encode(now.start))
			copy(e[5:8], g.encode(now.end-1))
			return
		}
	}
}
