// Package table reads GPT and MBR partition tables and computes the bytes
// that grow them, and that move partitions to the right or delete them. It is
// byte-preserving: the new table differs from the old one in the fields that
// say where things are and how big, in their checksums, in deleted entries,
// and in nothing else.
//
// It never runs a program, never writes, and never looks at anything but the
// sectors that hold the table. Every read is bounds-checked, because the bytes
// come from a guest and may be hostile.
//
// Invariants, each held by a property test:
//
//   - a partition's number, type, GUID, name and attributes never change, nor
//     do boot code, the MBR disk signature, reserved and unknown header bytes,
//     or the order of entries;
//   - a partition starts elsewhere, always further right, only if a [Change]
//     says so of it or of the extended partition around it, and goes only if
//     one says Delete;
//   - partitions never shrink and never overlap, and nothing is written to
//     where one will be;
//   - growing twice to the same layout is growing once: the second call has no
//     writes;
//   - whatever prefix of the writes reaches the disk before a power cut, a
//     valid table can be read from it, with every partition as it was or as it
//     shall be. The exceptions, all with MBR logicals that move or go, are in
//     the comment of [Table.Grow].
//
// Sizes and offsets are bytes everywhere in the API; sectors exist only inside.
//
// Sources: UEFI 2.10 §5.2 (MBR, protective MBR) and §5.3 (GPT); the Linux
// kernel's block/partitions/{efi,msdos}.c, because what the guest's kernel
// takes for a table is a table.
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

// The two formats this package edits.
const (
	GPT Kind = "gpt"
	MBR Kind = "mbr"
)

// Role is the place of a partition in its table. All of a GPT's are primary.
type Role string

// Roles of MBR partitions.
const (
	Primary  Role = "primary"
	Extended Role = "extended"
	Logical  Role = "logical"
)

// Partition is one entry of a table.
type Partition struct {
	// Number is the table's own, 1-based. MBR logicals count from 5 in the
	// order of their chain, as Linux numbers them.
	Number int  `json:"number"`
	Role   Role `json:"role"`
	// Start and Size are bytes from the beginning of the disk.
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
	// Type is an upper-case GUID (GPT) or "0x83" (MBR). See [TypeName].
	Type string `json:"type"`

	GUID       string `json:"guid,omitempty"`       // GPT only, upper-case
	Name       string `json:"name,omitempty"`       // GPT only
	Attributes uint64 `json:"attributes,omitempty"` // GPT only, UEFI 2.10 table 5.8
	Bootable   bool   `json:"bootable,omitempty"`   // MBR only
}

// End returns the first byte behind the partition.
func (p Partition) End() size.Bytes { return p.Start + p.Size }

// Table is a partition table and the bytes it was read from. The exported
// fields are what was read; changing them changes nothing on disk.
type Table struct {
	Kind       Kind       `json:"kind"`
	SectorSize size.Bytes `json:"sectorSize"`
	DiskSize   size.Bytes `json:"diskSize"`
	// ID is the GPT's disk GUID, or the MBR's disk signature as 0x%08x.
	ID string `json:"id"`
	// Partitions are in the order of their numbers, which need not be the
	// order of their places on the disk.
	Partitions []Partition `json:"partitions"`
	Problems   []Problem   `json:"problems,omitempty"`
	// Hybrid reports that the MBR in front of a GPT lists partitions of its
	// own. They are not updated when the GPT grows.
	Hybrid bool `json:"hybrid,omitempty"`

	structure []region            // the sectors that make up the table
	known     map[uint64][]byte   // every sector that was read, by LBA
	gpt       *gptTable           // Kind GPT; nil if no copy was readable
	mbr       map[int]mbrLocation // Kind MBR: where each partition's numbers are
	ebrs      []ebr               // Kind MBR: the chain of logical partitions
}

// ErrNoTable reports that there is neither a GPT nor an MBR with partitions: the
// disk is empty, or a file system, LUKS or LVM lies straight on it.
var ErrNoTable = errors.New("no partition table")

// ErrSectorSize reports that the sector size given is not one disks have.
var ErrSectorSize = errors.New("sector size must be a power of two from 512 to 65536 bytes")

// Read reads the partition table of a disk of the given size. sector is the
// logical sector size the guest sees, see [SniffSectorSize]. A rest of the
// disk that is smaller than a sector is ignored, as guests do.
//
// A damaged table is no error: what could be read is returned, with Problems.
// Errors are ErrNoTable, ErrSectorSize, and those of r.
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

// SniffSectorSize returns which logical sector size a disk was partitioned
// with: 4096 bytes if a valid GPT header is found there and none is at 512,
// otherwise 512. An MBR does not say; only whoever attaches the disk knows.
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

// Mirrored reports whether a hybrid MBR lists a partition of the GPT as well.
// The MBR's size of it stays when the GPT's grows, so that a guest which goes
// by the MBR (Boot Camp did) finds a file system larger than its partition.
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

// Addressable returns the first byte of a disk that the table cannot reach:
// 2^32 sectors for an MBR (2 TiB with sectors of 512 bytes), no limit in
// practice for a GPT.
//
// An entry's start and size are 32 bits each, so that a partition could end
// beyond. But fdisk, parted and Windows address no sector past 2^32-1 through
// an MBR, and neither does this package.
func (t *Table) Addressable() size.Bytes {
	if t.Kind == MBR {
		return t.SectorSize << 32
	}
	return maxOffset
}

// Fingerprint returns a SHA-256, in hex, of everything the table is on disk: MBR
// or EBR sectors, both GPT headers and both entry arrays, with their places.
// It does not depend on the size of the disk, so that it stays the same when
// the container is enlarged.
func (t *Table) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", t.Kind, t.SectorSize)
	for _, s := range t.structure {
		fmt.Fprintf(h, "%d %d\n", s.lba, len(s.data))
		h.Write(s.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
