package table_test

import (
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// mbrSpec describes an MBR disk, in sectors. Logicals are in chain order.
type mbrSpec struct {
	sector   int64
	sectors  int64
	extra    int64 // bytes behind the last whole sector
	noise    byte  // value of the boot code's bytes
	id       uint32
	chs      chsStyle
	parts    []mbrPart // primaries and at most one extended
	logicals []mbrLogical
}

type mbrPart struct {
	number       int
	typ          byte
	boot         bool
	start, count int64
}

type mbrLogical struct {
	ebr          int64
	typ          byte
	start, count int64 // absolute
	span         int64 // of the link to this EBR; 0 for the usual value
	linkSlot     int   // entry with the link to the *next* EBR; 1 if it is 0
}

type chsStyle string

const (
	chsLBA  chsStyle = "255/63"
	chsQEMU chsStyle = "16/63"
	chsSat  chsStyle = "FE FF FF"
	chsZero chsStyle = "zero"
)

// chsBytes implements the definition, independently of the package.
func chsBytes(style chsStyle, lba int64) []byte {
	heads := int64(255)
	switch style {
	case chsZero:
		return []byte{0, 0, 0}
	case chsSat:
		return []byte{0xFE, 0xFF, 0xFF}
	case chsQEMU:
		heads = 16
	}
	c, h, s := lba/63/heads, lba/63%heads, lba%63+1
	if c > 1023 {
		c, h, s = 1023, heads-1, 63
	}
	return []byte{byte(h), byte(s + c/256*64), byte(c % 256)}
}

func mbrEntryBytes(style chsStyle, boot bool, typ byte, base, start, count int64) []byte {
	e := make([]byte, 16)
	if boot {
		e[0] = 0x80
	}
	copy(e[1:], chsBytes(style, start))
	e[4] = typ
	copy(e[5:], chsBytes(style, start+count-1))
	le.PutUint32(e[8:], uint32(start-base))
	le.PutUint32(e[12:], uint32(count))
	return e
}

func (s mbrSpec) disk() size.Bytes { return size.Bytes(s.sectors*s.sector + s.extra) }

func (s mbrSpec) bootSector() []byte {
	b := make([]byte, s.sector)
	for i := range b {
		if i < 440 || i >= 512 {
			b[i] = s.noise
		}
	}
	b[510], b[511] = 0x55, 0xAA
	return b
}

func (s mbrSpec) extended() (mbrPart, bool) {
	for _, p := range s.parts {
		if p.typ == 0x05 || p.typ == 0x0F || p.typ == 0x85 {
			return p, true
		}
	}
	return mbrPart{}, false
}

// link returns the span of the link that leads to logical i.
func (s mbrSpec) link(i int) int64 {
	l := s.logicals[i]
	return max(l.span, l.start+l.count-l.ebr)
}

func (s mbrSpec) build() *image {
	m := newImage(s.disk())
	b := s.bootSector()
	le.PutUint32(b[440:], s.id)
	for _, p := range s.parts {
		copy(b[446+16*(p.number-1):], mbrEntryBytes(s.chs, p.boot, p.typ, 0, p.start, p.count))
	}
	m.put(0, b)
	ext, _ := s.extended()
	for i, l := range s.logicals {
		b := s.bootSector()
		copy(b[446:], mbrEntryBytes(s.chs, false, l.typ, l.ebr, l.start, l.count))
		if i+1 < len(s.logicals) {
			next := s.logicals[i+1]
			copy(b[446+16*max(l.linkSlot, 1):], mbrEntryBytes(s.chs, false, 0x05, ext.start, next.ebr, s.link(i+1)))
		}
		m.put(size.Bytes(l.ebr*s.sector), b)
	}
	return m
}

func (s mbrSpec) want() []table.Partition {
	ext, _ := s.extended()
	var list []table.Partition
	for _, p := range s.parts {
		role := table.Primary
		if p == ext {
			role = table.Extended
		}
		list = append(list, s.partition(p.number, role, p.typ, p.start, p.count, p.boot))
	}
	slices.SortFunc(list, func(a, b table.Partition) int { return a.Number - b.Number })
	for i, l := range s.logicals {
		list = append(list, s.partition(5+i, table.Logical, l.typ, l.start, l.count, false))
	}
	return list
}

func (s mbrSpec) partition(number int, role table.Role, typ byte, start, count int64, boot bool) table.Partition {
	return table.Partition{
		Number: number, Role: role, Type: fmt.Sprintf("0x%02x", typ), Bootable: boot,
		Start: size.Bytes(start * s.sector), Size: size.Bytes(count * s.sector),
	}
}

// plainMBR returns a disk of 64 MiB: two primaries, and an extended partition at
// the end with two logicals.
func plainMBR() mbrSpec {
	return mbrSpec{
		sector: 512, sectors: 131072, id: 0xCAFEF00D, chs: chsLBA,
		parts: []mbrPart{
			{1, 0x07, true, 2048, 8192},
			{2, 0x83, false, 10240, 10240},
			{4, 0x05, false, 30720, 65536},
		},
		logicals: []mbrLogical{
			{ebr: 30720, typ: 0x83, start: 32768, count: 8192},
			{ebr: 43008, typ: 0x82, start: 45056, count: 8192},
		},
	}
}
