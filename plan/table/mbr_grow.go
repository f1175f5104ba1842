package table

import (
	"bytes"
	"maps"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
)

// growMBR edits copies of the MBR and the EBRs and leaves it to put to find
// those that changed. They are written from the outside in, so that at no
// time a logical partition is larger than what is around it.
func (t *Table) growMBR(ends map[int]size.Bytes) []Write {
	edit := mbrEdit{t, map[uint64]bootSector{}}
	for _, s := range t.structure {
		edit.sectors[s.lba] = bytes.Clone(s.data)
	}
	for _, number := range slices.Sorted(maps.Keys(ends)) {
		at := t.mbr[number]
		edit.raise(at, t.lba(ends[number]))
		if at.link != nil {
			edit.raise(*at.link, t.lba(ends[number]))
		}
		if at.container != 0 {
			edit.raise(t.mbr[at.container], t.lba(ends[number]))
		}
	}
	var w writer
	for i, s := range t.structure {
		what := "extended boot record"
		if i == 0 {
			what = "MBR"
		}
		w.put(t, s.lba, edit.sectors[s.lba], what)
	}
	return w
}

type mbrEdit struct {
	*Table
	sectors map[uint64]bootSector
}

// raise sets the end of an entry, unless it reaches as far already: links and
// extended partitions may be longer than what they hold. That the size fits
// 32 bits follows from Addressable: no entry starts at 0 (checkMBR).
func (m mbrEdit) raise(at mbrLocation, end uint64) {
	e := m.sectors[at.sector].entry(at.index)
	start := at.base + uint64(e.start())
	old := start + uint64(e.count())
	if end <= old {
		return
	}
	e.setCount(uint32(end - start))
	e.moveCHS(start, old, end)
}
