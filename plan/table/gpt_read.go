package table

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/virt-grow/virt-grow/plan/size"
)

// gptCopy is one of the two copies of a GPT.
type gptCopy struct {
	lba     uint64
	header  header
	entries region // whole sectors; the array may end inside the last one
}

// gptTable has the parts of a GPT that Grow edits.
type gptTable struct {
	boot    bootSector
	primary gptCopy
	backup  *gptCopy // nil unless it is valid
}

// array returns the entry array without the rest of its last sector.
func (c gptCopy) array() []byte { return c.entries.data[:c.header.entriesBytes()] }

// defect is why a copy cannot be used.
type defect struct {
	code ProblemCode
	text string
}

// readGPT reads both copies and fills in t. I/O errors are the only errors.
func (t *Table) readGPT(d *device, sector0 region) error {
	t.Kind = GPT
	t.structure = append(t.structure, sector0)
	boot := bootSector(sector0.data)
	if t.Hybrid = boot.hybrid(); t.Hybrid {
		t.problem(HybridMBR, "the MBR in front of the GPT lists partitions of its own (hybrid MBR), which are left as they are")
	}
	if boot.signed() && boot.protective() && !boot.protectsLBA1() {
		t.problem(ProtectiveStart, "the protective MBR does not start at sector 1, so that Linux ignores the GPT")
	}
	primary, bad, err := d.readCopy(1, "primary")
	if err != nil {
		return err
	}
	if bad != nil {
		return t.fallBack(d, boot, primary, bad)
	}
	t.gpt = &gptTable{boot: boot, primary: *primary}
	t.addCopy(primary)
	if err := t.readBackup(d); err != nil {
		return err
	}
	t.readEntries(primary)
	t.checkGPT(primary.header)
	return nil
}

func (t *Table) addCopy(c *gptCopy) {
	t.structure = append(t.structure, region{c.lba, c.header}, c.entries)
}

// readBackup reads the backup at the place that the primary names. A bad backup is not fatal:
// growing writes a new one.
func (t *Table) readBackup(d *device) error {
	primary := t.gpt.primary
	at := primary.header.at(gptAlternateLBA)
	if at <= primary.header.at(gptLastUsable) || !d.has(at, 1) {
		t.problem(BackupMissing, "there is no backup GPT: the primary one looks for it at sector %d", at)
		return nil
	}
	if rest := d.sectors - 1 - at; rest > 0 {
		t.problem(BackupNotAtEnd, "the backup GPT is %s before the end of the disk, which was enlarged since", t.offset(rest))
	}
	backup, bad, err := d.readCopy(at, "backup")
	switch {
	case err != nil:
		return err
	case bad != nil:
		t.problem(bad.code, "%s", bad.text)
		// Read the sectors of its entries, so that Grow only writes those that are
		// wrong.
		if n := primary.header.entriesSectors(); n > 0 && n < at {
			_, err = d.read(at-n, n)
		}
		return err
	}
	t.gpt.backup = backup
	t.addCopy(backup)
	if !agree(primary, *backup) {
		t.problem(BackupDiffers, "the backup GPT is intact, but differs from the primary one; Linux and Windows use the primary")
	}
	return nil
}

// agree reports whether all fields are equal that must be the same in both copies.
func agree(a, b gptCopy) bool {
	return a.header.at(gptFirstUsable) == b.header.at(gptFirstUsable) &&
		a.header.at(gptLastUsable) == b.header.at(gptLastUsable) &&
		bytes.Equal(a.header[gptDiskGUID:gptEntriesLBA], b.header[gptDiskGUID:gptEntriesLBA]) &&
		a.header.entryCount() == b.header.entryCount() &&
		a.header.entrySize() == b.header.entrySize() &&
		bytes.Equal(a.array(), b.array())
}

// fallBack looks for a backup when the primary is bad, only to show its partitions. The
// problem is fatal: the table is not edited.
func (t *Table) fallBack(d *device, boot bootSector, damaged *gptCopy, bad *defect) error {
	if other := d.otherSectorSize(); other != 0 {
		t.problem(WrongSectorSize, "the GPT was written for sectors of %d bytes, and the disk is attached with %d", other, t.SectorSize)
		return nil
	}
	t.problem(bad.code, "%s", bad.text)
	candidates := []uint64{d.sectors - 1, boot.protectiveSize()}
	if damaged != nil {
		candidates = append(candidates, damaged.header.at(gptAlternateLBA))
		t.structure = append(t.structure, region{damaged.lba, damaged.header})
	}
	for _, at := range candidates {
		if at < 2 || !d.has(at, 1) {
			continue
		}
		backup, bad, err := d.readCopy(at, "backup")
		if err != nil {
			return err
		}
		if bad == nil {
			t.problem(BackupIntact, "the backup GPT at sector %d is intact and can be used to repair the primary one", at)
			t.addCopy(backup)
			t.readEntries(backup)
			t.checkGPT(backup.header)
			return nil
		}
	}
	return nil
}

