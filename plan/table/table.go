// Package table reads GPT and MBR partition tables, and computes the writes that grow them,
// move partitions to the right, or delete partitions. It preserves all other bytes: the new
// table differs from the old one only in offsets, sizes, checksums and deleted entries.
//
// It never runs a program, never writes, and reads only the sectors of the table. Every read
// is bounds-checked, because the bytes come from a guest and may be hostile.
//
// Invariants, each held by a property test:
//
//   - a partition's number, type, GUID, name and attributes never change, nor
//     do boot code, the MBR disk signature, reserved and unknown header bytes,
//     or the order of entries;
//   - a partition gets another start, always further right, only by a [Change]
//     of it or of the extended partition around it, and is deleted only by a
//     Change with Delete;
//   - partitions never shrink and never overlap, and nothing is written to the
//     new place of a partition;
//   - a second call for the same layout returns no writes;
//   - if a power cut stops the writes at any point, a valid table can be read
//     from the disk, with every partition at its old or its new place. The
//     exceptions, all with MBR logicals that move or are deleted, are in the
//     comment of [Table.Grow].
//
// Sizes and offsets are bytes everywhere in the API; sectors are internal.
//
// Sources: UEFI 2.10 §5.2 (MBR, protective MBR) and §5.3 (GPT); the Linux kernel's
// block/partitions/{efi,msdos}.c, because the guest's kernel decides what is a table.
package table

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Kind is the format of a partition table.
type Kind string

// The two formats.
const (
	GPT Kind = "gpt"
	MBR Kind = "mbr"
)

// Role is the role of a partition in its table. All partitions of a GPT are primary.
type Role string

// Roles of MBR partitions.
const (
	Primary  Role = "primary"
	Extended Role = "extended"
	Logical  Role = "logical"
)

// Partition is one entry of a table.
type Partition struct {
	// Number is the number in the table, from 1. MBR logicals are numbered from 5 in the
	// order of their chain, as in Linux.
	Number int  `json:"number"`
	Role   Role `json:"role"`
	// Start is the offset on the disk; Start and Size are in bytes.
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
	// Type is an upper-case GUID (GPT) or "0x83" (MBR). See [TypeName].
	Type string `json:"type"`

	GUID       string `json:"guid,omitempty"`       // GPT only, upper-case
	Name       string `json:"name,omitempty"`       // GPT only
	Attributes uint64 `json:"attributes,omitempty"` // GPT only, UEFI 2.10 table 5.8
	Bootable   bool   `json:"bootable,omitempty"`   // MBR only
}

// End returns the first byte after the partition.
func (p Partition) End() size.Bytes { return p.Start + p.Size }

// Table is a partition table with the bytes from which it was read. Changing the exported
// fields does not change the result of Grow.
type Table struct {
	Kind       Kind       `json:"kind"`
	SectorSize size.Bytes `json:"sectorSize"`
	DiskSize   size.Bytes `json:"diskSize"`
	// ID is the GPT's disk GUID, or the MBR's disk signature as 0x%08x.
	ID string `json:"id"`
	// Partitions are in the order of their numbers, which may differ from the order of
	// their offsets.
	Partitions []Partition `json:"partitions"`
	Problems   []Problem   `json:"problems,omitempty"`
	// Hybrid reports that the MBR of a GPT also lists partitions. They are not updated
	// when the GPT grows.
	Hybrid bool `json:"hybrid,omitempty"`

	structure []region            // the sectors of the table
	known     map[uint64][]byte   // every sector that was read, by LBA
	gpt       *gptTable           // Kind GPT; nil if no copy was readable
	mbr       map[int]mbrLocation // Kind MBR: the place of each partition's entry
	ebrs      []ebr               // Kind MBR: the chain of logical partitions
}

// ErrNoTable reports that there is neither a GPT nor an MBR with partitions: the disk is
// empty, or has a file system, LUKS or LVM without partitions.
var ErrNoTable = errors.New("no partition table")

