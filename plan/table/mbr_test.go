package table_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

func TestReadMBR(t *testing.T) {
	s := plainMBR()
	got := mustRead(t, s.build(), 512)
	if diff := cmp.Diff(s.want(), got.Partitions); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Kind != table.MBR || got.ID != "0xcafef00d" || got.Problems != nil {
		t.Errorf("kind %s, ID %s, problems %v", got.Kind, got.ID, got.Problems)
	}
}

// TestNotATable checks sectors that end in 0x55AA but have no partition table.
func TestNotATable(t *testing.T) {
	entry := mbrEntryBytes(chsLBA, true, 0x83, 0, 2048, 2048)
	sector := func(spoil func(b []byte)) []byte {
		b := make([]byte, 512)
		b[510], b[511] = 0x55, 0xAA
		spoil(b)
		return b
	}
	text := strings.Repeat("Remove disks or other media. Press any key to restart. ", 9)
	for name, b := range map[string][]byte{
		"zeros":               make([]byte, 512),
		"no entries":          sector(func([]byte) {}),
		"no signature":        sector(func(b []byte) { copy(b[446:], entry); b[511] = 0 }),
		"sizes 0":             sector(func(b []byte) { copy(b[446:], entry[:12]) }),
		"types 0":             sector(func(b []byte) { copy(b[446:], entry); b[450] = 0 }),
		"boot code and text":  sector(func(b []byte) { copy(b[62:510], text) }),
		"odd boot indicator":  sector(func(b []byte) { copy(b[446:], entry); b[446+48] = 0x20 }),
		"NTFS":                sector(func(b []byte) { copy(b[3:], "NTFS    "); copy(b[84:510], text) }),
		"FAT32, empty":        sector(func(b []byte) { copy(b[0x52:], "FAT32   ") }),
		"FAT16, entry beyond": sector(func(b []byte) { copy(b[0x36:], "FAT16   "); copy(b[446:], entry); b[446+15] = 0xFF }),
		"exFAT, at sector 0":  sector(func(b []byte) { copy(b[3:], "EXFAT   "); copy(b[446:], entry); clear(b[454:458]) }),
		"FAT, overlapping":    sector(func(b []byte) { copy(b[0x36:], "FAT12   "); copy(b[446:], entry); copy(b[462:], entry) }),
		"BitLocker":           sector(func(b []byte) { copy(b[3:], "-FVE-FS-"); copy(b[90:510], text) }),
	} {
		m := newImage(64 * size.MiB)
		m.put(0, b)
		if tab, err := table.Read(m, 64*size.MiB, 512); !errors.Is(err, table.ErrNoTable) {
			t.Errorf("%s: %v, %v", name, tab, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	if _, err := table.Read(newImage(size.MiB), size.MiB, 520); !errors.Is(err, table.ErrSectorSize) {
		t.Errorf("sectors of 520 bytes: %v", err)
	}
	for _, disk := range []size.Bytes{-1, 0, 511, 512, 1023} {
		if _, err := table.Read(newImage(disk), disk, 512); !errors.Is(err, table.ErrNoTable) {
			t.Errorf("a disk of %d bytes: %v", disk, err)
		}
	}
	if _, err := table.Read(newImage(100), size.MiB, 512); err == nil || errors.Is(err, table.ErrNoTable) {
		t.Errorf("a disk that cannot be read: %v", err)
	}
	if _, err := table.Read(newImage(1024), 1024, 512); !errors.Is(err, table.ErrNoTable) {
		t.Errorf("two sectors of zeros: %v", err)
	}
	for n := size.Bytes(512); n < 40*512; n += 512 { // a disk that is smaller than its table
		m := newImage(n)
		m.put(0, plainGPT().build().get(0, int(n)))
		if tab, err := table.Read(m, n, 512); err == nil && tab.Err() == nil {
			t.Errorf("a GPT on a disk of %d bytes is fine", n)
		}
	}
}

func TestMBRProblems(t *testing.T) {
	const ext, second = 30720 * 512, 43008 * 512
	for _, c := range []struct {
		name  string
		spoil func(*image)
		codes []string
		parts int
	}{
		{"partition beyond the end", poke(446+15, 0xFF), []string{"beyond-end", "overlap", "overlap"}, 5},
		{"partitions overlap", poke(446+14, 1), []string{"overlap", "overlap"}, 5},
		{"partition at sector 0", poke(446+8, 0, 0), []string{"overlap"}, 5},
		{"two extended", poke(462+4, 0x0F), []string{"extended-many"}, 5},
		{"second link leads to the first EBR", func(m *image) {
			m.put(second+462, mbrEntryBytes(chsLBA, false, 5, 0, 0, 100))
		}, []string{"ebr-loop"}, 5},
		{"link outside", poke(ext+462+8, 0xFF, 0xFF, 0xFF, 0xFF), []string{"ebr-outside"}, 4},
		{"link to nothing", poke(ext+462+8, 1), []string{"ebr-signature"}, 4},
		{"second EBR spoilt", poke(second+510, 0), []string{"ebr-signature"}, 4},
		{"first EBR empty", poke(ext, make([]byte, 512)...), nil, 3},
		{"logical outside", poke(second+446+14, 0x0F), []string{"beyond-end", "logical-outside"}, 5},
		{"logical on its EBR", poke(ext+446+8, 0, 0), []string{"overlap"}, 5},
		{"logical on the next", poke(ext+446+13, 0xF0), []string{"overlap", "overlap"}, 5},
		{"disk shorter than the EBRs", func(m *image) { m.size = 30720 * 512 }, []string{"beyond-end"}, 3},
		{"FAT as well", poke(0x36, []byte("FAT16")...), []string{"file-system-too"}, 5},
		{"remains of a GPT", func(m *image) {
			m.put(512, plainGPT().build().get(512, 512))
		}, []string{"stale-gpt"}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := plainMBR().build()
			c.spoil(m)
			got := mustRead(t, m, 512)
			if diff := cmp.Diff(c.codes, codes(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s%v", diff, got.Problems)
			}
			if len(got.Partitions) != c.parts {
				t.Errorf("%d partitions", len(got.Partitions))
			}
			got.Free()
			_, err := got.Grow(128*size.MiB, nil)
			if harmless := c.codes == nil || c.codes[0] == "stale-gpt"; harmless != (err == nil) {
				t.Errorf("grow: %v", err)
			}
		})
	}
}

// TestLongChains checks the limits of Linux: partition numbers up to 255, and 100 links
// without a partition.
func TestLongChains(t *testing.T) {
	chain := func(n int, typ byte) *table.Table {
		s := mbrSpec{sector: 512, sectors: 1 << 20, chs: chsLBA, parts: []mbrPart{{1, 0x0F, false, 1, 1<<20 - 1}}}
		for i := range int64(n) {
			s.logicals = append(s.logicals, mbrLogical{ebr: 1 + 4*i, typ: typ, start: 2 + 4*i, count: 2})
		}
		m := s.build()
		if typ == 0 {
			for _, l := range s.logicals {
				m.put(size.Bytes(l.ebr*512+446), make([]byte, 16))
			}
		}
		return mustRead(t, m, 512)
	}
	for _, c := range []struct {
		n     int
		typ   byte
		parts int
		codes []string
	}{
		{251, 0x83, 252, nil}, {252, 0x83, 252, []string{"ebr-limit"}},
		{100, 0, 1, nil}, {200, 0, 1, []string{"ebr-limit"}},
	} {
		got := chain(c.n, c.typ)
		if diff := cmp.Diff(c.codes, codes(got)); diff != "" || len(got.Partitions) != c.parts {
			t.Errorf("%d links of type %#x: %d partitions, problems:\n%s", c.n, c.typ, len(got.Partitions), diff)
		}
	}
}

// TestIgnoredEntryComesAlive checks that a growth is refused if it makes a third entry
// of an EBR valid. Linux ignores such an entry while it points behind the extended
// partition.
func TestIgnoredEntryComesAlive(t *testing.T) {
	s := plainMBR()
	m := s.build()
	m.put(43008*512+446+32, mbrEntryBytes(chsLBA, false, 0x83, 43008, 96256, 4096))
	tab := mustRead(t, m, 512)
	if diff := cmp.Diff(s.want(), tab.Partitions); diff != "" {
		t.Fatal(diff)
	}
	if _, err := tab.Grow(128*size.MiB, []table.Change{{Number: 6, End: 46 * size.MiB}}); err != nil {
		t.Errorf("inside: %v", err)
	}
	if _, err := tab.Grow(128*size.MiB, []table.Change{{Number: 6, End: 100 * size.MiB}}); !errors.Is(err, table.ErrDamaged) {
		t.Errorf("over the ignored entry: %v", err)
	}
}

// TestMBRWrites checks that sectors are written from the outermost table inwards, and
// checks the CHS ends.
func TestMBRWrites(t *testing.T) {
	m := plainMBR().build()
	writes := mustGrow(t, mustRead(t, m, 512), 10*size.GiB,
		table.Change{Number: 2, End: 15 * size.MiB}, table.Change{Number: 6, End: 9 * size.GiB})
	var got []string
	for _, w := range writes {
		got = append(got, fmt.Sprintf("%s: %d at sector %d", w.What, len(w.Data), w.Offset/512))
	}
	want := []string{"MBR: 512 at sector 0", "extended boot record: 512 at sector 30720", "extended boot record: 512 at sector 43008"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	mbr := writes[0].Data
	if diff := cmp.Diff(chsBytes(chsLBA, 30719), mbr[462+5:462+8]); diff != "" {
		t.Errorf("end of partition 2 in CHS: %s", diff)
	}
	if diff := cmp.Diff([]byte{0xFE, 0xFF, 0xFF}, mbr[494+5:494+8]); diff != "" {
		t.Errorf("end of the extended partition in CHS: %s", diff)
	}
}

// TestCHS checks that the end in CHS is updated if it agreed with the disk, up to the
// last cylinder that fits, and that all else is unchanged.
func TestCHS(t *testing.T) {
	const cylinder = 255 * 63
	end := func(style chsStyle, spoil func(*image), lba int64) []byte {
		s := plainMBR()
		s.chs = style
		s.parts, s.logicals = s.parts[:2], nil
		m := s.build()
		spoil(m)
		after := m.apply(t, 10*size.GiB, mustGrow(t, mustRead(t, m, 512), 10*size.GiB, table.Change{Number: 2, End: size.Bytes(lba+1) * 512}))
		return after.get(462+5, 3)
	}
	keep := func(*image) {}
	for _, style := range []chsStyle{chsLBA, chsQEMU, chsSat, chsZero} {
		for _, lba := range []int64{30719, 1023*16*63 - 1, 1024*16*63 - 1, 1024 * 16 * 63, 1023*cylinder + 5, 1024*cylinder - 1, 1024 * cylinder} {
			if diff := cmp.Diff(chsBytes(style, lba), end(style, keep, lba)); diff != "" {
				t.Errorf("%s, end at %d:\n%s", style, lba, diff)
			}
		}
	}
	if diff := cmp.Diff(chsBytes(chsLBA, 20479), end(chsLBA, poke(462+1, 1, 2, 3), 30719)); diff != "" {
		t.Errorf("the end changed although the start agrees with no geometry:\n%s", diff)
	}
	if diff := cmp.Diff([]byte{1, 2, 3}, end(chsLBA, poke(462+5, 1, 2, 3), 30719)); diff != "" {
		t.Errorf("an odd end changed:\n%s", diff)
	}
}

func TestTypeName(t *testing.T) {
	for _, c := range []struct {
		kind      table.Kind
		typ, want string
	}{
		{table.GPT, table.GPTESP, "EFI system"}, {table.GPT, table.GPTWinRE, "Windows recovery"},
		{table.GPT, table.GPTStorageSpaces, "Storage Spaces"}, {table.MBR, "0x42", "LDM"},
		{table.MBR, "0x0f", "extended"}, {table.MBR, "0x8e", "Linux LVM"}, {table.MBR, "0x99", "0x99"},
	} {
		if got := table.TypeName(c.kind, c.typ); got != c.want {
			t.Errorf("%s %s: %q", c.kind, c.typ, got)
		}
	}
}
