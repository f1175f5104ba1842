package table

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Change says where a partition shall end.
type Change struct {
	Number int        `json:"number"`
	End    size.Bytes `json:"end"` // exclusive, a multiple of the sector size
}

// Write is a run of whole sectors to be written. Writes are safe against a
// power cut in the order Grow returns them, if each reaches the disk before
// the next; only sectors that change are in them.
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
// and give the partitions in changes their new ends. A GPT's backup goes to
// the end of the new disk even if nothing else changes. Growing the last
// logical partition grows the extended one as far as needed.
//
// It returns no writes if all is as it should be. It refuses with ErrDamaged,
// ErrNoPartition, ErrShrink, ErrNoRoom or ErrMBRLimit, and never moves a
// start.
func (t *Table) Grow(newDisk size.Bytes, changes []Change) ([]Write, error) {
	writes, _, err := t.grow(newDisk, changes)
	return writes, err
}

// Grown is the table as Read would find it after the writes of Grow. It does
// no I/O.
func (t *Table) Grown(newDisk size.Bytes, changes []Change) (*Table, error) {
	_, grown, err := t.grow(newDisk, changes)
	return grown, err
}

func (t *Table) grow(newDisk size.Bytes, changes []Change) ([]Write, *Table, error) {
	ends, err := t.checkChanges(newDisk, changes)
	if err != nil {
		return nil, nil, err
	}
	var writes []Write
	if t.Kind == MBR {
		writes = t.growMBR(ends)
	} else if writes, err = t.growGPT(newDisk, ends); err != nil {
		return nil, nil, err
	}
	grown, err := Read(memory{t.SectorSize, t.patched(writes)}, newDisk, t.SectorSize)
	if err == nil {
		err = t.prove(grown, ends)
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
func (t *Table) prove(grown *Table, ends map[int]size.Bytes) error {
	if err := grown.Err(); err != nil {
		return err
	}
	if grown.Kind != t.Kind || grown.ID != t.ID || len(grown.Partitions) != len(t.Partitions) {
		return fmt.Errorf("%w: it would read as another table", ErrDamaged)
	}
	for i, want := range t.Partitions {
		if end, ok := ends[want.Number]; ok {
			want.Size = end - want.Start
		}
		got := grown.Partitions[i]
		if want.Role == Extended {
			// It grows as far as the logical ones in it need.
			want.Size = max(want.Size, got.Size)
		}
		if got != want {
			return fmt.Errorf("%w: partition %d would read as another", ErrDamaged, want.Number)
		}
	}
	return nil
}

func (t *Table) checkChanges(newDisk size.Bytes, changes []Change) (ends map[int]size.Bytes, err error) {
	if err := t.editable(newDisk); err != nil {
		return nil, err
	}
	ends = map[int]size.Bytes{}
	for _, c := range changes {
		if _, twice := ends[c.Number]; twice {
			return nil, fmt.Errorf("partition %d is to grow twice", c.Number)
		}
		if err := t.checkChange(c, newDisk); err != nil {
			return nil, fmt.Errorf("cannot grow partition %d: %w", c.Number, err)
		}
		ends[c.Number] = c.End
	}
	return ends, nil
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

func (t *Table) checkChange(c Change, newDisk size.Bytes) error {
	p, ok := t.Partition(c.Number)
	switch {
	case !ok:
		return ErrNoPartition
	case c.End%t.SectorSize != 0:
		return fmt.Errorf("its end, byte %d, is not at a sector's", c.End)
	case c.End < p.End():
		return fmt.Errorf("it has %s and would get %s: %w", p.Size, c.End-p.Start, ErrShrink)
	case c.End == p.End():
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

// patched is the known part of the disk after the writes.
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
