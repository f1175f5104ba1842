package table_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// places returns "number: start-end" in MiB for each partition.
func places(parts []table.Partition) []string {
	var list []string
	for _, p := range parts {
		list = append(list, fmt.Sprintf("%d: %g-%g", p.Number, mibs(p.Start), mibs(p.End())))
	}
	return list
}

func mibs(b size.Bytes) float64 { return float64(b) / float64(size.MiB) }

// windowsGPT has ESP, MSR, C: and a recovery partition behind it.
func windowsGPT() gptSpec {
	s := plainGPT()
	s.parts = []gptPart{
		{1, guidBytes(table.GPTESP), [16]byte{1}, 2048, 10239, 1 << 63, "EFI"},
		{2, guidBytes(table.GPTMSR), [16]byte{2}, 10240, 12287, 0, "MSR"},
		{3, guidBytes(table.GPTBasicData), [16]byte{3}, 12288, 102399, 0, "C"},
		{4, guidBytes(table.GPTWinRE), [16]byte{4}, 102400, 122879, 1 << 60, "WinRE"},
	}
	return s
}

// behindMBR is plainMBR with a primary partition 3 directly behind the extended one.
func behindMBR() mbrSpec {
	s := plainMBR()
	s.parts = append(s.parts, mbrPart{3, 0x27, false, 96256, 8192})
	return s
}

