package appliance

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/virt-grow/virt-grow/plan"
)

// ntfsPlace is what a boot sector of an NTFS says of the MFT. The names and offsets
// are those of ntfs-3g's layout.h, NTFS_BOOT_SECTOR.
type ntfsPlace struct {
	mft    int64 // where it begins, in bytes
	record int64 // size of a record in it, in bytes
}

// badClusterRecord is $BadClus's number in the MFT. The first sixteen records are in
// one piece.
const badClusterRecord = 8

// readNTFSPlace reads a boot sector; false reports that it is none.
func readNTFSPlace(boot []byte) (p ntfsPlace, ok bool) {
	if len(boot) < 512 || !bytes.Equal(boot[3:11], []byte("NTFS    ")) {
		return p, false
	}
	sector := int64(binary.LittleEndian.Uint16(boot[11:]))
	cluster := sector * int64(boot[13])
	if boot[13] > 0x80 { // clusters of more than 64 KiB: 2 to the power of what is missing to 256
		cluster = sector << min(256-int(boot[13]), 16)
	}
	p.record = int64(int8(boot[64])) * cluster
	if n := int8(boot[64]); n < 0 {
		p.record = 1 << min(-int(n), 16)
	}
	number := int64(binary.LittleEndian.Uint64(boot[48:]) & (1<<47 - 1))
	ok = sector >= 256 && cluster >= sector && p.record >= 512 && p.record <= 1<<16 && number < 1<<62/max(cluster, 1)
	p.mft = number * cluster
	return p, ok
}

// badClusters counts the clusters that $BadClus holds as bad, from its record in the
// MFT. Its stream $Bad is as large as the volume and a hole where clusters are good. A
// record that is something else has none.
func badClusters(record []byte) int64 {
	record = mended(record)
	if len(record) < 48 || !bytes.Equal(record[:4], []byte("FILE")) {
		return 0
	}
	for at := int(binary.LittleEndian.Uint16(record[20:])); at+24 <= len(record); {
		kind, length := binary.LittleEndian.Uint32(record[at:]), int(binary.LittleEndian.Uint32(record[at+4:]))
		if length < 24 || length > len(record)-at {
			return 0
		}
		attribute := record[at : at+length]
		switch {
		case kind == 0x20: // an attribute list: there are so many runs that they lie elsewhere
			return 1
		case kind == 0x80 && attributeName(attribute) == "$\x00B\x00a\x00d\x00" && length >= 64 && attribute[8] != 0:
			return allocated(attribute[min(int(binary.LittleEndian.Uint16(attribute[32:])), length):])
		}
		at += length
	}
	return 0
}

// attributeName is in UTF-16.
func attributeName(attribute []byte) string {
	from := int(binary.LittleEndian.Uint16(attribute[10:]))
	to := from + 2*int(attribute[9])
	if to > len(attribute) {
		return ""
	}
	return string(attribute[from:to])
}

// allocated counts the clusters in mapping pairs that are no holes. Each run is a byte
// with the lengths of two numbers, then how many clusters it has, then where they are,
// if they are anywhere.
func allocated(runs []byte) (n int64) {
	for len(runs) > 0 && runs[0] != 0 {
		count, place := int(runs[0]&15), int(runs[0]>>4)
		if count == 0 || count > 8 || 1+count+place > len(runs) {
			return n
		}
		if place > 0 {
			var number [8]byte
			copy(number[:], runs[1:1+count])
			n += int64(binary.LittleEndian.Uint64(number[:]) & (1<<40 - 1))
		}
		runs = runs[1+count+place:]
	}
	return n
}

// mended returns a record with the last two bytes of each sector put back from its update
// sequence array.
func mended(record []byte) []byte {
	if len(record) < 48 {
		return nil
	}
	record = bytes.Clone(record)
	from, count := int(binary.LittleEndian.Uint16(record[4:])), int(binary.LittleEndian.Uint16(record[6:]))
	for i := 1; i < count; i++ {
		if from+2*i+2 > len(record) || i*512 > len(record) {
			return nil
		}
		copy(record[i*512-2:i*512], record[from+2*i:])
	}
	return record
}

// askBadClusters: ntfsresize grows no volume with bad clusters, but does not say so
// until it is asked for another size.
func (a *Appliance) askBadClusters(ctx context.Context, name string, c *plan.Content) error {
	var boot, record []byte
	if err := a.do(ctx, func() (e error) { boot, e = a.g.Pread_device(path(name), 512, 0); return }); err != nil {
		return err
	}
	p, ok := readNTFSPlace(boot)
	if !ok {
		return nil
	}
	err := a.do(ctx, func() (e error) {
		record, e = a.g.Pread_device(path(name), int(p.record), p.mft+badClusterRecord*p.record)
		return
	})
	if err != nil {
		return err
	}
	if n := badClusters(record); n > 0 {
		c.Problem = plan.Refuse(plan.NTFSBadClusters, name, "the NTFS on %s lists %d bad clusters, and ntfsresize does not grow such a volume", name, n)
	}
	return nil
}
