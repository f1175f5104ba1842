package table_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// cloudGPT has the partition numbers of Ubuntu's cloud images: 14 and 15 are before 1.
func cloudGPT() gptSpec {
	s := plainGPT()
	s.parts = []gptPart{
		{14, guidBytes(table.GPTBIOSBoot), [16]byte{1}, 2048, 10239, 0, ""},
		{15, guidBytes(table.GPTESP), [16]byte{2}, 10240, 32767, 0, "UEFI"},
		{1, guidBytes(table.GPTLinux), [16]byte{3}, 32768, 100000, 1 << 63, "cloudimg-rootfs"},
	}
	return s
}

func TestReadGPT(t *testing.T) {
	for name, s := range map[string]gptSpec{"plain": plainGPT(), "cloud": cloudGPT()} {
		t.Run(name, func(t *testing.T) {
			got := mustRead(t, s.build(), 512)
			if diff := cmp.Diff(s.want(), got.Partitions); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Kind != table.GPT || got.ID != "11112222-3333-4444-5555-666677778888" || got.Problems != nil {
				t.Errorf("kind %s, ID %s, problems %v", got.Kind, got.ID, got.Problems)
			}
		})
	}
}

// edit changes a field of the header at an LBA and repairs its checksum.
func edit(lba int64, change func(h []byte)) func(*image) {
	return func(m *image) {
		h := m.get(size.Bytes(lba*512), 512)
		change(h)
		sealHeader(h)
		m.put(size.Bytes(lba*512), h)
	}
}

func poke(at size.Bytes, data ...byte) func(*image) {
	return func(m *image) { m.put(at, data) }
}

const lastLBA = 131071 // of plainGPT

