package table_test

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// The properties below hold for random layouts. The bytes that may change are computed
// from the layout's description, without the package.

func TestGrowGPTProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomGPT(t)
		disk := s.build()
		newDisk := s.disk() + size.Bytes(oneOf[int64](t, "new", 0, 0, 100, s.sector, 5*s.sector, 40*s.sector, 1<<20, 5<<30))
		sectors := int64(newDisk) / s.sector
		changes := randomChanges(t, s.want(), s.sector, s.limit(sectors))
		after := checkGrowth(t, disk, s.sector, newDisk, s.want(), changes, s.allowed(sectors, changes))
		checkGPTBytes(t, s, after, sectors)
	})
}

func TestGrowMBRProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomMBR(t)
		disk := s.build()
		newDisk := s.disk() + size.Bytes(oneOf[int64](t, "new", 0, 100, s.sector, 1<<20, 5<<30, 3<<40))
		changes := randomChanges(t, s.want(), s.sector, s.limit(int64(newDisk)/s.sector))
		checkGrowth(t, disk, s.sector, newDisk, s.want(), changes, s.allowed(changes))
	})
}

// TestNothingToDo checks that a correct table needs no writes.
func TestNothingToDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomGPT(t)
		s.extra, s.backup = 0, backupGood
		if w := mustGrow(t, mustRead(t, s.build(), size.Bytes(s.sector)), s.disk()); len(w) > 0 {
			t.Fatalf("GPT: %d writes, the first %q", len(w), w[0].What)
		}
		m := randomMBR(t)
		if w := mustGrow(t, mustRead(t, m.build(), size.Bytes(m.sector)), m.disk()+10<<30); len(w) > 0 {
			t.Fatalf("MBR: %d writes, the first %q", len(w), w[0].What)
		}
	})
}

// checkGrowth checks the invariants that GPT and MBR have in common, and returns the
// grown disk.
func checkGrowth(t *rapid.T, disk *image, sector int64, newDisk size.Bytes,
	want []table.Partition, changes []table.Change, allowed []span) *image {
	before := mustRead(t, disk, size.Bytes(sector))
	if diff := cmp.Diff(want, before.Partitions, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read (-want +got):\n%s", diff)
	}
	writes := mustGrow(t, before, newDisk, changes...)
	after := disk.apply(t, newDisk, writes)
	checkAllowed(t, disk, after, allowed)
	checkMinimal(t, disk, newDisk, writes, size.Bytes(sector), allowed)

	got := mustRead(t, after, size.Bytes(sector))
	if err := got.Err(); err != nil {
		t.Fatalf("after growing: %v", err)
	}
	checkPartitions(t, want, got, changes)
	if got.ID != before.ID || got.Hybrid != before.Hybrid {
		t.Fatalf("the identity changed: %s, %s", before.ID, got.ID)
	}
	grown, err := before.Grown(newDisk, changes)
	if err != nil {
		t.Fatalf("grown: %v", err)
	}
	if diff := cmp.Diff(got, grown, cmpopts.IgnoreUnexported(table.Table{})); diff != "" || got.Fingerprint() != grown.Fingerprint() {
		t.Fatalf("Grown is not what is read from the disk:\n%s", diff)
	}
	if again := mustGrow(t, got, newDisk, changes...); len(again) > 0 {
		t.Fatalf("growing again writes %q", again[0].What)
	}
	checkPowerCuts(t, disk, after, size.Bytes(sector), writes, changes)
	return after
}

// checkPartitions fails the test unless all partitions are as wanted, except for the
// ends in changes and an extended partition around a grown logical one.
func checkPartitions(t *rapid.T, want []table.Partition, got *table.Table, changes []table.Change) {
	ends, farthest := map[int]size.Bytes{}, size.Bytes(0)
	for _, c := range changes {
		ends[c.Number] = c.End
		if c.Number > 4 {
			farthest = max(farthest, c.End)
		}
	}
	expected := append([]table.Partition(nil), want...)
	for i, p := range expected {
		switch end, ok := ends[p.Number]; {
		case ok:
			expected[i].Size = end - p.Start
		case p.Role == table.Extended:
			expected[i].Size = max(p.End(), farthest) - p.Start
		}
	}
	if diff := cmp.Diff(expected, got.Partitions, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("after growing (-want +got):\n%s", diff)
	}
}

