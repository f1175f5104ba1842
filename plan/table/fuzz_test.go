package table_test

import (
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// The fuzz targets grow whatever the package accepts from disks that an attacker has
// made, with correct checksums. The seeds are small, and -fuzzminimizetime=10x limits
// the time for minimizing inputs.

func FuzzReadGPT(f *testing.F) {
	small := plainGPT()
	small.sectors, small.entries = 8192, 4
	small.parts[0].last, small.parts[1].last = 4095, 8000
	small.parts[1].first = 4096
	large := gptSpec{sector: 4096, sectors: 600, entries: 4, entrySize: 256, headerSize: 100, pmbr: pmbrHybrid, backup: backupCRC}
	for _, s := range []gptSpec{small, large} {
		m := s.build()
		n := int(2+s.arraySectors()) * int(s.sector)
		f.Add(m.get(0, n), m.get(s.disk()-size.Bytes(n), n), uint16(s.sectors), s.sector == 4096, true)
	}
	f.Fuzz(func(t *testing.T, head, tail []byte, sectors uint16, large, seal bool) {
		sector := size.Bytes(512)
		if large {
			sector = 4096
		}
		disk := size.Bytes(sectors) * sector
		if len(head) > 1<<17 || len(tail) > 1<<17 || disk < size.Bytes(len(head)+len(tail)) {
			return
		}
		m := newImage(disk)
		m.put(0, head)
		m.put(disk-size.Bytes(len(tail)), tail)
		if seal {
			sealAt(m, sector, sector)
			sealAt(m, disk-sector, sector)
		}
		fuzzGrow(t, m, sector)
	})
}

// sealAt corrects the checksums of the GPT copy at an offset, if its sizes allow it.
func sealAt(m *image, at, sector size.Bytes) {
	if at < 0 || at+sector > size.Bytes(m.size) {
		return
	}
	h := m.get(at, int(sector))
	entries, n := le.Uint64(h[72:]), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
	if limit := uint64(m.size) / uint64(sector); entries < limit && n < 1<<20 && n <= (limit-entries)*uint64(sector) {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(m.get(size.Bytes(entries)*sector, int(n))))
	}
	sealHeader(h)
	m.put(at, h)
}

func FuzzReadMBR(f *testing.F) {
	f.Add(plainMBR().build().get(0, 512), plainMBR().build().get(30720*512, 512), uint32(131072), false)
	f.Add(plainGPT().protectiveMBR(), []byte{}, uint32(131072), false)
	f.Add(plainMBR().build().get(0, 512), []byte{}, uint32(1<<31), true)
	f.Fuzz(func(t *testing.T, sector0, ebr []byte, sectors uint32, large bool) {
		sector := size.Bytes(512)
		if large {
			sector = 4096
		}
		if len(sector0) < 512 || len(sector0) > int(sector) || len(ebr) > int(sector) || sectors < 2 {
			return
		}
		m := newImage(size.Bytes(sectors) * sector)
		m.put(0, sector0)
		for slot := range 4 { // an EBR at every place where the package may read one
			at := size.Bytes(le.Uint32(sector0[446+16*slot+8:])) * sector
			if at > 0 && at+sector <= size.Bytes(m.size) {
				m.put(at, ebr)
			}
		}
		fuzzGrow(t, m, sector)
	})
}

// FuzzReadLogicalChain makes a chain of EBRs from the input: 12 bytes for each of the
// four entries of an EBR. The numbers are small, so that entries overlap.
func FuzzReadLogicalChain(f *testing.F) {
	f.Add([]byte{0x83, 1, 0, 20, 0x05, 40, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0x82, 1, 0, 10}, uint16(8), uint16(800), uint16(1000))
	f.Add([]byte{0x05, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x05, 0, 0, 9}, uint16(1), uint16(100), uint16(2000))
	f.Fuzz(func(t *testing.T, chain []byte, start, count, sectors uint16) {
		if sectors < 3 {
			return
		}
		m := newImage(size.Bytes(sectors) * 512)
		b := make([]byte, 512)
		b[510], b[511] = 0x55, 0xAA
		copy(b[446:], mbrEntryBytes(chsLBA, false, 0x0F, 0, int64(start), int64(count)))
		copy(b[462:], mbrEntryBytes(chsLBA, false, 0x83, 0, int64(start)+int64(count)+1, 5))
		m.put(0, b)
		writeChain(m, chain, int64(start))
		fuzzGrow(t, m, 512)
	})
}

