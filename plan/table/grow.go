package table

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Change says where a partition shall be. Start and End are multiples of the
// sector size.
type Change struct {
	Number int        `json:"number"`
	Start  size.Bytes `json:"start,omitempty"` // where it shall begin; 0 leaves its start as it is
	End    size.Bytes `json:"end,omitempty"`   // exclusive; required unless Delete
	Delete bool       `json:"delete,omitempty"`
}

// Write is a run of whole sectors to be written, in the order Grow returns
// them and each on disk before the next; Grow says what a power cut does then.
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
	// ErrMBRLimit wraps ErrNoRoom: the disk would have room, but an MBR
	// does not address it.
	ErrMBRLimit = fmt.Errorf("an MBR addresses 2^32 sectors only: %w", ErrNoRoom)
)

// Grow computes the writes that adapt the table to a disk of newDisk bytes
// and make the changes. A GPT's backup goes to the end of the new disk even
// if nothing else changes. Growing or moving a logical partition grows the
// extended one as far as needed.
//
// Partitions move to the right only, and keep their numbers and all that is
// said about them. Changes are judged by the layout they lead to together: a
// partition may go to where another one, or itself, has been. Moving the
// extended partition moves everything in it by the same distance; a change
// for a logical one in it must then give its start, at least as far right.
// A logical one takes its EBR along, unless that is the first, which belongs
// to the start of the extended partition. Deleting what is not there is
// nothing to do. Of the logical partitions only the last can be deleted, or
// the last few together, because the others are numbered by their order; an
// extended one once it is empty.
//
// It returns no writes if all is as it should be. It refuses with ErrDamaged,
// ErrNoPartition, ErrShrink, ErrNoRoom or ErrMBRLimit, and to move or delete
// with ErrMoveLeft, ErrMirrored, ErrUnusualEBR, ErrNotEmpty, ErrRenumber or,
// if an MBR would be left without any partition, ErrNoTable.
//
// Growth is safe against a power cut: after any of the writes there is a
// table with the old or the new ends.
//
// With moves this is a promise about the table alone. The data of partitions
// that move must have been copied before, which nothing written here spoils,
// and from then on the old table is of no use for the data. A GPT is the old
// or the new one after any of the writes. In an MBR every partition is as it
// was or as it shall be, if the extended partition moves or at most one
// logical partition moves, goes or grows, and if no EBR goes to where one was.
// With other changes of logical partitions there is no order of writes that
// would do; then all of them have to be repeated after a power cut. That is
// possible at any time.
func (t *Table) Grow(newDisk size.Bytes, changes []Change) ([]Write, error) {
	writes, _, err := t.grow(newDisk, changes)
	return writes, err
}

// Grown returns the table as Read would find it after the writes of Grow. It does
// no I/O.
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

// prove compares the grown table, as a guest will read it, with what was
// asked for. It guards against tables in which one number means two things:
// an EBR's unused entries, say, which Linux ignores as long as they point
// outside the extended partition, and takes for partitions once that grows.
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

// put compares sectors with what is known to be on the disk, and adds those
// that differ or are not known.
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

// add takes whole sectors whatever is known of their place. A moved partition
// may have been copied over what was there since.
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

// memory is a disk made of known sectors; the others read as zeros. Read only
// ever asks for whole sectors.
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
