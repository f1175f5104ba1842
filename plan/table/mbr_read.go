package table

import (
	"fmt"
)

// mbrLocation is the place of a partition's entry on disk.
type mbrLocation struct {
	sector uint64 // LBA of the MBR or EBR
	index  int    // index of the entry, 0 to 3
	base   uint64 // the LBA from which its start is counted
	// For logical partitions: the number of the extended one, and the entry in the
	// previous EBR that leads here, nil for the first.
	container int
	link      *mbrLocation
}

// ebr is one sector of the chain of logical partitions.
type ebr struct {
	lba  uint64
	data bootSector
}

// Linux follows at most 100 links without finding a partition (msdos.c,
// parse_extended) and numbers at most 255 (DISK_MAX_PARTS).
const (
	maxEmptyEBRs = 100
	maxMBRNumber = 255
)

func (t *Table) readMBR(d *device, sector0 region, stale bool) error {
	t.Kind = MBR
	t.structure = append(t.structure, sector0)
	boot := bootSector(sector0.data)
	t.ID = fmt.Sprintf("0x%08x", get32(boot[mbrSignature:]))
	t.mbr = map[int]mbrLocation{}
	if fs := boot.fileSystem(); fs != "" {
		t.problem(FileSystemToo, "sector 0 is both the start of %s and a partition table", fs)
	}
	if stale {
		t.problem(StaleGPT, "there are remains of a GPT, which the MBR does not mention; guests use the MBR")
	}
	for i := range 4 {
		if e := boot.entry(i); e.used() {
			t.addMBR(i+1, e, mbrLocation{index: i})
		}
	}
	if err := t.readExtended(d); err != nil {
		return err
	}
	t.checkMBR()
	return nil
}

// addMBR adds the partition of an entry.
func (t *Table) addMBR(number int, e mbrEntry, at mbrLocation) {
	p := Partition{
		Number:   number,
		Role:     Primary,
		Start:    t.offset(at.base + uint64(e.start())),
		Size:     t.offset(uint64(e.count())),
		Type:     fmt.Sprintf("0x%02x", e.kind()),
		Bootable: e.bootable(),
	}
	switch {
	case at.sector != 0:
		p.Role = Logical
	case e.extended():
		p.Role = Extended
	}
	t.Partitions = append(t.Partitions, p)
	t.mbr[number] = at
}

func (t *Table) readExtended(d *device) error {
	found := false
	for _, p := range t.Partitions {
		if p.Role != Extended {
			continue
		}
		if found {
			t.problem(ExtendedMany, "there is more than one extended partition")
		}
		found = true
		if err := t.readChain(d, p); err != nil {
			return err
		}
	}
	return nil
}

// chain is the walk along the EBRs of one extended partition.
type chain struct {
	*Table
	d         *device
	container Partition
	first     uint64 // LBA of the extended partition, from which all links are counted
	sectors   uint64 // size of the extended partition
	next      int    // number of the next logical partition
}

// readChain follows the EBRs as Linux does (msdos.c, parse_extended): each of the four entries
// may be a partition; the first entry with an extended type leads to the next EBR.
func (t *Table) readChain(d *device, container Partition) error {
	c := chain{
		Table: t, d: d, container: container,
		first: t.lba(container.Start), sectors: t.lba(container.Size),
		next: t.nextLogical(),
	}
	at, span, empty := c.first, c.sectors, 0
	var link *mbrLocation
	for seen := map[uint64]bool{}; ; {
		sector, err := c.readEBR(at, seen)
		if err != nil || sector == nil {
			return err
		}
		if c.addLogicals(at, span, sector, link) > 0 {
			empty = 0
		}
		i := linkIndex(sector)
		if i < 0 {
			return nil
		}
		if empty++; empty > maxEmptyEBRs || c.next > maxMBRNumber {
			t.problem(EBRLimit, "the chain of logical partitions is longer than Linux follows")
			return nil
		}
		link = &mbrLocation{sector: at, index: i, base: c.first}
		at, span = c.first+uint64(sector.entry(i).start()), uint64(sector.entry(i).count())
	}
}

func (t *Table) nextLogical() int {
	if last := len(t.Partitions) - 1; t.Partitions[last].Role == Logical {
		return t.Partitions[last].Number + 1
	}
	return 5
}

// linkIndex returns the entry that leads to the next EBR, or -1.
func linkIndex(sector bootSector) int {
	for i := range 4 {
		if sector.entry(i).extended() {
			return i
		}
	}
	return -1
}

// readEBR returns nil at the end of the chain, also at an invalid one.
func (c *chain) readEBR(at uint64, seen map[uint64]bool) (bootSector, error) {
	switch {
	case seen[at]:
		c.problem(EBRLoop, "the chain of logical partitions comes back to sector %d", at)
		return nil, nil
	case at < c.first || at-c.first >= c.sectors:
		c.problem(EBROutside, "the chain of logical partitions leaves the extended partition: sector %d", at)
		return nil, nil
	case at == 0 || !c.d.has(at, 1):
		// The extended partition starts at the MBR or ends beyond the
		// disk, which checkMBR reports.
		return nil, nil
	}
	seen[at] = true
	data, err := c.d.read(at, 1)
	if err != nil {
		return nil, err
	}
	sector := bootSector(data.data)
	if !sector.signed() {
		if at != c.first {
			c.problem(EBRSignature, "the chain of logical partitions leads to sector %d, which is not an extended boot record", at)
		}
		// The first sector of an extended partition without logical ones may contain
		// anything.
		return nil, nil
	}
	c.structure = append(c.structure, data)
	c.ebrs = append(c.ebrs, ebr{at, sector})
	return sector, nil
}

// addLogicals adds the partitions in one EBR. Entries 3 and 4 may contain garbage: as in
// Linux, they count only if they lie within the link's span.
func (c *chain) addLogicals(at, span uint64, sector bootSector, link *mbrLocation) (added int) {
	for i := range 4 {
		e := sector.entry(i)
		if !e.used() || e.extended() {
			continue
		}
		start, count := uint64(e.start()), uint64(e.count())
		if i >= 2 && (start+count > span || at+start+count > c.first+c.sectors) {
			continue
		}
		if c.next > maxMBRNumber {
			return added
		}
		c.addMBR(c.next, e, mbrLocation{sector: at, index: i, base: at, container: c.container.Number, link: link})
		c.next++
		added++
	}
	return added
}
