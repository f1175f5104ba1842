package table

import "bytes"

// growMBR edits copies of the MBR and the EBRs and leaves it to put to find
// those that changed. EBRs that move come first: nothing leads to them until
// what is before them in the chain, or the MBR if the extended partition
// moves, is written. The others are written from the outside in, so that at
// no time a logical partition is larger than what is around it.
//
// An EBR's old place is never written: it may be inside a partition now.
func (t *Table) growMBR(g *goal) []Write {
	edit := mbrEdit{Table: t, goal: g, mbr: bytes.Clone(t.structure[0].data), ebrs: t.keptEBRs(g)}
	edit.placePartitions()
	edit.placeLinks()
	var w writer
	for _, e := range edit.ebrs {
		if e.to != e.from {
			w.add(t, e.to, e.sector, "extended boot record")
		}
	}
	w.put(t, 0, edit.mbr, "MBR")
	for _, e := range edit.ebrs {
		if e.to == e.from {
			w.put(t, e.to, e.sector, "extended boot record")
		}
	}
	return w
}

// ebrPlace is an EBR that stays in the chain, and where it goes.
type ebrPlace struct {
	from, to uint64
	sector   bootSector // a copy
}

// keptEBRs returns the EBRs of the new chain, in its order: up to the one before
// the first that loses its partition, because no later one has any. Not part
// of a chain, but kept as well, is the first sector of an extended partition
// that is no EBR, so that whatever is at the extended partition's new start
// is not taken for one.
func (t *Table) keptEBRs(g *goal) []ebrPlace {
	extended, _, ok := t.extended(g)
	if !ok {
		return nil
	}
	chain := t.ebrs
	if len(chain) == 0 {
		first := t.lba(extended.Start)
		chain = []ebr{{first, t.known[first]}}
	}
	var kept []ebrPlace
	for i, e := range chain {
		owner := extended
		if i > 0 {
			owner = t.ebrOwner(e)
		}
		now, stays := g.part(owner.Number)
		if !stays {
			break
		}
		to := e.lba + t.lba(now.Start-owner.Start)
		kept = append(kept, ebrPlace{e.lba, to, bytes.Clone(e.data)})
	}
	return kept
}

// extended is the extended partition as it is and as it shall be, if there is
// one and it stays.
func (t *Table) extended(g *goal) (before, now Partition, ok bool) {
	for _, p := range g.parts {
		if p.Role == Extended {
			before, ok = t.Partition(p.Number)
			return before, p, ok
		}
	}
	return before, now, false
}

type mbrEdit struct {
	*Table
	goal *goal
	mbr  bootSector
	ebrs []ebrPlace
}

// entry finds an entry and what its start will count from. It is nil if the
// EBR it is in leaves the chain.
func (m mbrEdit) entry(at mbrLocation) (e mbrEntry, base uint64) {
	if at.sector == 0 {
		return m.mbr.entry(at.index), 0
	}
	for _, e := range m.ebrs {
		if e.from == at.sector {
			return e.sector.entry(at.index), e.to
		}
	}
	return nil, 0
}

func (m mbrEdit) placePartitions() {
	for _, p := range m.Partitions {
		e, base := m.entry(m.Table.mbr[p.Number])
		now, stays := m.goal.part(p.Number)
		switch {
		case stays:
			e.place(base, m.sectors(p), m.sectors(now))
		case e != nil:
			clear(e)
		}
	}
}

func (t *Table) sectors(p Partition) run { return run{t.lba(p.Start), t.lba(p.End())} }

// placeLinks: a link reaches as far as before, as seen from the extended
// partition, or to the end of a partition that changed, because links may be
// longer than what they lead to.
func (m mbrEdit) placeLinks() {
	before, now, _ := m.extended(m.goal)
	first, along := m.lba(now.Start), m.lba(now.Start-before.Start)
	for i := 0; i < len(m.ebrs) && i+1 < len(m.Table.ebrs); i++ {
		e := m.ebrs[i].sector.entry(linkIndex(m.Table.ebrs[i].data))
		if i+1 == len(m.ebrs) { // the chain ends earlier than it did
			clear(e)
			return
		}
		next := m.ebrs[i+1]
		old := run{next.from, next.from + uint64(e.count())}
		end := max(old.end+along, m.changedEnd(next.from))
		e.place(first, old, run{next.to, end})
	}
}

// changedEnd returns where the partitions in an EBR will end that have a change of
// their own; 0 if there are none.
func (m mbrEdit) changedEnd(ebr uint64) (end uint64) {
	for _, p := range m.goal.parts {
		if _, asked := m.goal.asked[p.Number]; asked && m.Table.mbr[p.Number].sector == ebr {
			end = max(end, m.lba(p.End()))
		}
	}
	return end
}

// place gives an entry another place. That start and size fit 32 bits follows
// from Addressable: no entry starts at 0 (checkMBR), and a link never gets
// longer than it was or than up to its partition's end.
func (e mbrEntry) place(base uint64, old, now run) {
	e.setStart(uint32(now.start - base))
	e.setCount(uint32(now.end - now.start))
	e.moveCHS(old, now)
}
