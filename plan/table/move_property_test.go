package table_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// As for growth, the expected disk is built from a description of the layout after the
// change, without the package.

func TestMoveGPTProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomGPT(t)
		disk := s.build()
		newDisk := s.disk() + size.Bytes(oneOf[int64](t, "new", 0, 0, s.sector, 40*s.sector, 1<<20, 5<<30))
		sectors := int64(newDisk) / s.sector
		want, changes := s.rearrange(t, sectors)
		writes, after := checkMove(t, disk, s.sector, newDisk, want.want(), changes)
		checkAllowed(t, disk, after, s.allowedMoves(sectors, want, changes))
		checkGPTBytes(t, s, after, sectors)
		if !bytes.Equal(want.array(), after.get(size.Bytes(2*s.sector), s.entries*s.entrySize)) {
			t.Fatal("the entries are not those of the new layout")
		}
		checkCutGPT(t, disk, after, size.Bytes(s.sector), writes)
	})
}

// allowedMoves returns the bytes of a GPT that moving and deleting may change.
func (s gptSpec) allowedMoves(sectors int64, want gptSpec, changes []table.Change) []span {
	spans := s.allowed(sectors, changes)
	copies := []int64{2}
	if sectors == s.sectors {
		copies = append(copies, sectors-1-s.arraySectors())
	}
	for _, c := range changes {
		from, to := 32, 48
		if c.Delete {
			from, to = 0, s.entrySize
		}
		for _, lba := range copies {
			at := size.Bytes(lba*s.sector + int64((c.Number-1)*s.entrySize))
			spans = append(spans, span{at + size.Bytes(from), at + size.Bytes(to)})
		}
	}
	return spans
}

// checkCutGPT fails the test unless after each write every copy that a guest would use
// is the old table or the new one.
func checkCutGPT(t *rapid.T, disk, after *image, sector size.Bytes, writes []table.Write) {
	before, full := mustRead(t, disk, sector), mustRead(t, after, sector)
	for n := range writes {
		cut := mustRead(t, disk.apply(t, size.Bytes(after.size), writes[:n]), sector)
		isNew := cmp.Equal(full.Partitions, cut.Partitions, cmpopts.EquateEmpty())
		isOld := cmp.Equal(before.Partitions, cut.Partitions, cmpopts.EquateEmpty()) && cut.Err() == nil
		if !isOld && !isNew || cut.Err() != nil && writes[n-1].What != "primary GPT entries" {
			t.Fatalf("after %d of %d writes: %v, %v", n, len(writes), cut.Err(), cut.Partitions)
		}
	}
}

func TestMoveMBRProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomMBR(t)
		disk := s.build()
		newDisk := s.disk() + size.Bytes(oneOf[int64](t, "new", 0, 100, s.sector, 1<<20, 5<<30, 3<<40))
		want, changes := s.rearrange(t, int64(newDisk)/s.sector)
		writes, after := checkMove(t, disk, s.sector, newDisk, want.want(), changes)
		expected := disk.resized(newDisk)
		s.putTable(expected, want)
		s.ignoreCHS(after, want)
		s.ignoreCHS(expected, want)
		if diff := differences(expected, after); len(diff) > 0 {
			t.Fatalf("%v: byte %d in sector %d is %x, want %x", changes, int64(diff[0])%s.sector, int64(diff[0])/s.sector,
				after.get(diff[0], 1), expected.get(diff[0], 1))
		}
		s.checkCut(t, disk, size.Bytes(s.sector), newDisk, want, writes, changes)
	})
}

// putTable replaces the sectors of the old table by those of the new one. The EBR of an
// only logical partition is kept when that is deleted.
func (s mbrSpec) putTable(m *image, want mbrSpec) {
	built := want.build()
	sector := func(lba int64) { m.put(size.Bytes(lba*s.sector), built.get(size.Bytes(lba*s.sector), int(s.sector))) }
	sector(0)
	for _, l := range want.logicals {
		sector(l.ebr)
	}
	old, _ := s.extended()
	now, ok := want.extended()
	if !ok || len(want.logicals) > 0 {
		return
	}
	head := m.get(size.Bytes(old.start*s.sector), int(s.sector))
	if len(s.logicals) > 0 {
		clear(head[446 : 446+64])
	}
	m.put(size.Bytes(now.start*s.sector), head)
}

