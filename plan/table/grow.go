package table

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Change is the new place of a partition, or its deletion. Start and End are multiples of
// the sector size.
type Change struct {
	Number int        `json:"number"`
	Start  size.Bytes `json:"start,omitempty"` // the new start; 0 keeps the start
	End    size.Bytes `json:"end,omitempty"`   // exclusive; required unless Delete
	Delete bool       `json:"delete,omitempty"`
}

// Write is a range of whole sectors to write. The writes must be done in the order in which
// Grow returns them, each on disk before the next. Grow describes what a power cut does.
type Write struct {
	Offset size.Bytes `json:"offset"`
	Data   []byte     `json:"data"`
	What   string     `json:"what"` // for people: "primary GPT header"
}

// Reasons for which a change is refused.
var (
	ErrNoPartition = errors.New("no such partition")
	ErrShrink      = errors.New("shrinking is not supported")
	ErrNoRoom      = errors.New("no room")
	// ErrMBRLimit wraps ErrNoRoom: the disk has room, but an MBR cannot address it.
	ErrMBRLimit = fmt.Errorf("an MBR addresses 2^32 sectors only: %w", ErrNoRoom)
)

// Grow computes the writes that adapt the table to a disk of newDisk bytes
// and make the changes. A GPT's backup goes to the end of the new disk even
// if nothing else changes. Growing or moving a logical partition grows the
// extended one as far as needed.
//
// Partitions move only to the right, and keep their numbers and all other properties. Only
// the layout that all changes together lead to is checked: a partition may move to a place
// where another one, or itself, has been. When the extended partition moves, all logical
// ones in it move by the same distance; a change for one of them must then give its start,
// at least as far right. A logical partition moves with its EBR, unless that is the first
// EBR, which belongs to the start of the extended partition. Deleting a partition that does
// not exist does nothing. Only the last logical partitions can be deleted, because logical
// partitions are numbered in their order, and an extended partition only if it is empty.
//
// It returns no writes if nothing has to change. Its errors are ErrDamaged, ErrNoPartition,
// ErrShrink, ErrNoRoom and ErrMBRLimit; for moves and deletions also ErrMoveLeft,
// ErrMirrored, ErrUnusualEBR, ErrNotEmpty, ErrRenumber and, if an MBR would have no partition
// left, ErrNoTable.
//
// Growth is safe against a power cut: after each of the writes, the table has the old or the
// new ends.
//
// With moves, that holds for the table only. The data of partitions that move must have been
// copied before; the writes do not damage it, but the old table no longer matches it. A GPT
// is the old or the new one after each of the writes. In an MBR, every partition has its old
// or its new place, if the extended partition moves or at most one logical partition moves,
// grows or is deleted, and if no EBR is written to the place of another. For other changes
// of logical partitions, no order of writes is safe: after a power cut, all writes have to be
// repeated, which is always possible.
func (t *Table) Grow(newDisk size.Bytes, changes []Change) ([]Write, error) {
	writes, _, err := t.grow(newDisk, changes)
	return writes, err
}

// Grown returns the table that Read would find after the writes of Grow. It does no I/O.
func (t *Table) Grown(newDisk size.Bytes, changes []Change) (*Table, error) {
	_, grown, err := t.grow(newDisk, changes)
	return grown, err
}

func (t *Table) grow(newDisk size.Bytes, changes []Change) ([]Write, *Table, error) {
	g, err := t.goal(newDisk, changes)
	if err != nil {
		return nil, nil, err
	}
	var writes []Write
	if t.Kind == MBR {
		writes = t.growMBR(g)
	} else if writes, err = t.growGPT(newDisk, g); err != nil {
		return nil, nil, err
	}
	grown, err := Read(memory{t.SectorSize, t.patched(writes)}, newDisk, t.SectorSize)
	if err == nil {
		err = t.prove(grown, g)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the grown partition table would not be the one planned: %w", err)
	}
	return writes, grown, nil
}

// prove compares the grown table, as a guest will read it, with the goal. It detects tables
// that are ambiguous: for example, Linux ignores an EBR's unused entries as long as they
// point outside the extended partition, and reads them as partitions once that has grown.
func (t *Table) prove(grown *Table, g *goal) error {
	if err := grown.Err(); err != nil {
		return err
	}
	if grown.Kind != t.Kind || grown.ID != t.ID || len(grown.Partitions) != len(g.parts) {
		return fmt.Errorf("%w: it would read as another table", ErrDamaged)
	}
	for i, want := range g.parts {
		if grown.Partitions[i] != want {
			return fmt.Errorf("%w: partition %d would read as another", ErrDamaged, want.Number)
		}
	}
	return nil
}

func (t *Table) editable(newDisk size.Bytes) error {
	if err := t.Err(); err != nil {
		return err
	}
	if newDisk < t.DiskSize {
		return fmt.Errorf("the disk has %s and would get %s: %w", t.DiskSize, newDisk, ErrShrink)
	}
	return nil
}

// checkRoom checks a change that only grows a partition.
func (t *Table) checkRoom(c Change, newDisk size.Bytes) error {
	p, ok := t.Partition(c.Number)
	if !ok || c.End == p.End() {
		return nil
	}
	limit, next, err := t.limit(p, newDisk)
	if err != nil || c.End <= limit {
		return err
	}
	needed, free := c.End-p.End(), limit-p.End()
	switch {
	case next != nil:
		return fmt.Errorf("%s needed, %s free before partition %d: %w", needed, free, next.Number, ErrNoRoom)
	case t.Kind == MBR && c.End <= newDisk:
		return fmt.Errorf("%s needed, %s addressable: %w", needed, free, ErrMBRLimit)
	}
	return fmt.Errorf("%s needed, %s free before the end of the disk: %w", needed, free, ErrNoRoom)
}

// writer collects the sectors that change.
type writer []Write

// put adds the sectors that differ from the known content of the disk, or whose content is
// not known.
func (w *writer) put(t *Table, lba uint64, data []byte, what string) {
	n := int(t.SectorSize)
	var run *Write
	for i := 0; i < len(data); i += n {
		at, sector := lba+uint64(i/n), data[i:i+n]
		if bytes.Equal(t.known[at], sector) {
			run = nil
			continue
		}
		if run == nil {
			*w = append(*w, Write{Offset: t.offset(at), What: what})
			run = &(*w)[len(*w)-1]
		}
		run.Data = append(run.Data, sector...)
	}
}

// add adds sectors without a comparison: since they were read, a moved partition may have
// been copied over them.
func (w *writer) add(t *Table, lba uint64, data []byte, what string) {
	*w = append(*w, Write{Offset: t.offset(lba), Data: data, What: what})
}

// patched returns the known part of the disk after the writes.
func (t *Table) patched(writes []Write) map[uint64][]byte {
	sectors := make(map[uint64][]byte, len(t.known))
	for lba, data := range t.known {
		sectors[lba] = data
	}
	n := t.SectorSize
	for _, w := range writes {
		for at := size.Bytes(0); at < size.Bytes(len(w.Data)); at += n {
			sectors[t.lba(w.Offset+at)] = w.Data[at : at+n]
		}
	}
	return sectors
}

// memory is a disk of known sectors; other sectors read as zeros. Read only reads whole
// sectors.
type memory struct {
	sector  size.Bytes
	sectors map[uint64][]byte
}

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	n := int(m.sector)
	for i := 0; i < len(p); i += n {
		copy(p[i:], m.sectors[uint64(off)/uint64(n)+uint64(i/n)])
	}
	return len(p), nil
}
