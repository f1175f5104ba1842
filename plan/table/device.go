package table

import (
	"fmt"
	"io"
	"math"

	"github.com/virt-grow/virt-grow/plan/size"
)

// maxOffset stands for every offset that does not fit an int64; it is a multiple of all
// sector sizes.
const maxOffset = size.Bytes(math.MaxInt64) &^ (64*size.KiB - 1)

// device reads whole sectors and remembers them.
type device struct {
	r       io.ReaderAt
	sector  size.Bytes
	sectors uint64 // number of sectors of the disk
	known   map[uint64][]byte
}

// region is a range of sectors.
type region struct {
	lba  uint64
	data []byte
}

func newDevice(r io.ReaderAt, disk, sector size.Bytes) *device {
	return &device{
		r:       r,
		sector:  sector,
		sectors: uint64(max(disk, 0) / sector),
		known:   map[uint64][]byte{},
	}
}

// has reports whether count sectors from lba on lie on the disk. Untrusted numbers are
// compared with the disk's size nowhere else.
func (d *device) has(lba, count uint64) bool {
	return lba < d.sectors && count <= d.sectors-lba
}

// read returns sectors. The caller has checked that they are on the disk.
func (d *device) read(lba, count uint64) (region, error) {
	if !d.has(lba, count) {
		return region{}, fmt.Errorf("read %d sectors at LBA %d: the disk has %d", count, lba, d.sectors)
	}
	n := int64(d.sector)
	data := make([]byte, int64(count)*n)
	if got, err := d.r.ReadAt(data, int64(lba)*n); got < len(data) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return region{}, fmt.Errorf("read the partition table: %d bytes at %d: %w", len(data), int64(lba)*n, err)
	}
	for i := range int64(count) {
		d.known[lba+uint64(i)] = data[i*n : (i+1)*n : (i+1)*n]
	}
	return region{lba, data}, nil
}

// offset converts an untrusted LBA to bytes. An LBA that does not fit becomes maxOffset,
// which is beyond the end of every disk.
func offset(lba uint64, sector size.Bytes) size.Bytes {
	if lba > uint64(maxOffset/sector) {
		return maxOffset
	}
	return size.Bytes(lba) * sector
}

func (t *Table) lba(b size.Bytes) uint64          { return uint64(b / t.SectorSize) }
func (t *Table) offset(lba uint64) size.Bytes     { return offset(lba, t.SectorSize) }
func (t *Table) sectorsOf(disk size.Bytes) uint64 { return t.lba(max(disk, 0)) }
