package plan_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// run is a partition in sectors. lead is the distance between a logical partition and
// its EBR.
type run struct {
	number             int
	start, count, lead int64
	typ                byte // 0x83 when 0
}

func (r run) end() int64 { return r.start + r.count }

// chained makes an MBR. If there are logical partitions, its extended partition contains
// them, and the first EBR is the first sector of the extended partition.
func chained(disk size.Bytes, sector int64, primary, logical []run) *table.Table {
	s := sparse{disk, map[int64][]byte{}}
	entry := func(b []byte, i int, typ byte, start, count int64) {
		e := b[446+16*i:]
		e[4] = typ
		binary.LittleEndian.PutUint32(e[8:], uint32(start))
		binary.LittleEndian.PutUint32(e[12:], uint32(count))
	}
	boot := func() []byte {
		b := make([]byte, sector)
		b[510], b[511] = 0x55, 0xaa
		return b
	}
	b := boot()
	binary.LittleEndian.PutUint32(b[440:], 0x1234abcd)
	var first int64
	for _, p := range primary {
		entry(b, p.number-1, max(p.typ, 0x83*btoi(p.typ == 0)), p.start, p.count)
		if p.typ == 0x05 {
			first = p.start
		}
	}
	s.put(0, b)
	for i, p := range logical {
		b := boot()
		entry(b, 0, 0x83, p.lead, p.count)
		if i+1 < len(logical) {
			next := logical[i+1]
			entry(b, 1, 0x05, next.start-next.lead-first, next.lead+next.count)
		}
		s.put((p.start-p.lead)*sector/512, b)
	}
	t, err := table.Read(s, disk, size.Bytes(sector))
	if err == nil {
		err = t.Err()
	}
	if err != nil {
		panic(fmt.Sprint(err, primary, logical))
	}
	return t
}

