package table_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

var le = binary.LittleEndian

// gptSpec describes a GPT disk. It implements the format a second time, so that the
// package is not tested against itself.
type gptSpec struct {
	sector     int64
	sectors    int64 // of the disk for which the table was made
	extra      int64 // bytes by which the disk was enlarged later
	entries    int
	entrySize  int
	headerSize int
	first      int64 // FirstUsableLBA; 0 for directly behind the entries
	guid       [16]byte
	noise      byte // value of reserved bytes, 0 for a clean disk
	pmbr       pmbrStyle
	backup     backupStyle
	parts      []gptPart
}

type gptPart struct {
	number      int
	typ, guid   [16]byte
	first, last int64
	attrs       uint64
	name        string
}

type (
	pmbrStyle   string
	backupStyle string
)

const (
	pmbrStandard  pmbrStyle = "standard"
	pmbrSlot3     pmbrStyle = "in slot 3"
	pmbrSaturated pmbrStyle = "size 0xFFFFFFFF"
	pmbrOdd       pmbrStyle = "some other size"
	pmbrHybrid    pmbrStyle = "hybrid"

	backupGood    backupStyle = "good"
	backupMissing backupStyle = "missing"
	backupCRC     backupStyle = "header checksum"
	backupEntries backupStyle = "entries checksum"
	backupOther   backupStyle = "other GUID"
)

func (s gptSpec) arraySectors() int64 {
	return (int64(s.entries*s.entrySize) + s.sector - 1) / s.sector
}

func (s gptSpec) firstUsable() int64 {
	if s.first != 0 {
		return s.first
	}
	return 2 + s.arraySectors()
}

func (s gptSpec) lastUsable() int64 { return s.sectors - 2 - s.arraySectors() }
func (s gptSpec) disk() size.Bytes  { return size.Bytes(s.sectors*s.sector + s.extra) }

func (s gptSpec) array() []byte {
	array := make([]byte, s.entries*s.entrySize)
	for _, p := range s.parts {
		e := array[(p.number-1)*s.entrySize : p.number*s.entrySize]
		for i := 128; i < len(e); i++ {
			e[i] = s.noise
		}
		copy(e, p.typ[:])
		copy(e[16:], p.guid[:])
		le.PutUint64(e[32:], uint64(p.first))
		le.PutUint64(e[40:], uint64(p.last))
		le.PutUint64(e[48:], p.attrs)
		for i, unit := range utf16.Encode([]rune(p.name)) {
			le.PutUint16(e[56+2*i:], unit)
		}
	}
	return array
}

// header returns the whole sector of a header.
func (s gptSpec) header(my, alternate, entries int64, array []byte) []byte {
	h := make([]byte, s.sector)
	for i := s.headerSize; i < len(h); i++ {
		h[i] = s.noise
	}
	for i := 92; i < s.headerSize; i++ {
		h[i] = s.noise + 1
	}
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x00010000)
	le.PutUint32(h[12:], uint32(s.headerSize))
	h[20] = s.noise // reserved
	le.PutUint64(h[24:], uint64(my))
	le.PutUint64(h[32:], uint64(alternate))
	le.PutUint64(h[40:], uint64(s.firstUsable()))
	le.PutUint64(h[48:], uint64(s.lastUsable()))
	copy(h[56:], s.guid[:])
	le.PutUint64(h[72:], uint64(entries))
	le.PutUint32(h[80:], uint32(s.entries))
	le.PutUint32(h[84:], uint32(s.entrySize))
	le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
	sealHeader(h)
	return h
}

func sealHeader(h []byte) {
	le.PutUint32(h[16:], 0)
	n := min(int(le.Uint32(h[12:])), len(h))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
}

func (s gptSpec) protectiveMBR() []byte {
	b := make([]byte, s.sector)
	for i := range b {
		if i < 446 || i >= 512 {
			b[i] = s.noise
		}
	}
	b[510], b[511] = 0x55, 0xAA
	slot, count := 0, min(s.sectors-1, 0xFFFFFFFF)
	switch s.pmbr {
	case pmbrSlot3:
		slot = 2
	case pmbrSaturated:
		count = 0xFFFFFFFF
	case pmbrOdd:
		count = 12345
	case pmbrHybrid:
		copy(b[446+16:], []byte{0x80, 1, 2, 3, 0x0C, 4, 5, 6, 0, 8, 0, 0, 0, 16, 0, 0})
	}
	e := b[446+16*slot:]
	copy(e, []byte{0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0})
	le.PutUint32(e[12:], uint32(count))
	return b
}

func (s gptSpec) build() *image {
	m := newImage(s.disk())
	at := func(lba int64) size.Bytes { return size.Bytes(lba * s.sector) }
	array, last := s.array(), s.sectors-1
	m.put(0, s.protectiveMBR())
	m.put(at(1), s.header(1, last, 2, array))
	m.put(at(2), array)

	b := s
	if s.backup == backupOther {
		b.guid[0]++
	}
	header := b.header(last, 1, last-s.arraySectors(), array)
	if s.noise != 0 && s.backup == backupGood {
		header[20]++ // the reserved field of the backup differs
		sealHeader(header)
	}
	switch s.backup {
	case backupMissing:
		return m
	case backupCRC:
		header[16]++
	case backupEntries:
		array = slices.Clone(array)
		array[len(array)-1]++
	}
	m.put(at(last), header)
	m.put(at(last-s.arraySectors()), array)
	return m
}

func guidString(g [16]byte) string {
	b := slices.Clone(g[:])
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	x := strings.ToUpper(hex.EncodeToString(b))
	return fmt.Sprintf("%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

func guidBytes(text string) (g [16]byte) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil {
		panic(err)
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	copy(g[:], b)
	return g
}

// want returns the partitions that Read should find, in the order of their numbers.
func (s gptSpec) want() []table.Partition {
	var list []table.Partition
	for _, p := range s.parts {
		list = append(list, table.Partition{
			Number: p.number, Role: table.Primary,
			Start: size.Bytes(p.first * s.sector), Size: size.Bytes((p.last - p.first + 1) * s.sector),
			Type: guidString(p.typ), GUID: guidString(p.guid), Name: p.name, Attributes: p.attrs,
		})
	}
	slices.SortFunc(list, func(a, b table.Partition) int { return a.Number - b.Number })
	return list
}

// plainGPT returns the table that sgdisk makes on a disk of 64 MiB, with two partitions.
func plainGPT() gptSpec {
	return gptSpec{
		sector: 512, sectors: 131072, entries: 128, entrySize: 128, headerSize: 92,
		guid: guidBytes("11112222-3333-4444-5555-666677778888"), pmbr: pmbrStandard, backup: backupGood,
		parts: []gptPart{
			{1, guidBytes(table.GPTESP), [16]byte{1}, 2048, 10239, 1 << 60, "EFI"},
			{2, guidBytes(table.GPTLinux), [16]byte{2}, 10240, 131038, 0, "root"},
		},
	}
}
