package table_test

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

func between(t *rapid.T, from, to int64, label string) int64 {
	return rapid.Int64Range(from, max(from, to)).Draw(t, label)
}

func oneOf[T any](t *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, label)
}

func randomGUID(t *rapid.T, label string) (g [16]byte) {
	copy(g[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
	g[0] |= 1 // a zero type would be an unused entry
	return g
}

func randomGPT(t *rapid.T) gptSpec {
	s := gptSpec{
		sector:    oneOf[int64](t, "sector", 512, 4096),
		entries:   oneOf(t, "entries", 128, 128, 4, 13, 256),
		entrySize: oneOf(t, "entry size", 128, 128, 256, 512),
		noise:     oneOf[byte](t, "noise", 0, 0x5C),
		guid:      randomGUID(t, "disk GUID"),
		pmbr:      oneOf(t, "protective MBR", pmbrStandard, pmbrStandard, pmbrSlot3, pmbrSaturated, pmbrOdd, pmbrHybrid),
		backup:    oneOf(t, "backup", backupGood, backupGood, backupGood, backupMissing, backupCRC, backupEntries, backupOther),
	}
	s.headerSize = oneOf(t, "header size", 92, 92, 100, int(s.sector))
	s.extra = oneOf(t, "enlarged by", 0, 0, 100, s.sector, 7*s.sector, 3<<20, 1<<30)
	if rapid.Bool().Draw(t, "aligned first") {
		s.first = 1 << 20 / s.sector
	}
	s.sectors = 2*s.firstUsable() + 2*s.arraySectors() + between(t, 0, 1<<22, "sectors")
	s.parts = randomParts(t, s)
	return s
}

// randomParts draws partitions from left to right, with numbers in any order.
func randomParts(t *rapid.T, s gptSpec) []gptPart {
	numbers := rapid.Permutation(numbersTo(min(s.entries, 20))).Draw(t, "numbers")
	var parts []gptPart
	at := s.firstUsable()
	for range between(t, 0, min(7, int64(len(numbers))), "partitions") {
		at = randomGap(t, at, s.sector)
		if at > s.lastUsable() {
			break
		}
		last := min(at+between(t, 0, s.sectors/4, "length"), s.lastUsable())
		parts = append(parts, gptPart{
			number: numbers[len(parts)], first: at, last: last,
			typ: randomGUID(t, "type"), guid: randomGUID(t, "GUID"),
			attrs: rapid.Uint64().Draw(t, "attributes"),
			name:  oneOf(t, "name", "", "root", "Basic data partition", "größer 🐘", "123456789012345678901234567890123456"),
		})
		at = last + 1
	}
	return parts
}

func numbersTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

func randomGap(t *rapid.T, at, sector int64) int64 {
	mib := 1 << 20 / sector
	switch oneOf(t, "gap", "none", "aligned", "any") {
	case "aligned":
		return (at + mib - 1) / mib * mib
	case "any":
		return at + between(t, 1, 4*mib, "gap size")
	}
	return at
}

func randomMBR(t *rapid.T) mbrSpec {
	s := mbrSpec{
		sector:  oneOf[int64](t, "sector", 512, 4096),
		sectors: between(t, 5000, oneOf[int64](t, "disk", 1<<21, 1<<24, 1<<32+1<<20), "sectors"),
		extra:   oneOf[int64](t, "extra", 0, 0, 100),
		noise:   oneOf[byte](t, "noise", 0, 0xEB),
		id:      rapid.Uint32().Draw(t, "signature"),
		chs:     oneOf(t, "CHS", chsLBA, chsQEMU, chsSat, chsZero),
	}
	numbers := rapid.Permutation(numbersTo(4)).Draw(t, "numbers")
	limit := min(s.sectors, 1<<32)
	at, extended := oneOf[int64](t, "first", 1, 63, 2048), false
	for _, number := range numbers[:between(t, 1, 4, "partitions")] {
		at = randomGap(t, at, s.sector)
		if at >= limit {
			break
		}
		p := mbrPart{number: number, typ: oneOf[byte](t, "type", 0x83, 0x07, 0x8E, 0x42), start: at}
		p.boot = rapid.Bool().Draw(t, "bootable")
		p.count = min(1+between(t, 0, s.sectors/3, "length"), limit-at)
		if !extended && rapid.Bool().Draw(t, "extended") {
			extended, p.boot = true, false
			p.typ = oneOf[byte](t, "extended type", 0x05, 0x0F, 0x85)
			s.logicals = randomLogicals(t, s.sector, p)
		}
		s.parts = append(s.parts, p)
		at += p.count
	}
	if len(s.parts) == 0 {
		s.parts = []mbrPart{{1, 0x83, false, 1, 100}}
	}
	return s
}

// randomLogicals draws logical partitions for the extended one. All but the first, whose
// EBR has a fixed place, may be chained in any order.
func randomLogicals(t *rapid.T, sector int64, ext mbrPart) []mbrLogical {
	var list []mbrLogical
	at, end := ext.start, ext.start+ext.count
	for range between(t, 0, 6, "logicals") {
		l := mbrLogical{ebr: at, typ: 0x83, start: at + oneOf[int64](t, "EBR gap", 1, 63, 1<<20/sector)}
		if l.start >= end {
			break
		}
		l.count = min(1+between(t, 0, ext.count/3, "logical length"), end-l.start)
		l.linkSlot = oneOf(t, "link slot", 1, 1, 2, 3)
		list = append(list, l)
		if at = randomGap(t, l.start+l.count, sector); at >= end {
			break
		}
	}
	if len(list) > 1 && rapid.Bool().Draw(t, "shuffled") {
		copy(list[1:], rapid.Permutation(slices.Clone(list[1:])).Draw(t, "chain"))
	}
	for i := range list {
		if l := list[i]; rapid.Bool().Draw(t, "long link") {
			list[i].span = between(t, l.start+l.count-l.ebr, end-l.ebr, "span")
		}
	}
	return list
}

// randomChanges draws new ends up to the limits. Often a partition gets exactly its
// limit.
func randomChanges(t *rapid.T, parts []table.Partition, sector int64, limit func(table.Partition) size.Bytes) []table.Change {
	ends := map[int]size.Bytes{}
	for _, p := range parts {
		if p.Role == table.Extended || !rapid.Bool().Draw(t, "change") {
			continue
		}
		room := int64(limit(p)-p.End()) / sector
		by := oneOf(t, "grow by", room, room/2, between(t, 0, room, "sectors more"))
		ends[p.Number] = p.End() + size.Bytes(by*sector)
	}
	var changes []table.Change
	for _, number := range slices.Sorted(maps.Keys(ends)) {
		changes = append(changes, table.Change{Number: number, End: ends[number]})
	}
	return changes
}
