// Package lvm reads the metadata of LVM2 on a physical volume: the label, the header of a
// metadata area, and the group's description, which is text. It is pure, does not trust
// what it reads, and writes nothing. libguestfs does not report all the LVM metadata that a
// growth depends on: the segments of a volume, its allocation policy, and the system that
// the group belongs to.
//
// The formats are those of lib/format_text/layout.h, text_label.c and export.c of LVM2.
package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/virt-grow/virt-grow/plan/size"
)

// sector is LVM's unit, on disks of any sector size.
const sector size.Bytes = 512

// LabelRoom is how much of a PV is searched for the label: the first four sectors.
const LabelRoom = 4 * sector

// ErrNoLabel reports that there is no PV.
var ErrNoLabel = errors.New("there is no LVM label")

// Area is a part of the PV, in bytes from its start.
type Area struct{ Offset, Size size.Bytes }

// Label is the label of a PV.
type Label struct {
	// UUID has no hyphens.
	UUID string
	// Metadata are the areas for the group's description; the second one is at the
	// PV's end.
	Metadata []Area
}

// Tail returns the size of a second metadata area at the PV's end. pvresize moves it to the
// new end, and the extents end before it (format-text.c, _text_pv_resize).
func (l Label) Tail() size.Bytes {
	if len(l.Metadata) < 2 {
		return 0
	}
	return l.Metadata[1].Size
}

// ReadLabel finds the label in the PV's first LabelRoom bytes.
func ReadLabel(head []byte) (Label, error) {
	for at := 0; at+int(sector) <= min(len(head), int(LabelRoom)); at += int(sector) {
		s := head[at : at+int(sector)]
		if !bytes.Equal(s[:8], []byte("LABELONE")) || !bytes.Equal(s[24:32], []byte("LVM2 001")) {
			continue
		}
		if binary.LittleEndian.Uint64(s[8:]) != uint64(at)/uint64(sector) {
			continue // a copy of another sector
		}
		if checksum(s[20:]) != binary.LittleEndian.Uint32(s[16:]) {
			return Label{}, errors.New("the checksum of the LVM label is wrong")
		}
		return readHeader(s, binary.LittleEndian.Uint32(s[20:]))
	}
	return Label{}, ErrNoLabel
}

// readHeader reads the PV's header at an offset in the label's sector: the UUID, the
// device's size, and two lists of areas, data and metadata, each terminated by zeros.
func readHeader(s []byte, at uint32) (Label, error) {
	const uuid = 32
	if uint64(at)+uuid+8 > uint64(len(s)) {
		return Label{}, fmt.Errorf("the LVM label names a header at byte %d of its sector", at)
	}
	l := Label{UUID: string(s[at : at+uuid])}
	rest := s[at+uuid+8:]
	_, rest, err := areas(rest)
	if err == nil {
		l.Metadata, _, err = areas(rest)
	}
	return l, err
}

func areas(s []byte) (found []Area, rest []byte, err error) {
	for len(s) >= 16 {
		offset, n := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[8:])
		s = s[16:]
		if offset == 0 {
			return found, s, nil
		}
		if offset > farthest || n > farthest {
			return nil, nil, errors.New("the LVM label names an area beyond any disk")
		}
		found = append(found, Area{size.Bytes(offset), size.Bytes(n)})
	}
	return nil, nil, errors.New("the LVM label's list of areas is not terminated")
}

// farthest limits offsets, so that a sum of two fits an int64.
const farthest = 1 << 61

// checksum returns LVM's CRC-32: the usual polynomial with another initial value and no
// final inversion (lib/misc/crc.c).
func checksum(data []byte) uint32 {
	const start = 0xf597a6cf
	return ^crc32.Update(^uint32(start), crc32.IEEETable, data)
}

// HeaderSize is the size of the header of a metadata area.
const HeaderSize = sector

// MaxText is the longest description that is read; a group of a thousand volumes
// has some 500 KiB.
const MaxText = 16 * size.MiB

// Text is the place of the description in a metadata area. A description that reaches the
// area's end continues after the area's header.
type Text struct {
	area   Area
	offset size.Bytes // in the area
	size   size.Bytes
	sum    uint32
}

// ReadHeader reads the header of a metadata area. used is false if the area has no text.
func ReadHeader(head []byte, area Area) (t Text, used bool, err error) {
	if len(head) < int(HeaderSize) {
		return t, false, errors.New("the header of the LVM metadata area is truncated")
	}
	head = head[:HeaderSize]
	if string(head[4:20]) != " LVM2 x[5A%r0N*>" {
		return t, false, errors.New("there is no header of an LVM metadata area")
	}
	if checksum(head[4:]) != binary.LittleEndian.Uint32(head) {
		return t, false, errors.New("the checksum of the LVM metadata area's header is wrong")
	}
	const locations, ignored = 40, 1
	at := head[locations:]
	offset, n := binary.LittleEndian.Uint64(at), binary.LittleEndian.Uint64(at[8:])
	if offset == 0 || n == 0 || binary.LittleEndian.Uint32(at[20:])&ignored != 0 {
		return t, false, nil
	}
	if size.Bytes(offset) < HeaderSize || offset >= uint64(area.Size) || n > uint64(MaxText) || n > uint64(area.Size-HeaderSize) {
		return t, false, fmt.Errorf("the LVM metadata area of %d bytes names a text of %d bytes at %d", int64(area.Size), n, offset)
	}
	return Text{area, size.Bytes(offset), size.Bytes(n), binary.LittleEndian.Uint32(at[16:])}, true, nil
}

// Pieces returns the parts of the PV that contain the text, in order.
func (t Text) Pieces() []Area {
	first := min(t.size, t.area.Size-t.offset)
	pieces := []Area{{t.area.Offset + t.offset, first}}
	if first < t.size {
		pieces = append(pieces, Area{t.area.Offset + HeaderSize, t.size - first})
	}
	return pieces
}

// Group parses the description from the bytes of the pieces.
func (t Text) Group(data []byte) (*Group, error) {
	if size.Bytes(len(data)) != t.size || checksum(data) != t.sum {
		return nil, errors.New("the checksum of the LVM metadata is wrong")
	}
	return ReadGroup(bytes.TrimRight(data, "\x00"))
}