// checkMinimal fails the test unless the writes are whole sectors inside the new disk,
// and each of them changes something. The only exception is the new place of the backup,
// whose old content is unknown; it is the only allowed span of more than a sector.
func checkMinimal(t *rapid.T, disk *image, newDisk size.Bytes, writes []table.Write, sector size.Bytes, allowed []span) {
	old := disk.resized(newDisk)
	for _, w := range writes {
		if w.Offset%sector != 0 || size.Bytes(len(w.Data))%sector != 0 || len(w.Data) == 0 {
			t.Fatalf("%s: %d bytes at %d are not whole sectors", w.What, len(w.Data), w.Offset)
		}
		for i := size.Bytes(0); i < size.Bytes(len(w.Data)); i += sector {
			at, fresh := w.Offset+i, false
			for _, s := range allowed {
				fresh = fresh || s.to-s.from >= sector && s.from <= at && at < s.to
			}
			if !fresh && bytes.Equal(old.get(at, int(sector)), w.Data[i:i+sector]) {
				t.Fatalf("%s: the sector at %d is written and does not change", w.What, at)
			}
		}
	}
}

// checkPowerCuts fails the test unless, after each prefix of the writes, there is a
// table in which every partition has its old or its new end, and growing again completes
// it. The one exception is between the entries and the header of the primary GPT; then
// the backup at the end of the disk is the complete new table.
func checkPowerCuts(t *rapid.T, disk, after *image, sector size.Bytes, writes []table.Write, changes []table.Change) {
	full := mustRead(t, after, sector)
	for n := range writes {
		cut := disk.apply(t, size.Bytes(after.size), writes[:n])
		got := mustRead(t, cut, sector)
		if got.Err() != nil {
			if diff := cmp.Diff(full.Partitions, got.Partitions); diff != "" || writes[n-1].What != "primary GPT entries" {
				t.Fatalf("after %d of %d writes: %v\n%s", n, len(writes), got.Err(), diff)
			}
			continue
		}
		done := cut.apply(t, size.Bytes(after.size), mustGrow(t, got, size.Bytes(after.size), changes...))
		if diff := differences(after, done); len(diff) > 0 && !onlyBackup(diff, full, after) {
			t.Fatalf("growing after %d of %d writes differs at %v", n, len(writes), diff)
		}
	}
}

// onlyBackup reports whether all differences are in the header of the backup. A backup
// is made from the old one if that exists, otherwise from the primary.
func onlyBackup(diff []size.Bytes, full *table.Table, after *image) bool {
	return full.Kind == table.GPT && diff[0] >= size.Bytes(after.size).Down(full.SectorSize)-full.SectorSize
}

// limit returns the largest possible end of each partition on a disk of that many
// sectors.
func (s gptSpec) limit(sectors int64) func(table.Partition) size.Bytes {
	return func(p table.Partition) size.Bytes {
		end := size.Bytes((sectors - 1 - s.arraySectors()) * s.sector)
		for _, other := range s.want() {
			if other.Start >= p.End() {
				end = min(end, other.Start)
			}
		}
		return end
	}
}

// allowed returns the bytes of a GPT that growing may change.
func (s gptSpec) allowed(sectors int64, changes []table.Change) []span {
	at := func(lba int64, from, to int) span {
		return span{size.Bytes(lba*s.sector + int64(from)), size.Bytes(lba*s.sector + int64(to))}
	}
	header := func(lba int64) []span {
		return []span{at(lba, 16, 20), at(lba, 32, 40), at(lba, 48, 56), at(lba, 88, 92)}
	}
	entries := func(lba int64) (spans []span) {
		for _, c := range changes {
			e := (c.Number - 1) * s.entrySize
			spans = append(spans, at(lba, e+40, e+48))
		}
		return spans
	}
	spans := append(header(1), entries(2)...)
	moved := sectors != s.sectors
	if moved || s.backup != backupGood {
		spans = append(spans, at(sectors-1-s.arraySectors(), 0, int((1+s.arraySectors())*s.sector)))
	} else {
		spans = append(append(spans, header(sectors-1)...), entries(sectors-1-s.arraySectors())...)
	}
	switch {
	case moved && s.pmbr == pmbrStandard:
		spans = append(spans, at(0, 446+12, 446+16))
	case moved && s.pmbr == pmbrSlot3:
		spans = append(spans, at(0, 446+32+12, 446+32+16))
	}
	return spans
}

