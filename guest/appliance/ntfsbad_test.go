package appliance

import (
	"encoding/binary"
	"testing"
)

// badRecord is $BadClus's record with the given mapping pairs in $Bad.
func badRecord(runs ...byte) []byte {
	r := make([]byte, 1024)
	copy(r, "FILE")
	le := binary.LittleEndian
	le.PutUint16(r[4:], 48)
	le.PutUint16(r[6:], 3)
	le.PutUint16(r[20:], 56)
	copy(r[48:], []byte{7, 0, 0xAB, 0xCD, 0xEF, 0x01}) // the last bytes of the sectors (update sequence array)
	copy(r[510:], []byte{7, 0})
	copy(r[1022:], []byte{7, 0})
	a := r[56:]
	le.PutUint32(a, 0x80) // an unnamed, resident $DATA
	le.PutUint32(a[4:], 24)
	a = a[24:]
	le.PutUint32(a, 0x80)
	le.PutUint32(a[4:], 96)
	a[8], a[9] = 1, 4
	le.PutUint16(a[10:], 64)
	copy(a[64:], "$\x00B\x00a\x00d\x00")
	le.PutUint16(a[32:], 72)
	copy(a[72:], runs)
	le.PutUint32(a[96:], 0xFFFFFFFF)
	return r
}

func TestBadClusters(t *testing.T) {
	for name, c := range map[string]struct {
		record []byte
		want   int64
	}{
		"a hole, as large as the volume": {badRecord(0x02, 0xff, 0x27), 0},
		"one cluster":                    {badRecord(0x02, 0, 0x10, 0x21, 1, 0, 0x10, 0x02, 0xff, 0x17), 1},
		"two runs":                       {badRecord(0x21, 3, 9, 0, 0x01, 5, 0x12, 0, 2, 9, 0x01, 9), 515},
		"runs cut off":                   {badRecord(0x87, 1)[:170], 0},
		"no record":                      {make([]byte, 1024), 0},
		"nothing":                        {nil, 0},
	} {
		if got := badClusters(c.record); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestNTFSPlace(t *testing.T) {
	boot := make([]byte, 512)
	copy(boot[3:], "NTFS    ")
	binary.LittleEndian.PutUint16(boot[11:], 512)
	boot[13], boot[64] = 8, 0xF6 // 4 KiB clusters, records of 2^10 bytes
	binary.LittleEndian.PutUint64(boot[48:], 4)
	if p, ok := readNTFSPlace(boot); !ok || p != (ntfsPlace{16384, 1024}) {
		t.Errorf("%+v %v", p, ok)
	}
	boot[13], boot[64] = 0xF5, 1 // 2^11 sectors: 1 MiB clusters would be larger than any record
	if p, ok := readNTFSPlace(boot); ok {
		t.Errorf("%+v", p)
	}
}

// FuzzBadClusters checks that any boot sector and record can be read without a crash or
// an endless loop.
func FuzzBadClusters(f *testing.F) {
	f.Add(make([]byte, 512), badRecord(0x02, 0, 0x10, 0x21, 1, 0, 0x10, 0x02, 0xff, 0x17))
	f.Fuzz(func(t *testing.T, boot, record []byte) {
		if p, ok := readNTFSPlace(boot); ok && (p.mft < 0 || p.record < 512 || p.mft+9*p.record < 0) {
			t.Fatalf("%+v", p)
		}
		if n := badClusters(record); n < 0 {
			t.Fatal(n)
		}
	})
}
