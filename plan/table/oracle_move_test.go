package table_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// randomMoves draws moves from right to left, so that partitions may move to each
// other's places. An extended partition moves with all its logical partitions, or only
// its last one is moved or deleted.
func randomMoves(t *testing.T, r *rand.Rand, tab *table.Table, newDisk size.Bytes) (changes []table.Change) {
	t.Helper()
	limit, err := tab.Usable(newDisk)
	if err != nil {
		t.Fatal(err)
	}
	parts := slices.Clone(tab.Partitions)
	slices.SortFunc(parts, func(a, b table.Partition) int { return int(b.Start - a.Start) })
	for _, p := range parts {
		room := max(limit-p.End(), 0) / 512 * 512
		by := room / 512 * size.Bytes(r.IntN(5)) / 4 * 512
		c := table.Change{Number: p.Number, Start: p.Start + by, End: p.End() + by + (room-by)*size.Bytes(r.IntN(2))}
		switch {
		case p.Role == table.Logical:
			continue
		case p.Role == table.Extended && r.IntN(2) == 0:
			changes = append(changes, moveLast(r, tab, p)...)
			limit = p.Start
			continue
		case p.Role != table.Extended && len(tab.Partitions) > 1 && r.IntN(6) == 0:
			changes = append(changes, table.Change{Number: p.Number, Delete: true})
			continue
		}
		changes = append(changes, c)
		limit = c.Start
	}
	return changes
}

// moveLast moves or deletes the last logical partition, if there is one.
func moveLast(r *rand.Rand, tab *table.Table, extended table.Partition) []table.Change {
	p := tab.Partitions[len(tab.Partitions)-1]
	if p.Role != table.Logical {
		return nil
	}
	if r.IntN(3) == 0 {
		return []table.Change{{Number: p.Number, Delete: true}}
	}
	by := (extended.End() - p.End()) / 512 * size.Bytes(r.IntN(3)) / 2 * 512
	return []table.Change{{Number: p.Number, Start: p.Start + by, End: p.End() + by}}
}

func TestOracleMoveGPT(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 4))
			sectors := mib * (16 + r.IntN(60))
			d := newDisk(t, size.Bytes(sectors*512))
			d.run(gptScript(r, d.Name(), sectors), "sfdisk")
			bigger := d.size() + size.Bytes(r.IntN(100*mib)*512)
			d.grow(bigger, randomMoves(t, r, d.read(), bigger)...)
			d.checkSfdisk()
			d.checkSgdisk()
		})
	}
}

func TestOracleMoveMBR(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 5))
			sectors := mib * (60 + r.IntN(60))
			d := newDisk(t, size.Bytes(sectors*512))
			d.run(mbrScript(r, d.Name(), sectors), "sfdisk")
			bigger := d.size() + size.Bytes(r.IntN(9000*mib)*512) // across cylinder 1023
			d.grow(bigger, randomMoves(t, r, d.read(), bigger)...)
			d.checkSfdisk()
		})
	}
}

// TestOracleSameMove checks that Grow writes the same bytes as sfdisk when one partition
// is moved or deleted. Logical partitions are left out, because sfdisk moves them
// without their EBR.
func TestOracleSameMove(t *testing.T) {
	const mbr = "label: dos\nlabel-id: 0xcafef00d\nstart=2048, size=20480, type=7, bootable\nstart=40960, type=5, size=61440\n" +
		"start=120000, size=10000, type=83\n\nstart=43008, size=8192, type=83\nstart=61440, size=9000, type=82\n" // EBRs at 40960 and 59392
	const gpt = "label: gpt\nlabel-id: 11112222-3333-4444-5555-666677778888\n" +
		"start=2048, size=20480, uuid=11112222-3333-4444-5555-000000000001, name=a\n" +
		"start=40960, size=20480, uuid=11112222-3333-4444-5555-000000000002, name=b, attrs=\"GUID:60\"\n"
	for _, c := range []struct {
		script string
		change table.Change
	}{
		{mbr, table.Change{Number: 1, Start: 5 * size.MiB, End: 16 * size.MiB}},
		{mbr, table.Change{Number: 3, Start: 80 * size.MiB, End: 100 * size.MiB}},
		{mbr, table.Change{Number: 3, Start: 100 * size.MiB, End: 9000 * size.MiB}},
		{mbr, table.Change{Number: 3, Start: 9000 * size.MiB, End: 9010 * size.MiB}},
		{mbr, table.Change{Number: 1, Delete: true}},
		{mbr, table.Change{Number: 6, Delete: true}},
		{gpt, table.Change{Number: 1, Start: 100 * size.MiB, End: 120 * size.MiB}},
		{gpt, table.Change{Number: 2, Delete: true}},
	} {
		t.Run(fmt.Sprintf("%.10s %v", c.script, c.change), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, 128*size.MiB)
			d.run(c.script, "sfdisk")
			theirs := d.clone()
			disk := d.size()
			if strings.HasPrefix(c.script, "label: dos") { // an MBR has no backup that would move
				disk = 10 * size.GiB
				theirs.resize(disk)
			}
			d.grow(disk, c.change)
			if number := strconv.Itoa(c.change.Number); c.change.Delete {
				theirs.deletePartition(number)
			} else {
				theirs.run(fmt.Sprintf("start=%d, size=%d\n", c.change.Start/512, (c.change.End-c.change.Start)/512), "sfdisk", "--no-reread", "-N", number)
			}
			for _, lba := range []size.Bytes{0, 40960, 59392, disk/512 - 34} {
				d.sameBytes(theirs, lba*512, 34*512)
			}
		})
	}
}

