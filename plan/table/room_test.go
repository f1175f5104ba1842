package table_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

func TestRoom(t *testing.T) {
	bigMBR := plainMBR()
	bigMBR.parts = append(bigMBR.parts, mbrPart{3, 0x83, false, 98304, 8192}) // behind the extended partition
	bigMBR.logicals[0].count = 10240                                          // up to the next EBR
	bigMBR.sectors = 1 << 33
	for _, c := range []struct {
		name    string
		image   *image
		number  int
		newDisk size.Bytes
		end     size.Bytes
		next    int // 0 for the end of the disk
	}{
		{"GPT, in between", plainGPT().build(), 1, 128 * size.MiB, 5 * size.MiB, 2},
		{"GPT, last, same disk", plainGPT().build(), 2, 64 * size.MiB, 131039 * 512, 0},
		{"GPT, last", plainGPT().build(), 2, 128 * size.MiB, 127 * size.MiB, 0},
		{"GPT, a sector more", plainGPT().build(), 2, 64*size.MiB + 512, 131039 * 512, 0},
		{"GPT, number 1 is last", cloudGPT().build(), 1, 128 * size.MiB, 127 * size.MiB, 0},
		{"GPT, number 15 is not", cloudGPT().build(), 15, 128 * size.MiB, 16 * size.MiB, 1},
		{"MBR, gap", plainMBR().build(), 2, 128 * size.MiB, 15 * size.MiB, 4},
		{"MBR, extended", plainMBR().build(), 4, 128 * size.MiB, 128 * size.MiB, 0},
		{"MBR, logical before an EBR", plainMBR().build(), 5, 128 * size.MiB, 21 * size.MiB, 6},
		{"MBR, last logical", plainMBR().build(), 6, 128 * size.MiB, 128 * size.MiB, 0},
		{"MBR, logical right before an EBR", bigMBR.build(), 5, 4 * size.TiB, 21 * size.MiB, 6},
		{"MBR, last logical before a primary", bigMBR.build(), 6, 4 * size.TiB, 48 * size.MiB, 3},
		{"MBR, last primary, 2 TiB", bigMBR.build(), 3, 5 * size.TiB, 2 * size.TiB, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			end, next, err := mustRead(t, c.image, 512).Room(c.number, c.newDisk)
			if err != nil {
				t.Fatal(err)
			}
			number := 0
			if next != nil {
				number = next.Number
			}
			if end != c.end || number != c.next {
				t.Errorf("up to %d, before %d; want %d, %d", end, number, c.end, c.next)
			}
		})
	}
}

func TestGrowRefusals(t *testing.T) {
	huge := plainMBR()
	huge.sectors = 1 << 33
	for _, c := range []struct {
		name    string
		image   *image
		newDisk size.Bytes
		change  table.Change
		want    error
	}{
		{"smaller disk", plainGPT().build(), 63 * size.MiB, table.Change{}, table.ErrShrink},
		{"no such partition", plainGPT().build(), 128 * size.MiB, table.Change{Number: 3, End: 9 * size.MiB}, table.ErrNoPartition},
		{"smaller partition", plainGPT().build(), 128 * size.MiB, table.Change{Number: 1, End: 4 * size.MiB}, table.ErrShrink},
		{"over the neighbour", plainGPT().build(), 128 * size.MiB, table.Change{Number: 1, End: 6 * size.MiB}, table.ErrNoRoom},
		{"over the backup", plainGPT().build(), 128 * size.MiB, table.Change{Number: 2, End: 128 * size.MiB}, table.ErrNoRoom},
		{"over the next EBR", plainMBR().build(), 128 * size.MiB, table.Change{Number: 5, End: 21*size.MiB + 512}, table.ErrNoRoom},
		{"past 2 TiB", huge.build(), 4 * size.TiB, table.Change{Number: 6, End: 3 * size.TiB}, table.ErrMBRLimit},
		{"past the disk", huge.build(), 4 * size.TiB, table.Change{Number: 6, End: 5 * size.TiB}, table.ErrNoRoom},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := mustRead(t, c.image, 512)
			var changes []table.Change
			if c.change.Number != 0 {
				changes = append(changes, c.change)
			}
			if _, err := tab.Grow(c.newDisk, changes); !errors.Is(err, c.want) {
				t.Error(err)
			}
			if _, err := tab.Grown(c.newDisk, changes); !errors.Is(err, c.want) {
				t.Error(err)
			}
		})
	}
	tab := mustRead(t, plainGPT().build(), 512)
	for _, changes := range [][]table.Change{
		{{Number: 2, End: 100 * size.MiB}, {Number: 2, End: 100 * size.MiB}},
		{{Number: 2, End: 100*size.MiB + 1}},
	} {
		if w, err := tab.Grow(128*size.MiB, changes); err == nil {
			t.Errorf("%v: %v", changes, w)
		}
	}
}

func TestUsable(t *testing.T) {
	for _, c := range []struct {
		image      *image
		disk, want size.Bytes
	}{
		{plainGPT().build(), 64 * size.MiB, 63 * size.MiB},
		{plainGPT().build(), 128 * size.MiB, 127 * size.MiB},
		{plainMBR().build(), 128*size.MiB + 5*512, 128 * size.MiB},
		{plainMBR().build(), 5 * size.TiB, 2 * size.TiB},
	} {
		if got, err := mustRead(t, c.image, 512).Usable(c.disk); got != c.want || err != nil {
			t.Errorf("%s: %s, %v", c.disk, got, err)
		}
	}
	if _, err := mustRead(t, plainGPT().build(), 512).Usable(63 * size.MiB); !errors.Is(err, table.ErrShrink) {
		t.Errorf("a smaller disk: %v", err)
	}
}

func TestFree(t *testing.T) {
	enlarged := plainGPT()
	enlarged.extra = 64 << 20
	for name, c := range map[string]struct {
		image *image
		want  []table.Extent
	}{
		"GPT, full":     {plainGPT().build(), nil},
		"GPT, enlarged": {enlarged.build(), []table.Extent{{Start: 131039 * 512, Size: (262143 - 32 - 131039) * 512}}},
		"MBR, between and end": {plainMBR().build(), []table.Extent{
			{Start: 20480 * 512, Size: 5 * size.MiB},
			{Start: 40960 * 512, Size: size.MiB, Logical: true},
			{Start: 53248 * 512, Size: (96256 - 53248) * 512, Logical: true},
			{Start: 96256 * 512, Size: (131072 - 96256) * 512},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, mustRead(t, c.image, 512).Free()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