func TestMove(t *testing.T) {
	const m = size.MiB
	for _, c := range []struct {
		name    string
		image   *image
		changes []table.Change
		want    []string
	}{
		{"recovery partition, C: grows into its place", windowsGPT().build(),
			[]table.Change{{Number: 4, Start: 117 * m, End: 127 * m}, {Number: 3, End: 117 * m}},
			[]string{"1: 1-5", "2: 5-6", "3: 6-117", "4: 117-127"}},
		{"by less than its size", windowsGPT().build(), []table.Change{{Number: 4, Start: 51 * m, End: 61 * m}},
			[]string{"1: 1-5", "2: 5-6", "3: 6-50", "4: 51-61"}},
		{"over others", windowsGPT().build(), []table.Change{{Number: 2, Start: 70 * m, End: 72 * m}},
			[]string{"1: 1-5", "2: 70-72", "3: 6-50", "4: 50-60"}},
		{"into a place that is left", windowsGPT().build(),
			[]table.Change{{Number: 4, Start: 90 * m, End: 100 * m}, {Number: 2, Start: 50 * m, End: 60 * m}},
			[]string{"1: 1-5", "2: 50-60", "3: 6-50", "4: 90-100"}},
		{"delete, another grows into its place", windowsGPT().build(),
			[]table.Change{{Number: 4, Delete: true}, {Number: 3, End: 127 * m}},
			[]string{"1: 1-5", "2: 5-6", "3: 6-127"}},
		{"delete all of a GPT", plainGPT().build(), []table.Change{{Number: 1, Delete: true}, {Number: 2, Delete: true}}, nil},
		{"delete what is not there", plainGPT().build(), []table.Change{{Number: 7, Delete: true}},
			[]string{"1: 1-5", "2: 5-63.98388671875"}},
		{"MBR primaries", behindMBR().build(),
			[]table.Change{{Number: 3, Start: 120 * m, End: 128 * m}, {Number: 2, Start: 100 * m, End: 110 * m}},
			[]string{"1: 1-5", "2: 100-110", "3: 120-128", "4: 15-47", "5: 16-20", "6: 22-26"}},
		{"extended and all in it", behindMBR().build(),
			[]table.Change{{Number: 3, Start: 110 * m, End: 114 * m}, {Number: 4, Start: 30 * m, End: 62 * m}, {Number: 2, End: 30 * m}},
			[]string{"1: 1-5", "2: 5-30", "3: 110-114", "4: 30-62", "5: 31-35", "6: 37-41"}},
		{"extended, and it grows", plainMBR().build(), []table.Change{{Number: 4, Start: 16 * m, End: 128 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 16-128", "5: 17-21", "6: 23-27"}},
		{"extended, and the last logical grows", plainMBR().build(),
			[]table.Change{{Number: 4, Start: 16 * m, End: 48 * m}, {Number: 6, Start: 23 * m, End: 100 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 16-100", "5: 17-21", "6: 23-100"}},
		{"last logical, and the first grows", plainMBR().build(),
			[]table.Change{{Number: 6, Start: 50 * m, End: 54 * m}, {Number: 5, End: 49 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 15-54", "5: 16-49", "6: 50-54"}},
		{"first logical", plainMBR().build(), []table.Change{{Number: 5, Start: 17 * m, End: 21 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 15-47", "5: 17-21", "6: 22-26"}},
		{"first logical behind the last", plainMBR().build(), []table.Change{{Number: 5, Start: 27 * m, End: 31 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 15-47", "5: 27-31", "6: 22-26"}},
		{"delete the last logical", plainMBR().build(), []table.Change{{Number: 6, Delete: true}, {Number: 5, End: 40 * m}},
			[]string{"1: 1-5", "2: 5-10", "4: 15-47", "5: 16-40"}},
		{"delete both logicals", plainMBR().build(), []table.Change{{Number: 5, Delete: true}, {Number: 6, Delete: true}},
			[]string{"1: 1-5", "2: 5-10", "4: 15-47"}},
		{"delete the extended partition and all in it", plainMBR().build(),
			[]table.Change{{Number: 4, Delete: true}, {Number: 6, Delete: true}, {Number: 5, Delete: true}, {Number: 2, End: 100 * m}},
			[]string{"1: 1-5", "2: 5-100"}},
		{"delete a primary", plainMBR().build(), []table.Change{{Number: 2, Delete: true}},
			[]string{"1: 1-5", "4: 15-47", "5: 16-20", "6: 22-26"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := mustRead(t, c.image, 512)
			writes := mustGrow(t, tab, 128*m, c.changes...)
			got := mustRead(t, c.image.apply(t, 128*m, writes), 512)
			if diff := cmp.Diff(c.want, places(got.Partitions)); diff != "" || got.Err() != nil {
				t.Errorf("%v (-want +got):\n%s", got.Err(), diff)
			}
			checkDataSpared(t, got, writes)
			if again := mustGrow(t, got, 128*m, c.changes...); len(again) > 0 {
				t.Errorf("again: writes %q", again[0].What)
			}
		})
	}
}

func TestMoveRefusals(t *testing.T) {
	const m = size.MiB
	shared := func(spoil func(*image)) *image {
		image := plainMBR().build()
		spoil(image)
		return image
	}
	two := shared(func(m *image) { // EBR 2 describes a second partition
		m.put(43008*512+446+32, mbrEntryBytes(chsLBA, false, 0x83, 43008, 53248, 2048))
		m.put(30720*512+462, mbrEntryBytes(chsLBA, false, 0x05, 30720, 43008, 20480))
	})
	third := shared(func(m *image) { // the only partition of EBR 2 is in its entry 3
		m.put(43008*512+446+32, m.get(43008*512+446, 16))
		m.put(43008*512+446, make([]byte, 16))
		m.put(30720*512+462, mbrEntryBytes(chsLBA, false, 0x05, 30720, 43008, 20480))
	})
	hybrid := windowsGPT()
	hybrid.pmbr = pmbrHybrid // lists partition 1
	huge := behindMBR()
	huge.sectors = 1 << 33
	for _, c := range []struct {
		name    string
		image   *image
		changes []table.Change
		want    error
	}{
		{"left", windowsGPT().build(), []table.Change{{Number: 4, Start: 49 * m, End: 60 * m}}, table.ErrMoveLeft},
		{"negative start", windowsGPT().build(), []table.Change{{Number: 4, Start: -m, End: 60 * m}}, table.ErrMoveLeft},
		{"and shrink", windowsGPT().build(), []table.Change{{Number: 4, Start: 60 * m, End: 69 * m}}, table.ErrShrink},
		{"end before start", windowsGPT().build(), []table.Change{{Number: 4, Start: 1 << 62, End: -1 << 62}}, table.ErrShrink},
		{"no end", windowsGPT().build(), []table.Change{{Number: 4, Start: 60 * m}}, table.ErrShrink},
		{"onto a neighbour", windowsGPT().build(), []table.Change{{Number: 2, Start: 49 * m, End: 50 * m}}, table.ErrNoRoom},
		{"onto one that grows", windowsGPT().build(), []table.Change{{Number: 4, Start: 100 * m, End: 110 * m}, {Number: 3, End: 101 * m}}, table.ErrNoRoom},
		{"two to one place", windowsGPT().build(), []table.Change{{Number: 2, Start: 80 * m, End: 81 * m}, {Number: 4, Start: 71 * m, End: 81 * m}}, table.ErrNoRoom},
		{"onto the backup", windowsGPT().build(), []table.Change{{Number: 4, Start: 118 * m, End: 128 * m}}, table.ErrNoRoom},
		{"past the disk", windowsGPT().build(), []table.Change{{Number: 4, Start: 1 << 62, End: 1<<62 + 10*m}}, table.ErrNoRoom},
		{"missing partition", windowsGPT().build(), []table.Change{{Number: 9, Start: 60 * m, End: 70 * m}}, table.ErrNoPartition},
		{"in a hybrid MBR, move", hybrid.build(), []table.Change{{Number: 1, Start: 70 * m, End: 74 * m}}, table.ErrMirrored},
		{"in a hybrid MBR, delete", hybrid.build(), []table.Change{{Number: 1, Delete: true}}, table.ErrMirrored},
		{"past 2 TiB", huge.build(), []table.Change{{Number: 3, Start: 3 * size.TiB, End: 3*size.TiB + 4*m}}, table.ErrMBRLimit},
		{"past 2 TiB and the disk", huge.build(), []table.Change{{Number: 3, Start: 5 * size.TiB, End: 5*size.TiB + 4*m}}, table.ErrNoRoom},
		{"extended onto a primary", behindMBR().build(), []table.Change{{Number: 4, Start: 16 * m, End: 48 * m}}, table.ErrNoRoom},
		{"logical onto an EBR", plainMBR().build(), []table.Change{{Number: 5, Start: 17*m + 512, End: 21*m + 512}}, table.ErrNoRoom},
		{"EBR onto a logical", plainMBR().build(), []table.Change{{Number: 5, End: 21*m + 512}, {Number: 6, Start: 22*m + 512, End: 26*m + 512}}, nil},
		{"EBR onto a grown logical", plainMBR().build(), []table.Change{{Number: 5, End: 21*m + 1024}, {Number: 6, Start: 22*m + 512, End: 26*m + 512}}, table.ErrNoRoom},
		{"logical behind a primary", behindMBR().build(), []table.Change{{Number: 6, Start: 60 * m, End: 64 * m}}, table.ErrNoRoom},
		{"logical left of where it moves along", plainMBR().build(), []table.Change{{Number: 4, Start: 20 * m, End: 52 * m}, {Number: 6, Start: 23 * m, End: 27 * m}}, table.ErrMoveLeft},
		{"logical that shares its EBR", two, []table.Change{{Number: 6, Start: 30 * m, End: 34 * m}}, table.ErrUnusualEBR},
		{"logicals that share an EBR, delete", two, []table.Change{{Number: 7, Delete: true}}, table.ErrUnusualEBR},
		{"logicals that share an EBR, extended", two, []table.Change{{Number: 4, Start: 20 * m, End: 52 * m}}, nil},
		{"logical in the third entry", third, []table.Change{{Number: 6, Start: 30 * m, End: 34 * m}}, table.ErrUnusualEBR},
		{"logical in the middle, delete", plainMBR().build(), []table.Change{{Number: 5, Delete: true}}, table.ErrRenumber},
		{"extended with logicals, delete", plainMBR().build(), []table.Change{{Number: 4, Delete: true}, {Number: 6, Delete: true}}, table.ErrNotEmpty},
		{"the only partition of an MBR", mbrSpec{sector: 512, sectors: 9000, parts: []mbrPart{{1, 0x83, false, 63, 100}}}.build(),
			[]table.Change{{Number: 1, Delete: true}}, table.ErrNoTable},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := max(128*m, size.Bytes(c.image.size))
			if _, err := mustRead(t, c.image, 512).Grow(disk, c.changes); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Error(err)
			}
		})
	}
	for _, changes := range [][]table.Change{
		{{Number: 6, Start: 22*m + 1, End: 30 * m}},
		{{Number: 6, Start: 22 * m, End: 30*m + 1}},
		{{Number: 6, Delete: true}, {Number: 6, Start: 30 * m, End: 34 * m}},
		{{Number: 4, Start: 20 * m, End: 52 * m}, {Number: 6, End: 40 * m}}, // ambiguous start
	} {
		if w, err := mustRead(t, plainMBR().build(), 512).Grow(128*m, changes); err == nil {
			t.Errorf("%v: %v", changes, w)
		}
	}
}

// TestMoveWrites checks that EBRs at new places are written before the links to them,
// and that the old EBRs are kept.
func TestMoveWrites(t *testing.T) {
	m := plainMBR().build()
	for _, c := range []struct {
		change table.Change
		want   []string
	}{
		{table.Change{Number: 4, Start: 20 * size.MiB, End: 52 * size.MiB},
			[]string{"extended boot record at sector 40960", "extended boot record at sector 53248", "MBR at sector 0"}},
		{table.Change{Number: 6, Start: 60 * size.MiB, End: 64 * size.MiB},
			[]string{"extended boot record at sector 120832", "MBR at sector 0", "extended boot record at sector 30720"}},
		{table.Change{Number: 5, Start: 17 * size.MiB, End: 21 * size.MiB}, []string{"extended boot record at sector 30720"}},
		{table.Change{Number: 6, Delete: true}, []string{"extended boot record at sector 30720"}},
		{table.Change{Number: 1, Delete: true}, []string{"MBR at sector 0"}},
	} {
		var got []string
		for _, w := range mustGrow(t, mustRead(t, m, 512), 128*size.MiB, c.change) {
			got = append(got, fmt.Sprintf("%s at sector %d", w.What, w.Offset/512))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.change, diff)
		}
	}
}

// TestMovedEBRIsWritten checks that an EBR is written even where an identical sector was
// read, because copied partitions may have overwritten it since.
func TestMovedEBRIsWritten(t *testing.T) {
	s := plainMBR()
	s.chs = chsZero
	s.logicals[1] = mbrLogical{ebr: 43008, typ: 0x83, start: 45056, count: 8192}
	changes := []table.Change{{Number: 6, Delete: true}, {Number: 4, Start: 21 * size.MiB, End: 60 * size.MiB}}
	writes := mustGrow(t, mustRead(t, s.build(), 512), 64*size.MiB, changes...)
	if len(writes) != 2 || writes[0].Offset != 43008*512 || !bytes.Equal(writes[0].Data, s.build().get(43008*512, 512)) {
		t.Errorf("%v", writes)
	}
}

// TestMoveEmptyExtended checks that data at the new start of an extended partition
// without an EBR is not taken for an EBR.
func TestMoveEmptyExtended(t *testing.T) {
	s := plainMBR()
	s.logicals = nil
	m := s.build()
	m.put(30720*512, bytes.Repeat([]byte("not an EBR "), 46)) // bytes that look like entries
	m.put(40960*512, plainMBR().build().get(43008*512, 512))
	c := table.Change{Number: 4, Start: 20 * size.MiB, End: 60 * size.MiB}
	after := m.apply(t, 64*size.MiB, mustGrow(t, mustRead(t, m, 512), 64*size.MiB, c))
	got := mustRead(t, after, 512)
	if diff := cmp.Diff([]string{"1: 1-5", "2: 5-10", "4: 20-60"}, places(got.Partitions)); diff != "" || got.Err() != nil {
		t.Errorf("%v\n%s", got.Err(), diff)
	}
	if !bytes.Equal(m.get(30720*512, 512), after.get(40960*512, 512)) {
		t.Error("the first sector did not move along")
	}
}

// TestMoveEmptyEBRs checks chains with the EBR, often the first one, of a logical
// partition that was deleted.
func TestMoveEmptyEBRs(t *testing.T) {
	s := plainMBR()
	s.logicals = append(s.logicals, mbrLogical{ebr: 53248, typ: 0x83, start: 55296, count: 2048})
	m := s.build()
	for _, ebr := range []size.Bytes{30720, 53248} { // leaves an EBR in the middle
		m.put(ebr*512+446, make([]byte, 16))
	}
	for _, c := range []struct {
		change table.Change
		want   []string
	}{
		{table.Change{Number: 5, Start: 30 * size.MiB, End: 34 * size.MiB}, []string{"1: 1-5", "2: 5-10", "4: 15-47", "5: 30-34"}},
		{table.Change{Number: 4, Start: 20 * size.MiB, End: 52 * size.MiB}, []string{"1: 1-5", "2: 5-10", "4: 20-52", "5: 27-31"}},
		{table.Change{Number: 5, Delete: true}, []string{"1: 1-5", "2: 5-10", "4: 15-47"}},
	} {
		after := m.apply(t, 64*size.MiB, mustGrow(t, mustRead(t, m, 512), 64*size.MiB, c.change))
		got := mustRead(t, after, 512)
		if diff := cmp.Diff(c.want, places(got.Partitions)); diff != "" || got.Err() != nil {
			t.Errorf("%v: %v\n%s", c.change, got.Err(), diff)
		}
	}
}

// TestMoveCHS checks that both addresses are updated if they agreed with the disk, up to
// the last cylinder that fits, and that all else is unchanged.
func TestMoveCHS(t *testing.T) {
	for _, style := range []chsStyle{chsLBA, chsQEMU, chsSat, chsZero} {
		for _, start := range []int64{20480, 1024*255*63 - 5, 1024 * 255 * 63} {
			s := plainMBR()
			s.chs = style
			s.parts, s.logicals = s.parts[:2], nil
			m := s.build()
			c := table.Change{Number: 2, Start: size.Bytes(start * 512), End: size.Bytes(start+10240) * 512}
			after := m.apply(t, 10*size.GiB, mustGrow(t, mustRead(t, m, 512), 10*size.GiB, c))
			if diff := cmp.Diff(mbrEntryBytes(style, false, 0x83, 0, start, 10240), after.get(462, 16)); diff != "" {
				t.Errorf("%s, start at %d:\n%s", style, start, diff)
			}
		}
	}
}