// deletePartition deletes a partition with sfdisk, which takes the number after the
// path.
func (d disk) deletePartition(number string) {
	d.t.Helper()
	d.run("", "sh", "-c", `exec sfdisk --no-reread --no-tell-kernel --delete "$0" `+number)
}

// TestOracleMove4K checks GPT, MBR primaries and logicals with sectors of 4096 bytes.
// Only fdisk has an option for the sector size of a file.
func TestOracleMove4K(t *testing.T) {
	const m = size.MiB
	for _, c := range []struct {
		name, script string
		changes      []table.Change
	}{
		{"GPT", "g\nn\n1\n\n+8M\nn\n2\n\n+8M\nn\n3\n\n+4M\nw\n",
			[]table.Change{{Number: 3, Start: 110 * m, End: 120 * m}, {Number: 1, Start: 90 * m, End: 98 * m}, {Number: 2, Delete: true}}},
		{"MBR extended", "o\nn\np\n1\n\n+8M\nn\ne\n2\n\n+30M\nn\nl\n\n+8M\nn\nl\n\n+8M\nw\n",
			[]table.Change{{Number: 2, Start: 50 * m, End: 90 * m}, {Number: 1, Start: 2 * m, End: 40 * m}}},
		{"MBR logicals", "o\nn\np\n1\n\n+8M\nn\ne\n2\n\n+30M\nn\nl\n\n+8M\nn\nl\n\n+8M\nw\n",
			[]table.Change{{Number: 6, Start: 50 * m, End: 90 * m}, {Number: 5, Start: 20 * m, End: 30 * m}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, 64*m)
			d.run(c.script, "fdisk", "-b", "4096", "-w", "never")
			tab, err := table.Read(d, d.size(), 4096)
			if err != nil || len(tab.Partitions) < 3 {
				t.Fatalf("%v, %v", tab, err)
			}
			writes := mustGrow(t, tab, 128*m, c.changes...)
			d.resize(128 * m)
			for _, w := range writes {
				if _, err := d.WriteAt(w.Data, int64(w.Offset)); err != nil {
					t.Fatal(err)
				}
			}
			d.checkFdisk4K(c.changes)
		})
	}
}

// checkFdisk4K fails the test unless fdisk finds the expected partitions and no errors.
func (d disk) checkFdisk4K(changes []table.Change) {
	d.t.Helper()
	got := map[int]string{}
	for line := range strings.Lines(d.run("", "fdisk", "-b", "4096", "-l", "-o", "Device,Start,End")) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], d.Name()) {
			number, _ := strconv.Atoi(strings.TrimPrefix(f[0], d.Name()))
			got[number] = f[1] + " " + f[2]
		}
	}
	for _, c := range changes {
		want := fmt.Sprintf("%d %d", c.Start/4096, c.End/4096-1)
		if c.Delete {
			want = ""
		}
		if diff := cmp.Diff(want, got[c.Number]); diff != "" {
			d.t.Errorf("partition %d (-want +fdisk):\n%s", c.Number, diff)
		}
	}
	out := d.run("v\nq\n", "fdisk", "-b", "4096")
	if !strings.Contains(out, "No errors detected") || strings.Contains(out, "corrupt") || strings.Contains(out, "mismatch") {
		d.t.Errorf("fdisk: %s", out)
	}
}