// readCopy reads and checks the copy whose header is at the given LBA. For a bad copy, it
// returns the reason and the readable parts, which may only be used as a hint.
func (d *device) readCopy(at uint64, which string) (*gptCopy, *defect, error) {
	if !d.has(at, 1) {
		return nil, &defect{ProblemCode(which + "-missing"), "the disk is too small for a GPT"}, nil
	}
	sector, err := d.read(at, 1)
	if err != nil {
		return nil, nil, err
	}
	c := &gptCopy{lba: at, header: header(sector.data)}
	if bad := d.judgeHeader(c, which); bad != nil {
		return c, bad, nil
	}
	c.entries = region{lba: c.header.at(gptEntriesLBA)}
	if n := c.header.entriesSectors(); n > 0 {
		if c.entries, err = d.read(c.entries.lba, n); err != nil {
			return nil, nil, err
		}
	}
	if crc32.ChecksumIEEE(c.array()) != get32(c.header[gptEntriesCRC:]) {
		return c, &defect{ProblemCode(which + "-entries-crc"), "the checksum of the " + which + " GPT entries is wrong"}, nil
	}
	return c, nil, nil
}

// judgeHeader applies the checks of UEFI 2.10 §5.3.2 and of Linux (is_gpt_valid), and checks
// the limits of all offsets and sizes.
func (d *device) judgeHeader(c *gptCopy, which string) *defect {
	h, invalid := c.header, ProblemCode(which+"-header-invalid")
	first, last, entries := h.at(gptFirstUsable), h.at(gptLastUsable), h.at(gptEntriesLBA)
	switch {
	case !h.signed():
		return &defect{ProblemCode(which + "-missing"), fmt.Sprintf("there is no %s GPT header at sector %d", which, c.lba)}
	case !h.sizeValid():
		return &defect{invalid, fmt.Sprintf("the %s GPT header claims a size of %d bytes", which, h.size())}
	case !h.intact():
		return &defect{ProblemCode(which + "-header-crc"), "the checksum of the " + which + " GPT header is wrong"}
	case h.at(gptMyLBA) != c.lba:
		return &defect{invalid, fmt.Sprintf("the %s GPT header at sector %d says it is at %d", which, c.lba, h.at(gptMyLBA))}
	case h.entrySize() < gptEntryMin || bits.OnesCount64(h.entrySize()) != 1:
		return &defect{invalid, fmt.Sprintf("the %s GPT header claims entries of %d bytes", which, h.entrySize())}
	case h.entriesBytes() > maxEntriesBytes:
		return &defect{TooManyEntries, fmt.Sprintf("the %s GPT header claims %d entries of %d bytes; the limit is %s",
			which, h.entryCount(), h.entrySize(), size.Bytes(maxEntriesBytes))}
	case last < first:
		return &defect{invalid, fmt.Sprintf("the %s GPT header claims usable sectors from %d to %d", which, first, last)}
	case last >= d.sectors:
		return &defect{DiskTruncated, fmt.Sprintf("the GPT was made for a larger disk: it uses sectors up to %d, and the disk has %d", last, d.sectors)}
	case !c.entriesPlaced(entries, d):
		return &defect{invalid, fmt.Sprintf("the %s GPT entries cannot be at sector %d", which, entries)}
	}
	return nil
}

// entriesPlaced reports whether the array is between its header and the usable sectors, for a
// header before or after them (UEFI 2.10 figure 5-3).
func (c *gptCopy) entriesPlaced(at uint64, d *device) bool {
	n := c.header.entriesSectors()
	first, last := c.header.at(gptFirstUsable), c.header.at(gptLastUsable)
	if n > 0 && !d.has(at, n) {
		return false
	}
	if c.lba < first {
		return at > c.lba && at+n <= first
	}
	return at > last && at+n <= c.lba
}

// otherSectorSize returns the sector size for which an intact GPT was written, if that is
// not the device's; else 0.
func (d *device) otherSectorSize() size.Bytes {
	for _, sector := range []size.Bytes{512, 4096} {
		if sector == d.sector {
			continue
		}
		other := newDevice(d.r, size.Bytes(d.sectors)*d.sector, sector)
		if ok, err := other.hasGPT(); ok && err == nil {
			return sector
		}
	}
	return 0
}

func (t *Table) readEntries(c *gptCopy) {
	t.ID = guidText(c.header[gptDiskGUID:])
	step := int(c.header.entrySize())
	unused := make([]byte, gptEntryGUID)
	for i, array := 0, c.array(); len(array) > 0; i, array = i+1, array[step:] {
		if e := array[:step]; !bytes.Equal(e[:gptEntryGUID], unused) {
			t.Partitions = append(t.Partitions, t.readEntry(i+1, e))
		}
	}
}

func (t *Table) readEntry(number int, e []byte) Partition {
	p := Partition{
		Number:     number,
		Role:       Primary,
		Type:       guidText(e),
		GUID:       guidText(e[gptEntryGUID:]),
		Name:       nameText(e[gptEntryName:gptEntryMin]),
		Attributes: get64(e[gptEntryAttrs:]),
	}
	first, last := get64(e[gptEntryFirst:]), get64(e[gptEntryLast:])
	p.Start = t.offset(first)
	if last < first {
		t.problem(EntryReversed, "partition %d ends at sector %d, before its start at %d", number, last, first)
		return p
	}
	// last+1 overflows for the largest LBA; offset saturates well before.
	p.Size = t.offset(last) - p.Start
	if t.offset(last) < maxOffset {
		p.Size += t.SectorSize
	}
	return p
}
