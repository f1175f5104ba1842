package table

import "bytes"

// geometry is a BIOS's idea of a disk: how many heads, how many sectors a
// track. CHS addresses mean something only together with one.
type geometry struct{ heads, sectors uint64 }

// The geometries BIOSes translate to (large and LBA-assisted), and what
// QEMU and parted guess for small disks.
var geometries = []geometry{
	{255, 63}, {240, 63}, {128, 63}, {64, 63}, {32, 63}, {16, 63}, {64, 32}, {255, 32},
}

// encode returns the three bytes of an entry for an LBA. What is beyond
// cylinder 1023 becomes the last address there is, FE FF FF with 255 heads,
// as fdisk and parted have it.
func (g geometry) encode(lba uint64) []byte {
	cylinder := lba / (g.heads * g.sectors)
	head := lba / g.sectors % g.heads
	sector := lba%g.sectors + 1
	if cylinder > 1023 {
		cylinder, head, sector = 1023, g.heads-1, g.sectors
	}
	return []byte{byte(head), byte(sector) | byte(cylinder>>8)<<6, byte(cylinder)}
}

// run is a run of sectors, counted from the beginning of the disk.
type run struct{ start, end uint64 }

// moveCHS keeps the CHS addresses of an entry consistent when its partition
// goes from old to now. If the old start and end agree with no known geometry,
// someone put other values there on purpose or by accident, and they stay.
func (e mbrEntry) moveCHS(old, now run) {
	for _, g := range geometries {
		if bytes.Equal(e[1:4], g.encode(old.start)) && bytes.Equal(e[5:8], g.encode(old.end-1)) {
			copy(e[1:4], g.encode(now.start))
			copy(e[5:8], g.encode(now.end-1))
			return
		}
	}
}