// writeChain writes one EBR for each 16 bytes of input: four entries of type, start (two
// bytes) and count. The next EBR is written where the first entry with an extended type
// points.
func writeChain(m *image, chain []byte, first int64) {
	at := first
	for ; len(chain) >= 16; chain = chain[16:] {
		if at < 1 || (at+1)*512 > m.size {
			return
		}
		b, next := make([]byte, 512), int64(-1)
		b[510], b[511] = 0x55, 0xAA
		for slot := range 4 {
			in, e := chain[4*slot:], b[446+16*slot:]
			e[4] = in[0]
			le.PutUint32(e[8:], uint32(le.Uint16(in[1:])))
			le.PutUint32(e[12:], uint32(in[3]))
			if next < 0 && in[3] != 0 && (in[0] == 0x05 || in[0] == 0x0F || in[0] == 0x85) {
				next = first + int64(le.Uint16(in[1:]))
			}
		}
		m.put(size.Bytes(at*512), b)
		if next < 0 {
			return
		}
		at = next
	}
}

// fuzzGrow checks for any disk that there is no panic and no write beyond its end, and
// that the grown table is read as planned.
func fuzzGrow(t *testing.T, m *image, sector size.Bytes) {
	table.SniffSectorSize(m, size.Bytes(m.size))
	tab, err := table.Read(m, size.Bytes(m.size), sector)
	if err != nil {
		return
	}
	tab.Free()
	tab.Fingerprint()
	newDisk := size.Bytes(m.size) + 8*size.MiB
	var changes []table.Change
	for _, p := range tab.Partitions {
		tab.Mirrored(p.Number)
		end, next, err := tab.Room(p.Number, newDisk)
		if (err == nil) != (tab.Err() == nil) {
			t.Fatalf("room for partition %d: %v; the table: %v", p.Number, err, tab.Err())
		}
		if err != nil {
			continue
		}
		if end < p.End() || next == nil && end > newDisk {
			t.Fatalf("partition %d ends at %d and could end at %d", p.Number, p.End(), end)
		}
		changes = append(changes, table.Change{Number: p.Number, End: end})
	}
	writes, err := tab.Grow(newDisk, changes)
	if err != nil {
		return
	}
	after := m.apply(t, newDisk, writes)
	got := mustRead(t, after, sector)
	want := append([]table.Partition(nil), tab.Partitions...)
	for i := range want {
		want[i].Size = changes[i].End - want[i].Start
		if want[i].Role == table.Extended {
			want[i].Size = max(want[i].Size, got.Partitions[i].Size)
		}
	}
	if diff := cmp.Diff(want, got.Partitions); diff != "" || got.Err() != nil {
		t.Fatalf("after growing: %v\n%s", got.Err(), diff)
	}
	if again := mustGrow(t, got, newDisk, changes...); len(again) > 0 {
		t.Fatalf("growing again writes %q", again[0].What)
	}
}