// ignoreCHS clears the addresses if the geometry is ambiguous, because those of a small
// partition may also fit another geometry.
func (s mbrSpec) ignoreCHS(m *image, want mbrSpec) {
	if s.chs != chsQEMU {
		return
	}
	sectors := []int64{0}
	for _, l := range want.logicals {
		sectors = append(sectors, l.ebr)
	}
	for _, lba := range sectors {
		for e := range int64(4) {
			at := size.Bytes(lba*s.sector + 446 + 16*e)
			m.put(at+1, make([]byte, 3))
			m.put(at+5, make([]byte, 3))
		}
	}
}

// checkCut fails the test unless, where Grow guarantees it, the table after each write
// has every partition at its old or its new place.
func (s mbrSpec) checkCut(t *rapid.T, disk *image, sector, newDisk size.Bytes, want mbrSpec, writes []table.Write, changes []table.Change) {
	logicals := 0
	for _, c := range changes {
		if c.Number > 4 {
			logicals++
		}
	}
	old, _ := s.extended()
	now, ok := want.extended()
	if logicals > 1 && (!ok || now.start == old.start) || s.reusesEBR(want) {
		return
	}
	for n := range writes {
		cut := mustRead(t, disk.apply(t, newDisk, writes[:n]), sector)
		if cut.Err() != nil {
			t.Fatalf("after %d of %d writes: %v", n, len(writes), cut.Err())
		}
		for _, p := range cut.Partitions {
			if !hasPartition(s.want(), p) && !hasPartition(want.want(), p) {
				t.Fatalf("after %d of %d writes: %+v", n, len(writes), p)
			}
		}
	}
}

func hasPartition(list []table.Partition, p table.Partition) bool {
	for _, other := range list {
		if other == p {
			return true
		}
	}
	return false
}

// reusesEBR reports whether an EBR is moved to the place of another one.
func (s mbrSpec) reusesEBR(want mbrSpec) bool {
	was := map[int64]int{}
	for i, l := range s.logicals {
		was[l.ebr] = i
	}
	for i, l := range want.logicals {
		if j, ok := was[l.ebr]; ok && i != j {
			return true
		}
	}
	now, ok := want.extended()
	j, reused := was[now.start]
	return ok && reused && j > 0
}

// checkMove checks the invariants that GPT and MBR have in common.
func checkMove(t *rapid.T, disk *image, sector int64, newDisk size.Bytes,
	want []table.Partition, changes []table.Change) ([]table.Write, *image) {
	before := mustRead(t, disk, size.Bytes(sector))
	writes := mustGrow(t, before, newDisk, changes...)
	after := disk.apply(t, newDisk, writes)
	got := mustRead(t, after, size.Bytes(sector))
	if diff := cmp.Diff(want, got.Partitions, cmpopts.EquateEmpty()); diff != "" || got.Err() != nil {
		t.Fatalf("after %v: %v (-want +got):\n%s", changes, got.Err(), diff)
	}
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
		t.Fatalf("moving again writes %q", again[0].What)
	}
	checkDataSpared(t, got, writes)
	return writes, after
}

// checkDataSpared fails the test if the writes overwrite a partition, because data has
// been copied to its new place before the table is written.
func checkDataSpared(t fataler, got *table.Table, writes []table.Write) {
	t.Helper()
	for _, w := range writes {
		for _, p := range got.Partitions {
			if p.Role != table.Extended && w.Offset < p.End() && p.Start < w.Offset+size.Bytes(len(w.Data)) {
				t.Fatalf("%s at byte %d is written over partition %d", w.What, w.Offset, p.Number)
			}
		}
	}
}
