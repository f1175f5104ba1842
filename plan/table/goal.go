package table

import (
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Reasons for which a partition cannot be moved or deleted, in addition to those for
// growing.
var (
	ErrMoveLeft = errors.New("moving to the left is not supported")
	// ErrMirrored: the hybrid MBR would still describe the old place.
	ErrMirrored = errors.New("a hybrid MBR lists the partition as well")
	// ErrUnusualEBR wraps ErrDamaged, because tools disagree about what such
	// an extended boot record means.
	ErrUnusualEBR = fmt.Errorf("%w: its extended boot record describes more than one partition, or describes it in an unusual place", ErrDamaged)
	ErrNotEmpty   = errors.New("the extended partition is not empty")
	ErrRenumber   = errors.New("the logical partitions behind it would get other numbers")
)

// goal is the layout that the changes lead to.
type goal struct {
	parts     []Partition // the remaining partitions with their new places, by number
	asked     map[int]Change
	rearrange bool // a partition moves or is deleted
}

func (g *goal) part(number int) (Partition, bool) { return find(g.parts, number) }
func (g *goal) deletes(number int) bool           { return g.asked[number].Delete }

// goal computes the final layout and checks that it fits the disk.
func (t *Table) goal(newDisk size.Bytes, changes []Change) (*goal, error) {
	if err := t.editable(newDisk); err != nil {
		return nil, err
	}
	g := &goal{asked: map[int]Change{}}
	for _, c := range changes {
		if _, twice := g.asked[c.Number]; twice {
			return nil, fmt.Errorf("partition %d has two changes", c.Number)
		}
		if _, ok := t.Partition(c.Number); !ok && !c.Delete {
			return nil, c.refused(ErrNoPartition)
		}
		g.asked[c.Number] = c
	}
	for _, p := range t.Partitions {
		if err := t.arrange(g, p); err != nil {
			return nil, err
		}
	}
	if g.rearrange {
		return g, t.checkFinal(g, newDisk)
	}
	for _, c := range changes {
		if err := t.checkRoom(c, newDisk); err != nil {
			return nil, c.refused(err)
		}
	}
	return g, nil
}

func (c Change) refused(err error) error {
	verb := "grow"
	switch {
	case c.Delete:
		verb = "delete"
	case c.Start != 0:
		verb = "move"
	}
	return fmt.Errorf("cannot %s partition %d: %w", verb, c.Number, err)
}

// arrange adds a partition to the goal, with its new place. The extended partition is added
// before the logical ones.
func (t *Table) arrange(g *goal, p Partition) error {
	c, asked := g.asked[p.Number]
	if c.Delete {
		g.rearrange = true
		if err := t.checkDelete(g, p); err != nil {
			return c.refused(err)
		}
		return nil
	}
	now, along := p, t.along(g, p)
	now.Start += along
	switch {
	case asked:
		var err error
		if now, err = t.moved(g, now); err != nil {
			return c.refused(err)
		}
	case p.Role == Extended:
		now.Size = max(p.Size, t.logicalsEnd(g, 0)-p.Start)
	}
	if now.Start != p.Start {
		g.rearrange = true
		if err := t.checkMove(p, now.Start-p.Start-along); err != nil {
			return c.refused(err)
		}
	}
	g.parts = append(g.parts, now)
	return nil
}

// along returns how far a logical partition moves with the extended one around it.
func (t *Table) along(g *goal, p Partition) size.Bytes {
	if p.Role != Logical {
		return 0
	}
	before, _ := t.Partition(t.mbr[p.Number].container)
	now, ok := g.part(before.Number)
	if !ok {
		return 0 // the extended partition is deleted, and so must be this one
	}
	return now.Start - before.Start
}

// moved returns a partition after its change. p is the partition without the change.
func (t *Table) moved(g *goal, p Partition) (Partition, error) {
	before, _ := t.Partition(p.Number)
	c := g.asked[p.Number]
	start, end := c.Start, c.End
	if start == 0 {
		start = before.Start
	}
	if p.Role == Extended {
		end = max(end, t.logicalsEnd(g, start-p.Start))
	}
	switch {
	case start%t.SectorSize != 0:
		return p, fmt.Errorf("its start, byte %d, is not a multiple of the sector size", start)
	case c.End%t.SectorSize != 0:
		return p, fmt.Errorf("its end, byte %d, is not a multiple of the sector size", c.End)
	case c.Start == 0 && p.Start != before.Start:
		return p, errors.New("the extended partition around it moves, and its new start is not given")
	case start < p.Start:
		return p, fmt.Errorf("it starts at byte %d and would start at %d: %w", p.Start, start, ErrMoveLeft)
	case end < start || end-start < p.Size:
		return p, fmt.Errorf("it has %s and would get %s: %w", p.Size, max(end-start, 0), ErrShrink)
	}
	p.Start, p.Size = start, end-start
	return p, nil
}

// logicalsEnd returns the end of the last logical partition, if logical partitions without a
// change move with the extended one.
func (t *Table) logicalsEnd(g *goal, along size.Bytes) (end size.Bytes) {
	for _, p := range t.Partitions {
		c, asked := g.asked[p.Number]
		switch {
		case p.Role != Logical || c.Delete:
		case asked:
			end = max(end, c.End)
		default:
			end = max(end, p.End()+along)
		}
	}
	return end
}

// checkMove checks whether a partition can be moved or deleted. by is how far it moves,
// without the movement of the extended partition around it.
func (t *Table) checkMove(p Partition, by size.Bytes) error {
	if t.Mirrored(p.Number) {
		return ErrMirrored
	}
	if p.Role == Logical && by != 0 {
		return t.checkEBR(p)
	}
	return nil
}

func (t *Table) checkDelete(g *goal, p Partition) error {
	if t.Mirrored(p.Number) {
		return ErrMirrored
	}
	for _, other := range t.Partitions {
		if other.Role != Logical || g.deletes(other.Number) {
			continue
		}
		switch {
		case p.Role == Extended:
			return fmt.Errorf("partition %d is in it: %w", other.Number, ErrNotEmpty)
		case p.Role == Logical && other.Number > p.Number:
			return fmt.Errorf("partition %d would become %d: %w", other.Number, other.Number-1, ErrRenumber)
		}
	}
	if p.Role == Logical {
		return t.checkEBR(p)
	}
	return nil
}

// checkEBR refuses to move or delete a logical partition without an EBR of its own that has
// the usual two entries.
func (t *Table) checkEBR(p Partition) error {
	at := t.mbr[p.Number]
	if at.index > 1 {
		return ErrUnusualEBR
	}
	for number, other := range t.mbr {
		if number != p.Number && other.sector == at.sector {
			return ErrUnusualEBR
		}
	}
	return nil
}

// checkFinal checks the new places only: a partition may move to a place where another one,
// or itself, has been.
func (t *Table) checkFinal(g *goal, newDisk size.Bytes) error {
	if t.Kind == MBR && len(g.parts) == 0 {
		return fmt.Errorf("cannot delete all partitions: an MBR without any is not recognised: %w", ErrNoTable)
	}
	usable, err := t.usableEnd(newDisk)
	if err != nil {
		return err
	}
	for _, p := range g.parts {
		if err := t.checkInside(p, usable, newDisk); err != nil {
			return fmt.Errorf("cannot place partition %d: %w", p.Number, err)
		}
	}
	var ebrs []extent
	for _, e := range t.keptEBRs(g) {
		ebrs = append(ebrs, t.ebrExtent(e.to))
	}
	outer, inner := levels(g.parts, ebrs)
	for _, c := range append(overlaps(outer), overlaps(inner)...) {
		return fmt.Errorf("%s would overlap %s by %s: %w", c.a.what, c.b.what, c.by, ErrNoRoom)
	}
	return nil
}

// checkInside refuses a partition outside of the usable range. A partition without a change
// may stay outside.
func (t *Table) checkInside(p Partition, usable, newDisk size.Bytes) error {
	before, _ := t.Partition(p.Number)
	over := p.End() - usable
	switch {
	case t.Kind == GPT && p.Start != before.Start && p.Start < t.offset(t.gpt.primary.header.at(gptFirstUsable)):
		return fmt.Errorf("it would start at byte %d, before the first usable one: %w", p.Start, ErrNoRoom)
	case p == before, over <= 0:
		return nil
	case t.Kind == MBR && p.End() <= newDisk:
		return fmt.Errorf("it would end %s beyond what is addressable: %w", over, ErrMBRLimit)
	}
	return fmt.Errorf("it would end %s beyond what is usable of the disk: %w", over, ErrNoRoom)
}
