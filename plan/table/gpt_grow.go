package table

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"github.com/virt-grow/virt-grow/plan/size"
)

// gptLayout says where the parts of a GPT go that depend on the disk's end.
type gptLayout struct {
	backup     uint64 // LBA of the backup header: the last one
	entries    uint64 // LBA of the backup entries
	lastUsable uint64
}

// gptLayout puts the backup at the end of a disk of the given size, entries
// right before the header, and makes everything before them usable, as
// sgdisk, parted and libfdisk do. A backup that is at the end already stays
// as it is, wherever exactly its tool has put the entries.
func (t *Table) gptLayout(newDisk size.Bytes) (gptLayout, error) {
	primary := t.gpt.primary.header
	sectors, n := t.sectorsOf(newDisk), primary.entriesSectors()
	first := primary.at(gptFirstUsable)
	if sectors < first+1+n+1 {
		return gptLayout{}, fmt.Errorf("%s is too small for a GPT whose first usable sector is %d", newDisk, first)
	}
	l := gptLayout{backup: sectors - 1, entries: sectors - 1 - n}
	l.lastUsable = l.entries - 1
	if primary.at(gptAlternateLBA) != l.backup {
		return l, nil
	}
	if b := t.gpt.backup; b != nil && b.header.entriesSectors() == n {
		l.entries = b.entries.lba
	}
	l.lastUsable = min(primary.at(gptLastUsable), l.entries-1)
	return l, nil
}

// growGPT computes the whole new structures and leaves it to put to find the
// sectors that change.
//
// Order: the backup first, at its new place; as long as the primary is the
// old one it points to the old backup, which is still there unless the disk
// grew by less than a table's size, and even then the primary is intact. Then
// the protective MBR, which nobody believes (Linux only logs a difference).
// Then the primary: if the power fails between its entries and its header,
// the kernel finds the backup in the last sector.
//
// The old backup is left where it was. Linux, libparted, libfdisk and gdisk
// look for a backup at AlternateLBA and in the last sector, never at places in
// between; growing a partition over the old one hands it to the file system
// like any other free sector; and until the primary header is written, it is
// still the primary's backup. sgdisk -e and sfdisk --relocate leave it too
// (gdisk 1.0.9, util-linux 2.38); parted erases it.
func (t *Table) growGPT(newDisk size.Bytes, g *goal) ([]Write, error) {
	l, err := t.gptLayout(newDisk)
	if err != nil {
		return nil, err
	}
	if err := checkUsable(g, t.offset(l.entries)); err != nil {
		return nil, err
	}
	primary := t.gpt.primary
	entries := t.grownEntries(g)
	var w writer
	w.put(t, l.entries, t.backupEntries(l, entries), "backup GPT entries")
	w.put(t, l.backup, t.backupHeader(l, entries), "backup GPT header")
	w.put(t, 0, t.protectiveMBR(newDisk), "protective MBR")
	w.put(t, primary.entries.lba, entries, "primary GPT entries")
	w.put(t, primary.lba, t.primaryHeader(l, entries), "primary GPT header")
	return w, nil
}

// checkUsable: old tables may hold partitions behind LastUsableLBA. They must
// not be where the backup goes.
func checkUsable(g *goal, backup size.Bytes) error {
	for _, p := range g.parts {
		if over := p.End() - backup; over > 0 {
			return fmt.Errorf("partition %d reaches %s into the place of the backup GPT: %w", p.Number, over, ErrNoRoom)
		}
	}
	return nil
}

// grownEntries returns the primary's entry array, in whole sectors, with the new
// places. A deleted entry is all zero, as UEFI 2.10 §5.3.3 has unused ones.
func (t *Table) grownEntries(g *goal) []byte {
	primary := t.gpt.primary
	entries := bytes.Clone(primary.entries.data)
	for _, before := range t.Partitions {
		n := primary.header.entrySize()
		e := entries[uint64(before.Number-1)*n:][:n]
		p, stays := g.part(before.Number)
		if !stays {
			clear(e)
			continue
		}
		put64(e[gptEntryFirst:], t.lba(p.Start))
		put64(e[gptEntryLast:], t.lba(p.End())-1)
	}
	return entries
}

func (t *Table) primaryHeader(l gptLayout, entries []byte) []byte {
	h := t.gpt.primary.header.clone()
	h.set(gptAlternateLBA, l.backup)
	h.set(gptLastUsable, l.lastUsable)
	put32(h[gptEntriesCRC:], crc32.ChecksumIEEE(entries[:h.entriesBytes()]))
	h.seal()
	return h
}

// backupHeader keeps the backup's own unknown bytes if there is a backup that
// agrees with the primary, and is made from the primary otherwise.
func (t *Table) backupHeader(l gptLayout, entries []byte) []byte {
	h := header(t.primaryHeader(l, entries))
	if b := t.gpt.backup; b != nil && agree(t.gpt.primary, *b) {
		sum := get32(h[gptEntriesCRC:])
		h = b.header.clone()
		h.set(gptLastUsable, l.lastUsable)
		put32(h[gptEntriesCRC:], sum)
	}
	h.set(gptMyLBA, l.backup)
	h.set(gptAlternateLBA, t.gpt.primary.lba)
	h.set(gptEntriesLBA, l.entries)
	h.seal()
	return h
}

// backupEntries returns the same array as the primary's. Behind the array, in the
// rest of its last sector, a backup that stays where it is keeps its own
// bytes.
func (t *Table) backupEntries(l gptLayout, entries []byte) []byte {
	b := t.gpt.backup
	if b == nil || b.entries.lba != l.entries || len(b.entries.data) != len(entries) {
		return entries
	}
	own := bytes.Clone(b.entries.data)
	copy(own, entries[:t.gpt.primary.header.entriesBytes()])
	return own
}

// protectiveMBR is sector 0 with the size of the protective partition set to
// the new disk's, if it has the form UEFI 2.10 §5.2.3 gives it and so far
// agreed with the disk. Anything else, a hybrid MBR above all, is someone's
// intention and stays. The end in CHS stays in any case: no one reads it.
func (t *Table) protectiveMBR(newDisk size.Bytes) []byte {
	boot := t.gpt.boot
	i, ok := boot.standardProtective()
	old := uint64(boot.entry(i).count())
	if !ok || (old != t.gpt.primary.header.at(gptAlternateLBA) && old != t.sectorsOf(t.DiskSize)-1) {
		return boot
	}
	grown := bytes.Clone(boot)
	last := min(t.sectorsOf(newDisk)-1, 0xFFFFFFFF)
	bootSector(grown).entry(i).setCount(uint32(last))
	return grown
}