// checkGPTBytes checks both copies without the package.
func checkGPTBytes(t *rapid.T, s gptSpec, m *image, sectors int64) {
	last, n := sectors-1, s.arraySectors()
	primary := m.get(size.Bytes(s.sector), int(s.sector))
	backup := m.get(size.Bytes(last*s.sector), int(s.sector))
	for _, h := range [][]byte{primary, backup} {
		sealed := bytes.Clone(h)
		sealHeader(sealed)
		if !bytes.Equal(h, sealed) {
			t.Fatalf("the checksum of the header at %d is wrong", le.Uint64(h[24:]))
		}
		array := m.get(size.Bytes(int64(le.Uint64(h[72:]))*s.sector), s.entries*s.entrySize)
		if le.Uint32(h[88:]) != crc32.ChecksumIEEE(array) {
			t.Fatalf("the checksum of the entries of the header at %d is wrong", le.Uint64(h[24:]))
		}
	}
	fields := [][4]int64{ // offset, width, primary, backup
		{24, 8, 1, last}, {32, 8, last, 1}, {40, 8, s.firstUsable(), s.firstUsable()},
		{48, 8, last - n - 1, last - n - 1}, {72, 8, 2, last - n},
	}
	for _, f := range fields {
		if p, b := int64(le.Uint64(primary[f[0]:])), int64(le.Uint64(backup[f[0]:])); p != f[2] || b != f[3] {
			t.Fatalf("header field at %d: primary %d, backup %d, want %d and %d", f[0], p, b, f[2], f[3])
		}
	}
	if s.backup == backupGood && s.noise != 0 && backup[20] != s.noise+1 {
		t.Fatalf("the backup's own reserved byte changed to %#x", backup[20])
	}
	if tail := s.headerSize; !bytes.Equal(primary[92:], backup[92:]) || tail < len(backup) && backup[tail] != s.noise {
		t.Fatalf("bytes behind the header's known fields changed")
	}
}

// limit returns the largest possible end of each partition.
func (s mbrSpec) limit(sectors int64) func(table.Partition) size.Bytes {
	ext, _ := s.extended()
	return func(p table.Partition) size.Bytes {
		end, from := min(sectors, 1<<32), int64(p.End())/s.sector
		if p.Role == table.Logical {
			for _, l := range s.logicals {
				if l.ebr >= from {
					end = min(end, l.ebr)
				}
			}
			from = ext.start + ext.count
		}
		inside := end < from // before another logical partition
		for _, other := range s.parts {
			if other.start >= from && !inside {
				end = min(end, other.start)
			}
		}
		return size.Bytes(max(end, int64(p.End())/s.sector) * s.sector)
	}
}

// allowed returns the bytes of an MBR that growing may change.
func (s mbrSpec) allowed(changes []table.Change) []span {
	var spans []span
	entry := func(lba int64, slot int) {
		at := size.Bytes(lba*s.sector + 446 + 16*int64(slot))
		spans = append(spans, span{at + 12, at + 16})
		if s.chs == chsLBA || s.chs == chsQEMU {
			spans = append(spans, span{at + 5, at + 8})
		}
	}
	ext, _ := s.extended()
	for _, c := range changes {
		if c.Number <= 4 {
			entry(0, c.Number-1)
			continue
		}
		i := c.Number - 5
		entry(s.logicals[i].ebr, 0)
		entry(0, ext.number-1)
		if i > 0 {
			entry(s.logicals[i-1].ebr, max(s.logicals[i-1].linkSlot, 1))
		}
	}
	return spans
}