func TestGPTProblems(t *testing.T) {
	entry := func(number int, change func(e []byte)) func(*image) {
		return func(m *image) {
			array := m.get(1024, 16384)
			change(array[128*(number-1):])
			m.put(1024, array)
			m.put((lastLBA-32)*512, array)
			sealAt(m, 512, 512)
			sealAt(m, lastLBA*512, 512)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*image)
		codes []string
		fatal bool
		parts int
	}{
		{"primary signature", poke(512, 'X'), []string{"primary-missing", "backup-intact"}, true, 2},
		{"primary checksum", poke(512+56, 0xFF), []string{"primary-header-crc", "backup-intact"}, true, 2},
		{"primary in the wrong place", edit(1, func(h []byte) { h[24] = 2 }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"primary entries", poke(1024+60, 0xFF), []string{"primary-entries-crc", "backup-intact"}, true, 2},
		{"header size 0", edit(1, func(h []byte) { le.PutUint32(h[12:], 0) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"header size 2^32-1", edit(1, func(h []byte) { le.PutUint32(h[12:], 1<<32-1) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"2^32-1 entries", edit(1, func(h []byte) { le.PutUint32(h[80:], 1<<32-1) }), []string{"too-many-entries", "backup-intact"}, true, 2},
		{"entries of 2^31 bytes", edit(1, func(h []byte) { le.PutUint32(h[84:], 1<<31) }), []string{"too-many-entries", "backup-intact"}, true, 2},
		{"entries of 64 bytes", edit(1, func(h []byte) { le.PutUint32(h[84:], 64) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"entries of 192 bytes", edit(1, func(h []byte) { le.PutUint32(h[84:], 192) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"entries at 2^64-1", edit(1, func(h []byte) { le.PutUint64(h[72:], 1<<64-1) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"entries on the header", edit(1, func(h []byte) { le.PutUint64(h[72:], 1) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"usable sectors reversed", edit(1, func(h []byte) { le.PutUint64(h[40:], 1<<40) }), []string{"primary-header-invalid", "backup-intact"}, true, 2},
		{"made for a larger disk", edit(1, func(h []byte) { le.PutUint64(h[48:], 1<<63) }), []string{"disk-truncated", "backup-intact"}, true, 2},
		{"both gone", func(m *image) { m.put(512, []byte{0}); m.put(lastLBA*512, []byte{0}) }, []string{"primary-missing"}, true, 0},
		{"no protective MBR", poke(450, 0), []string{"protective-mbr-missing"}, true, 2},
		{"no MBR at all", poke(510, 0), []string{"protective-mbr-missing"}, true, 2},
		{"protective MBR elsewhere", poke(446+8, 2), []string{"protective-mbr-start"}, false, 2},
		{"backup signature", poke(lastLBA*512, 'X'), []string{"backup-missing"}, false, 2},
		{"backup checksum", poke(lastLBA*512+56, 0xFF), []string{"backup-header-crc"}, false, 2},
		{"backup entries", poke((lastLBA-32)*512, 0xFF), []string{"backup-entries-crc"}, false, 2},
		{"backup entries elsewhere", edit(lastLBA, func(h []byte) { le.PutUint64(h[72:], 5000) }), []string{"backup-header-invalid"}, false, 2},
		{"backup of another disk", edit(lastLBA, func(h []byte) { h[56]++ }), []string{"backup-differs"}, false, 2},
		{"backup expected beyond the disk", edit(1, func(h []byte) { le.PutUint64(h[32:], 1<<62) }), []string{"backup-missing"}, false, 2},
		{"backup expected in a partition", edit(1, func(h []byte) { le.PutUint64(h[32:], 5000) }), []string{"backup-missing"}, false, 2},
		{"partition beyond the end", entry(2, func(e []byte) { le.PutUint64(e[40:], 1<<64-1) }), []string{"beyond-end", "outside-usable"}, true, 2},
		{"partition on the backup", entry(2, func(e []byte) { le.PutUint64(e[40:], lastLBA-32) }), []string{"outside-usable"}, false, 2},
		{"partition on the table", entry(1, func(e []byte) { le.PutUint64(e[32:], 10) }), []string{"outside-usable", "overlap"}, true, 2},
		{"partitions overlap", entry(2, func(e []byte) { le.PutUint64(e[32:], 10000) }), []string{"overlap"}, true, 2},
		{"partition reversed", entry(2, func(e []byte) { le.PutUint64(e[40:], 9000) }), []string{"entry-reversed"}, true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := plainGPT().build()
			c.spoil(m)
			got := mustRead(t, m, 512)
			if diff := cmp.Diff(c.codes, codes(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%v", diff, got.Problems)
			}
			_, err := got.Grow(128*size.MiB, nil)
			if fatal := errors.Is(err, table.ErrDamaged); fatal != c.fatal || !fatal && err != nil {
				t.Errorf("grow: %v", err)
			}
			if len(got.Partitions) != c.parts {
				t.Errorf("%d partitions", len(got.Partitions))
			}
			if c.fatal {
				return
			}
			after := m.apply(t, 128*size.MiB, mustGrow(t, got, 128*size.MiB))
			for _, code := range codes(mustRead(t, after, 512)) {
				if strings.HasPrefix(code, "backup") {
					t.Errorf("after growing: %s", code)
				}
			}
		})
	}
}

// TestBackupOnPartition checks that a partition may overlap the old place of the backup
// if the backup moves away, and that the backup is never written over it.
func TestBackupOnPartition(t *testing.T) {
	s := plainGPT()
	s.parts[1].last = lastLBA - 32
	tab := mustRead(t, s.build(), 512)
	if _, err := tab.Grow(s.disk(), nil); !errors.Is(err, table.ErrNoRoom) {
		t.Errorf("on the same disk: %v", err)
	}
	mustGrow(t, tab, 128*size.MiB)
}

func TestGPTForOtherSectorSize(t *testing.T) {
	s := plainGPT()
	s.sector, s.sectors = 4096, 32768
	s.parts = nil
	if got := table.SniffSectorSize(s.build(), s.disk()); got != 4096 {
		t.Errorf("sniffed %d", got)
	}
	if got := table.SniffSectorSize(plainGPT().build(), plainGPT().disk()); got != 512 {
		t.Errorf("sniffed %d", got)
	}
	if got := table.SniffSectorSize(newImage(100), 100); got != 512 {
		t.Errorf("sniffed %d on a tiny disk", got)
	}
	tab := mustRead(t, s.build(), 512)
	if diff := cmp.Diff([]string{"sector-size"}, codes(tab)); diff != "" {
		t.Error(diff)
	}
}

// TestGPTWrites checks which sectors are written, and in which order.
func TestGPTWrites(t *testing.T) {
	tab := mustRead(t, plainGPT().build(), 512)
	var got []string
	for _, w := range mustGrow(t, tab, 128*size.MiB, table.Change{Number: 2, End: 100 * size.MiB}) {
		got = append(got, fmt.Sprintf("%s: %d at %d", w.What, len(w.Data), w.Offset))
	}
	want := []string{
		"backup GPT entries: 16384 at 134200832",
		"backup GPT header: 512 at 134217216",
		"protective MBR: 512 at 0",
		"primary GPT entries: 512 at 1024",
		"primary GPT header: 512 at 512",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestRepairOnlyWhatIsBroken checks that one sector is written if only the backup header
// of a disk of the right size is damaged.
func TestRepairOnlyWhatIsBroken(t *testing.T) {
	m := plainGPT().build()
	m.put(lastLBA*512+56, []byte{0xFF})
	writes := mustGrow(t, mustRead(t, m, 512), plainGPT().disk())
	if len(writes) != 1 || writes[0].Offset != lastLBA*512 || len(writes[0].Data) != 512 {
		t.Errorf("%v", writes)
	}
}

// TestProtectiveMBR checks that a size that does not fit into 32 bits is 0xFFFFFFFF, and
// that only a size that agreed with the disk is changed.
func TestProtectiveMBR(t *testing.T) {
	for _, c := range []struct {
		style pmbrStyle
		grow  size.Bytes
		want  uint32
		slot  int
	}{
		{pmbrStandard, 128 * size.MiB, 262143, 0},
		{pmbrSlot3, 128 * size.MiB, 262143, 2},
		{pmbrStandard, 3 * size.TiB, 0xFFFFFFFF, 0},
		{pmbrSaturated, 128 * size.MiB, 0xFFFFFFFF, 0},
		{pmbrOdd, 128 * size.MiB, 12345, 0},
		{pmbrHybrid, 128 * size.MiB, 131071, 0},
	} {
		s := plainGPT()
		s.pmbr = c.style
		m := s.build()
		after := m.apply(t, c.grow, mustGrow(t, mustRead(t, m, 512), c.grow))
		want := m.get(0, 512)
		le.PutUint32(want[446+16*c.slot+12:], c.want)
		if !bytes.Equal(want, after.get(0, 512)) {
			t.Errorf("%s, to %s: size %d", c.style, c.grow, le.Uint32(after.get(0, 512)[446+16*c.slot+12:]))
		}
	}
}

// TestProtectiveMBRWasFixed checks a disk that was enlarged, and whose protective MBR
// alone was corrected. The protective MBR is valid, and is updated.
func TestProtectiveMBRWasFixed(t *testing.T) {
	s := plainGPT()
	s.extra = 64 << 20
	m := s.build()
	poke(446+12, 0xFF, 0xFF, 0x03, 0)(m)
	after := m.apply(t, 256*size.MiB, mustGrow(t, mustRead(t, m, 512), 256*size.MiB))
	if got := le.Uint32(after.get(446+12, 4)); got != 256<<11-1 {
		t.Errorf("size %d", got)
	}
}

// TestLayoutStays checks that nothing is corrected on a disk of the same size if a tool
// has left sectors unused before the backup, or data behind an array that ends inside a
// sector.
func TestLayoutStays(t *testing.T) {
	short := plainGPT()
	short.parts[1].last = 100000
	m := short.build()
	for _, lba := range []int64{1, lastLBA} {
		edit(lba, func(h []byte) { le.PutUint64(h[48:], lastLBA-33-8) })(m)
	}
	if end, _, _ := mustRead(t, m, 512).Room(2, short.disk()); end != 63*size.MiB {
		t.Errorf("room up to %d", end)
	}
	full := plainGPT().build() // its partition 2 uses those sectors nevertheless
	for _, lba := range []int64{1, lastLBA} {
		edit(lba, func(h []byte) { le.PutUint64(h[48:], lastLBA-33-8) })(full)
	}
	s := plainGPT()
	s.entries = 13
	slack := s.build()
	slack.put((lastLBA-4)*512+13*128, []byte{1, 2, 3})
	for name, m := range map[string]*image{"unused sectors": m, "used though unusable": full, "array's slack": slack} {
		tab := mustRead(t, m, 512)
		if w := mustGrow(t, tab, plainGPT().disk()); len(w) > 0 {
			t.Errorf("%s: writes %q", name, w[0].What)
		}
	}
	grown := m.apply(t, 128*size.MiB, mustGrow(t, mustRead(t, m, 512), 128*size.MiB))
	if got := mustRead(t, grown, 512); got.Problems != nil {
		t.Errorf("after moving: %v", got.Problems)
	}
}

func TestNoEntries(t *testing.T) {
	s := plainGPT()
	s.parts, s.entries = nil, 0
	m := s.build()
	tab := mustRead(t, m, 512)
	if tab.Partitions != nil || tab.Err() != nil {
		t.Errorf("%v, %v", tab.Partitions, tab.Err())
	}
	after := m.apply(t, 128*size.MiB, mustGrow(t, tab, 128*size.MiB))
	if got := mustRead(t, after, 512); got.Problems != nil {
		t.Errorf("%v", got.Problems)
	}
}

func TestFingerprint(t *testing.T) {
	s := plainGPT()
	m := s.build()
	first := mustRead(t, m, 512).Fingerprint()
	if got := mustRead(t, m.resized(5*size.GiB), 512).Fingerprint(); got != first {
		t.Error("the fingerprint depends on the size of the disk")
	}
	for _, at := range []size.Bytes{0, 440, 458, 512 + 400, 1024 + 60, (lastLBA-32)*512 + 60, lastLBA*512 + 100} {
		spoilt := m.resized(s.disk())
		spoilt.put(at, []byte{0xA5})
		if mustRead(t, spoilt, 512).Fingerprint() == first {
			t.Errorf("the fingerprint does not cover byte %d", at)
		}
	}
	m.put(20<<20, []byte{1})
	if mustRead(t, m, 512).Fingerprint() != first {
		t.Error("the fingerprint covers a partition's content")
	}
}

func TestGPTNumbersKeepTheirOrder(t *testing.T) {
	tab := mustRead(t, cloudGPT().build(), 512)
	grown, err := tab.Grown(128*size.MiB, []table.Change{{Number: 1, End: 120 * size.MiB}})
	if err != nil {
		t.Fatal(err)
	}
	if got := grown.Partitions; got[0].Number != 1 || got[0].End() != 120*size.MiB || got[1] != tab.Partitions[1] || grown.DiskSize != 128*size.MiB {
		t.Errorf("%v", got)
	}
	if slices.Contains(codes(grown), string(table.BackupNotAtEnd)) {
		t.Error("the backup is not at the end")
	}
}
