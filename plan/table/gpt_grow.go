package table

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"github.com/virt-grow/virt-grow/plan/size"
)

// gptLayout has the places of the parts of a GPT that depend on the disk's end.
type gptLayout struct {
	backup     uint64 // LBA of the backup header: the last one
	entries    uint64 // LBA of the backup entries
	lastUsable uint64
}

// gptLayout places the backup at the end of a disk of the given size, with the entries right
// before the header, and makes everything before them usable, like sgdisk, parted and
// libfdisk. A backup that is at the end already stays in its place, with its entries.
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

// growGPT computes the complete new structures; put finds the sectors that change.
//
// The order of the writes: first the backup, at its new place. Until the primary is written,
// it points to the old backup, which still exists, unless the disk grew by less than the size
// of a table; even then the primary is intact. Then the protective MBR, whose size no system
// relies on (Linux only logs a difference). Then the primary: if the power fails between its
// entries and its header, the kernel finds the backup in the last sector.
//
// The old backup is not erased. Linux, libparted, libfdisk and gdisk look for a backup at
// AlternateLBA and in the last sector, never in between. A partition that grows over it
// overwrites it like any other free sector, and until the primary header is written, it is
// still the primary's backup. sgdisk -e and sfdisk --relocate do not erase it either (gdisk
// 1.0.9, util-linux 2.38); parted does.
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

// checkUsable refuses partitions in the place of the backup: old tables may have partitions
// behind LastUsableLBA.
func checkUsable(g *goal, backup size.Bytes) error {
	for _, p := range g.parts {
		if over := p.End() - backup; over > 0 {
			return fmt.Errorf("partition %d reaches %s into the place of the backup GPT: %w", p.Number, over, ErrNoRoom)
		}
	}
	return nil
}

// grownEntries returns the primary's entry array, in whole sectors, with the new places. A
// deleted entry is all zeros, like an unused one in UEFI 2.10 §5.3.3.
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

// backupHeader returns the backup's header: that of the backup with its unknown bytes, if
// there is a backup that agrees with the primary, else a copy of the primary's.
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

// backupEntries returns the backup's entry array, which equals the primary's. A backup that
// stays in its place keeps the bytes after the array in the last sector.
func (t *Table) backupEntries(l gptLayout, entries []byte) []byte {
	b := t.gpt.backup
	if b == nil || b.entries.lba != l.entries || len(b.entries.data) != len(entries) {
		return entries
	}
	own := bytes.Clone(b.entries.data)
	copy(own, entries[:t.gpt.primary.header.entriesBytes()])
	return own
}

// protectiveMBR returns sector 0 with the protective partition's size set to that of the new
// disk, if the MBR has the form of UEFI 2.10 §5.2.3 and agreed with the old disk. Any other
// MBR, for example a hybrid one, is assumed to be intended and stays unchanged. The end in
// CHS is never changed: no system reads it.
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