func btoi(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// inSectors returns the start and length of all partitions.
func inSectors(l *plan.Layout) map[string][2]int64 {
	all := map[string][2]int64{}
	for _, d := range l.Devices {
		if d.Kind == plan.Partition {
			all[d.Name] = [2]int64{int64(d.Start / l.Sector), int64(d.Size / l.Sector)}
		}
	}
	return all
}

// TestAlignmentStays checks that moved partitions keep their alignment, and that a grown
// partition takes all free space before them.
func TestAlignmentStays(t *testing.T) {
	const disk = 384 * MiB
	for name, c := range map[string]struct {
		table  *table.Table
		target string
		want   map[string][2]int64
	}{
		"Debian: the extended one begins two sectors before a MiB": {
			chained(disk, 512, []run{{number: 1, start: 2048, count: 653312}, {number: 2, start: 657406, count: 126978, typ: 0x05}},
				[]run{{number: 5, start: 657408, count: 126976, lead: 2}}),
			// The root ends at the last whole page before the EBR.
			"sda1", map[string][2]int64{"sda1": {2048, 1705976}, "sda2": {1708030, 126978}, "sda5": {1708032, 126976}},
		},
		"several logical ones, EBRs 1, 63 and 2 sectors before them": {
			chained(disk, 512, []run{{number: 1, start: 2048, count: 407500}, {number: 2, start: 409599, count: 372737, typ: 0x05}},
				[]run{{number: 5, start: 409600, count: 100000, lead: 1}, {number: 6, start: 509953, count: 100001, lead: 63}, {number: 7, start: 700416, count: 81920, lead: 2}}),
			"sda1", map[string][2]int64{"sda1": {2048, 1460216}, "sda2": {1462271, 372737},
				"sda5": {1462272, 100000}, "sda6": {1562625, 100001}, "sda7": {1753088, 81920}},
		},
		"the first logical one grows, the next ones move with their EBRs": {
			chained(disk, 512, []run{{number: 1, start: 2048, count: 407500}, {number: 2, start: 409598, count: 374786, typ: 0x05}},
				[]run{{number: 5, start: 409600, count: 204800, lead: 2}, {number: 6, start: 616448, count: 81920, lead: 2}, {number: 7, start: 698431, count: 80000, lead: 63}}),
			"sda5", map[string][2]int64{"sda1": {2048, 407500}, "sda2": {409598, 1423553},
				"sda5": {409600, 1261560}, "sda6": {1671168, 81920}, "sda7": {1753151, 80000}},
		},
		"sectors of 4096 bytes": {
			chained(disk, 4096, []run{{number: 1, start: 256, count: 65280}, {number: 2, start: 65791, count: 32257, typ: 0x05}},
				[]run{{number: 5, start: 65792, count: 32000, lead: 1}}),
			"sda1", map[string][2]int64{"sda1": {256, 196863}, "sda2": {197119, 32257}, "sda5": {197120, 32000}},
		},
		"Windows XP: the second one begins at a cylinder": {
			chained(disk, 512, []run{{number: 1, start: 63, count: 417627}, {number: 2, start: 417690, count: 112455}}, nil),
			"sda1", map[string][2]int64{"sda1": {63, 1722200}, "sda2": {1722266, 112455}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := layout(disk, c.table, map[int]plan.Content{})
			l.Sector = c.table.SectorSize
			d, _ := l.Find(c.target)
			d.Content = fs("ext4", d.Size)
			p, err := plan.Build(l, target, request("+512M", c.target))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, inSectors(p.After)); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
			checkAligned(t, p)
		})
	}
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// checkAligned fails the test unless moved partitions keep their offset within a MiB,
// and the distance to their EBR.
func checkAligned(t failer, p *plan.Plan) {
	t.Helper()
	for _, was := range p.Before.Devices {
		now, _ := p.After.Find(was.Name)
		if was.Kind != plan.Partition {
			continue
		}
		if now.Start%MiB != was.Start%MiB {
			t.Fatalf("%s began at byte %d and begins at %d", was.Name, was.Start, now.Start)
		}
		if a, b := p.Before.Table.Lead(was.Number), p.After.Table.Lead(was.Number); a != b {
			t.Fatalf("the EBR of %s was %d bytes before it and is %d", was.Name, a, b)
		}
	}
}

// anyStart draws a first sector that is not before at.
func anyStart(t *rapid.T, at, sector int64) int64 {
	mib := int64(MiB) / sector
	up := (at + mib - 1) / mib * mib
	return rapid.SampledFrom([]int64{at, up, up + 1, up + mib - 2, up + mib - 1, up + 63, at + rapid.Int64Range(0, 5*mib).Draw(t, "gap")}).Draw(t, "start")
}

// anyOdd draws a disk whose partitions may begin and end at any sector: a GPT, or an MBR
// with an extended partition and a partition before and behind it.
func anyOdd(t *rapid.T) *plan.Layout {
	sector := rapid.SampledFrom([]int64{512, 512, 4096}).Draw(t, "sector")
	count := func() int64 {
		n := rapid.Int64Range(16<<20/sector, 600<<20/sector).Draw(t, "count")
		if rapid.Bool().Draw(t, "whole MiB") {
			n -= n % (1 << 20 / sector)
		}
		return n
	}
	var tab *table.Table
	at := rapid.SampledFrom([]int64{34, 63, 1 << 20 / sector}).Draw(t, "first")
	var runs, logical []run
	extended := rapid.IntRange(0, 4).Draw(t, "extended")
	partitions := rapid.IntRange(max(2, extended), 4).Draw(t, "partitions")
	for number := 1; number <= partitions; number++ {
		r := run{number: number, start: anyStart(t, at, sector), count: count()}
		if number == extended {
			r.typ = 0x05
			logical = anyLogical(t, r.start, sector, count)
			r.count = logical[len(logical)-1].end() - r.start + rapid.SampledFrom([]int64{0, 7, 5 << 20 / sector}).Draw(t, "rest")
		}
		runs = append(runs, r)
		at = r.end()
	}
	disk := size.Bytes((at + rapid.Int64Range(64, 1<<24/sector).Draw(t, "tail")) * sector).Up(4096)
	if extended == 0 && sector == 512 && rapid.Bool().Draw(t, "gpt") {
		var parts []part
		for _, r := range runs {
			parts = append(parts, part{number: r.number, start: size.Bytes(r.start * 512), len: size.Bytes(r.count * 512)})
		}
		tab = gpt(disk, parts)
	} else {
		tab = chained(disk, sector, runs, logical)
	}
	l := layout(disk, tab, nil)
	l.Sector = size.Bytes(sector)
	for i := range l.Devices {
		if d := &l.Devices[i]; d.Kind == plan.Partition && !d.Extended {
			d.Content = fs(rapid.SampledFrom([]string{"ext4", "xfs", "ntfs"}).Draw(t, "content"), d.Size)
		}
	}
	return l
}

// anyLogical draws the contents of an extended partition that begins at a sector.
func anyLogical(t *rapid.T, at, sector int64, count func() int64) []run {
	var logical []run
	first := at
	for range rapid.IntRange(1, 4).Draw(t, "logical") {
		lead := rapid.SampledFrom([]int64{1, 2, 63, 1 << 20 / sector}).Draw(t, "lead")
		start := at + lead
		if at != first {
			start = anyStart(t, at+lead, sector)
		}
		logical = append(logical, run{start: start, count: count(), lead: lead})
		at = start + logical[len(logical)-1].count
	}
	return logical
}

// TestAlignmentProperties checks, for partitions that begin anywhere, that moved ones
// keep their alignment, that none shrinks, and that no space is lost before a moved one.
func TestAlignmentProperties(t *testing.T) {
	moved := 0
	rapid.Check(t, func(t *rapid.T) {
		l := anyOdd(t)
		var names []string
		for _, d := range l.Devices[1:] {
			if !d.Extended {
				names = append(names, d.Name)
			}
		}
		grows := rapid.SampledFrom(names).Draw(t, "target")
		words := grows
		if rapid.IntRange(0, 3).Draw(t, "sized") == 0 {
			words += fmt.Sprintf("=+%dM", rapid.IntRange(1, 300).Draw(t, "by"))
		}
		p, err := plan.Build(l, target, request(fmt.Sprintf("+%dM", rapid.IntRange(8, 900).Draw(t, "more")), words))
		if err != nil {
			if _, ok := plan.IsRefusal(err); !ok {
				t.Fatalf("neither a plan nor a refusal: %v", err)
			}
			return
		}
		checkAligned(t, p)
		for _, was := range l.Devices {
			if now, _ := p.After.Find(was.Name); now.Size < was.Size || now.Name != grows && !now.Extended && was.Kind == plan.Partition && now.Size != was.Size {
				t.Fatalf("%+v became %+v", was, now)
			}
		}
		if p.Moves() > 0 {
			moved++
		}
		if words == grows && p.Moves() > 0 {
			checkTight(t, p, grows)
		}
	})
	if moved < 20 && level.At(level.Real) {
		t.Errorf("only %d layouts had something to move", moved)
	}
}

// checkTight fails the test unless less than a page is free between the grown partition
// and the next partition or EBR, or less than a MiB if the next partition was not moved.
func checkTight(t *rapid.T, p *plan.Plan, name string) {
	grown, _ := p.After.Find(name)
	next, still := p.NewSize, true
	for _, d := range p.After.Devices {
		if d.Kind != plan.Partition {
			continue
		}
		if at := d.Start - p.After.Table.Lead(d.Number); at >= grown.End() && at < next {
			was, _ := p.Before.Find(d.Name)
			next, still = at, was.Start == d.Start
		}
	}
	if gap := next - grown.End(); gap >= 4*size.KiB && !(still && gap < 4*MiB) {
		t.Fatalf("%d bytes are free behind %s: %v", gap, name, slices.Collect(func(yield func(plan.Device) bool) {
			for _, d := range p.After.Devices {
				if !yield(d) {
					return
				}
			}
		}))
	}
}
