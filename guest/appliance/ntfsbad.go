package appliance

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/virt-grow/virt-grow/plan"
)

// ntfsPlace has the fields of an NTFS boot sector that describe the MFT. Names and offsets
// are those of ntfs-3g's layout.h, NTFS_BOOT_SECTOR.
type ntfsPlace struct {
	mft    int64 // offset of the MFT, in bytes
	record int64 // size of a record in the MFT, in bytes
}

// badClusterRecord is the number of $BadClus in the MFT. The first sixteen records are
// contiguous.
const badClusterRecord = 8

// readNTFSPlace reads a boot sector; ok is false if it is not one of an NTFS.
func readNTFSPlace(boot []byte) (p ntfsPlace, ok bool) {
	if len(boot) < 512 || !bytes.Equal(boot[3:11], []byte("NTFS    ")) {
		return p, false
	}
	sector := int64(binary.LittleEndian.Uint16(boot[11:]))
	cluster := sector * int64(boot[13])
	if boot[13] > 0x80 { // clusters of more than 64 KiB: the size is 2^(256-n) sectors
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

// badClusters counts the bad clusters in the MFT record of $BadClus. Its stream $Bad is as
// large as the volume, with holes for good clusters. Any other record counts as none.
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
		case kind == 0x20: // an attribute list: the runs do not fit into this record
			return 1
		case kind == 0x80 && attributeName(attribute) == "$\x00B\x00a\x00d\x00" && length >= 64 && attribute[8] != 0:
			return allocated(attribute[min(int(binary.LittleEndian.Uint16(attribute[32:])), length):])
		}
		at += length
	}
	return 0
}

// attributeName decodes the attribute's name, which is in UTF-16.
func attributeName(attribute []byte) string {
	from := int(binary.LittleEndian.Uint16(attribute[10:]))
	to := from + 2*int(attribute[9])
	if to > len(attribute) {
		return ""
	}
	return string(attribute[from:to])
}

// allocated counts the clusters in mapping pairs that are not holes. A run is a byte with
// the lengths of two numbers, then the number of clusters, then their place; a hole has no
// place.
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

// mended returns a record with the last two bytes of each sector restored from its update
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

// askBadClusters refuses a volume with bad clusters. ntfsresize refuses it, too, but only
// when it is run with a new size.
func (a *Appliance) askBadClusters(ctx context.Context, name string, c *plan.Content) error {
	var boot, record []byte
	if err := a.do(ctx, func() (e error) { boot, e = a.g.Pread_device(a.path(name), 512, 0); return }); err != nil {
		return err
	}
	p, ok := readNTFSPlace(boot)
	if !ok {
		return nil
	}
	err := a.do(ctx, func() (e error) {
		record, e = a.g.Pread_device(a.path(name), int(p.record), p.mft+badClusterRecord*p.record)
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
