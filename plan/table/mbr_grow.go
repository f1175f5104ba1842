package table

import "bytes"

// growMBR edits copies of the MBR and the EBRs; put finds those that have changed. EBRs that
// move are written first: no link leads to them until the EBR before them in the chain is
// written, or the MBR if the extended partition moves. The others are written from the
// outside in, so that a logical partition is never larger than the partition around it.
//
// The old place of an EBR is never written: it may be inside a partition now.
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

// ebrPlace is an EBR that stays in the chain, with its new place.
type ebrPlace struct {
	from, to uint64
	sector   bootSector // a copy
}

// keptEBRs returns the EBRs of the new chain, in its order: those before the first one whose
// partition is deleted, because no later one keeps its partition. It also returns the first
// sector of an extended partition if that is not an EBR: it is copied to the new start, so
// that old data there is not read as an EBR.
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

// extended returns the extended partition before and after the changes, if there is one and
// it is not deleted.
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

// entry returns an entry and the sector from which its start will be counted. The entry is
// nil if its EBR leaves the chain.
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

// placeLinks updates the links between EBRs. A link keeps its end relative to the extended
// partition, because it may be longer than the partition that it leads to, or ends with a
// partition that has changed.
func (m mbrEdit) placeLinks() {
	before, now, _ := m.extended(m.goal)
	first, along := m.lba(now.Start), m.lba(now.Start-before.Start)
	for i := 0; i < len(m.ebrs) && i+1 < len(m.Table.ebrs); i++ {
		e := m.ebrs[i].sector.entry(linkIndex(m.Table.ebrs[i].data))
		if i+1 == len(m.ebrs) { // the chain is shorter than before
			clear(e)
			return
		}
		next := m.ebrs[i+1]
		old := run{next.from, next.from + uint64(e.count())}
		end := max(old.end+along, m.changedEnd(next.from))
		e.place(first, old, run{next.to, end})
	}
}

// changedEnd returns the new end of the partitions in an EBR that have a change of their own;
// 0 if there are none.
func (m mbrEdit) changedEnd(ebr uint64) (end uint64) {
	for _, p := range m.goal.parts {
		if _, asked := m.goal.asked[p.Number]; asked && m.Table.mbr[p.Number].sector == ebr {
			end = max(end, m.lba(p.End()))
		}
	}
	return end
}

// place sets the place of an entry. Start and size fit 32 bits because of Addressable: no
// entry starts at 0 (checkMBR), and a link becomes no longer than it was or than to the end
// of its partition.
func (e mbrEntry) place(base uint64, old, now run) {
	e.setStart(uint32(now.start - base))
	e.setCount(uint32(now.end - now.start))
	e.moveCHS(old, now)
}