// ErrSectorSize reports an invalid sector size.
var ErrSectorSize = errors.New("sector size must be a power of two from 512 to 65536 bytes")

// Read reads the partition table of a disk of the given size. sector is the logical sector
// size that the guest sees, see [SniffSectorSize]. Like guests, it ignores a rest of the disk
// that is smaller than a sector.
//
// A damaged table is not an error: Read returns what it could read, with Problems. Errors are
// ErrNoTable, ErrSectorSize, and those of r.
func Read(r io.ReaderAt, disk, sector size.Bytes) (*Table, error) {
	if sector < 512 || sector > 64*size.KiB || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("%d bytes: %w", sector, ErrSectorSize)
	}
	d := newDevice(r, disk, sector)
	if d.sectors < 2 {
		return nil, fmt.Errorf("the disk has only %s: %w", disk, ErrNoTable)
	}
	sector0, err := d.read(0, 1)
	if err != nil {
		return nil, err
	}
	t := &Table{SectorSize: sector, DiskSize: disk, known: d.known}
	boot := bootSector(sector0.data)
	if boot.signed() && boot.protective() {
		return t, t.readGPT(d, sector0)
	}
	stale, err := d.hasGPT()
	if err != nil {
		return nil, err
	}
	switch {
	case boot.isTable(d.sectors):
		return t, t.readMBR(d, sector0, stale)
	case stale:
		t.problem(ProtectiveMissing, "sector 0 has no protective MBR, so that guests and firmware do not see the GPT behind it")
		return t, t.readGPT(d, sector0)
	}
	return nil, ErrNoTable
}

// SniffSectorSize returns the logical sector size with which a disk was partitioned: 4096
// bytes if there is a valid GPT header at 4096 and none at 512, otherwise 512. An MBR does
// not record the sector size; it depends on how the disk is attached.
func SniffSectorSize(r io.ReaderAt, disk size.Bytes) size.Bytes {
	for _, sector := range []size.Bytes{512, 4096} {
		if ok, err := newDevice(r, disk, sector).hasGPT(); ok && err == nil {
			return sector
		}
	}
	return 512
}

// Partition finds a partition by its number.
func (t *Table) Partition(number int) (Partition, bool) { return find(t.Partitions, number) }

func find(parts []Partition, number int) (Partition, bool) {
	for _, p := range parts {
		if p.Number == number {
			return p, true
		}
	}
	return Partition{}, false
}

// Mirrored reports whether a hybrid MBR lists a partition of the GPT as well. Its size in the
// MBR does not change when the GPT grows, so a guest that uses the MBR (as with Boot Camp)
// would find a file system larger than its partition.
func (t *Table) Mirrored(number int) bool {
	p, ok := t.Partition(number)
	if !ok || !t.Hybrid || t.gpt == nil {
		return false
	}
	for i := range 4 {
		e := t.gpt.boot.entry(i)
		if e.kind() != protectiveType && e.used() && uint64(e.start()) == t.lba(p.Start) {
			return true
		}
	}
	return false
}

// Addressable returns the first byte of a disk that the table cannot address: 2^32 sectors
// for an MBR (2 TiB with sectors of 512 bytes), in practice no limit for a GPT.
//
// An entry's start and size have 32 bits each, so a partition could end beyond that limit.
// But fdisk, parted and Windows use no sector past 2^32-1 with an MBR, and neither does this
// package.
func (t *Table) Addressable() size.Bytes {
	if t.Kind == MBR {
		return t.SectorSize << 32
	}
	return maxOffset
}

// Fingerprint returns a SHA-256, in hex, of all sectors of the table: MBR or EBR sectors, both
// GPT headers and both entry arrays, with their offsets. It does not depend on the size of
// the disk, so it stays the same when the container is enlarged.
func (t *Table) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", t.Kind, t.SectorSize)
	for _, s := range t.structure {
		fmt.Fprintf(h, "%d %d\n", s.lba, len(s.data))
		h.Write(s.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