// FuzzMove makes a disk as the targets above do: half of a GPT, or an MBR with a chain
// of EBRs. Four bytes of moves describe the change of each partition, in the order of
// numbers: the kind of change, the distance in sectors, whether the start moves or only
// the end, and how many sectors the end moves further.
func FuzzMove(f *testing.F) {
	gpt := plainGPT()
	gpt.sectors, gpt.entries = 8192, 4
	gpt.parts[0].last, gpt.parts[1].first, gpt.parts[1].last = 2099, 4096, 6000
	f.Add(gpt.build().get(0, 3*512), uint16(8192), []byte{1, 100, 0, 10, 1, 200, 0, 0})
	f.Add(gpt.build().get(0, 3*512), uint16(8192), []byte{2, 0, 0, 0, 1, 7, 1, 200})
	chain := []byte{0x83, 1, 0, 20, 0x05, 40, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0x82, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	f.Add(chain, uint16(1000), []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 20, 0, 5, 1, 18, 0, 2})
	f.Add(chain, uint16(1000), []byte{1, 200, 0, 3, 1, 255, 0, 90, 0, 0, 0, 0, 1, 220, 0, 20})
	f.Add(chain, uint16(1000), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0})
	f.Add(chain, uint16(1000), []byte{2, 0, 0, 0, 1, 5, 0, 5, 2, 0, 0, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, head []byte, sectors uint16, moves []byte) {
		if sectors < 200 || len(head) > 1<<16 || len(head) > int(sectors)*512 {
			return
		}
		m := newImage(size.Bytes(sectors) * 512)
		if len(head) > 520 && string(head[512:520]) == "EFI PART" {
			m.put(0, head)
			sealAt(m, 512, 512)
		} else {
			b := make([]byte, 512)
			b[510], b[511] = 0x55, 0xAA
			copy(b[446:], mbrEntryBytes(chsLBA, false, 0x0F, 0, 8, 120))
			copy(b[462:], mbrEntryBytes(chsQEMU, true, 0x83, 0, 130, 50))
			m.put(0, b)
			writeChain(m, head, 8)
		}
		fuzzMove(t, m, moves)
	})
}

func fuzzMove(t *testing.T, m *image, moves []byte) {
	tab, err := table.Read(m, size.Bytes(m.size), 512)
	if err != nil {
		return
	}
	changes, want := fuzzChanges(tab, moves)
	newDisk := size.Bytes(m.size) + 64*512
	writes, err := tab.Grow(newDisk, changes)
	if err != nil {
		return
	}
	got := mustRead(t, m.apply(t, newDisk, writes), 512)
	if got.Err() != nil || len(got.Partitions) != len(want) {
		t.Fatalf("after %v: %v, %d partitions", changes, got.Err(), len(got.Partitions))
	}
	for i, p := range got.Partitions {
		if p.Role == table.Extended {
			want[i].Size = max(want[i].Size, p.Size)
		}
		if _, asked := find(changes, p.Number); !asked && p.Role == table.Logical {
			want[i].Start = p.Start // moved with the extended partition, or not at all
		}
		if p != want[i] {
			t.Fatalf("after %v: %+v, want %+v", changes, p, want[i])
		}
	}
	checkDataSpared(t, got, writes)
	if again := mustGrow(t, got, newDisk, changes...); len(again) > 0 {
		t.Fatalf("moving again writes %q", again[0].What)
	}
}

func find(changes []table.Change, number int) (table.Change, bool) {
	for _, c := range changes {
		if c.Number == number {
			return c, true
		}
	}
	return table.Change{}, false
}

// fuzzChanges also returns the expected partitions.
func fuzzChanges(tab *table.Table, moves []byte) (changes []table.Change, want []table.Partition) {
	for _, p := range tab.Partitions {
		var in [4]byte
		moves = moves[copy(in[:], moves):]
		by, more := size.Bytes(in[1])*512, size.Bytes(in[3])*512
		switch in[0] % 3 {
		case 1:
			c := table.Change{Number: p.Number, End: p.End() + by + more}
			if in[2]%2 == 0 {
				c.Start = p.Start + by
				p.Start += by
			}
			p.Size = c.End - p.Start
			changes = append(changes, c)
		case 2:
			changes = append(changes, table.Change{Number: p.Number, Delete: true})
			continue
		}
		want = append(want, p)
	}
	return changes, want
}
