package plan_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

const MiB, GiB = size.MiB, size.GiB

// part is a partition of a test disk.
type part struct {
	number     int
	start, len size.Bytes
	typ        string // table.GPTLinux when empty
}

// sparse is a disk whose sectors are zero except for a few.
type sparse struct {
	size    size.Bytes
	sectors map[int64][]byte
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = 0
		at := off + int64(i)
		if at >= int64(s.size) {
			return i, io.EOF
		}
		if sector, ok := s.sectors[at/512]; ok {
			p[i] = sector[at%512]
		}
	}
	return len(p), nil
}

func (s sparse) put(lba int64, data []byte) {
	for i := 0; i < len(data); i += 512 {
		sector := make([]byte, 512)
		copy(sector, data[i:])
		s.sectors[lba+int64(i/512)] = sector
	}
}

// gpt makes a table as UEFI 2.10 §5.3 describes it.
func gpt(disk size.Bytes, parts []part) *table.Table {
	s := sparse{disk, map[int64][]byte{}}
	last := int64(disk/512) - 1
	mbr := make([]byte, 512)
	mbr[450] = 0xee
	binary.LittleEndian.PutUint32(mbr[454:], 1)
	binary.LittleEndian.PutUint32(mbr[458:], uint32(min(last, 1<<32-1)))
	mbr[510], mbr[511] = 0x55, 0xaa
	s.put(0, mbr)

	entries := make([]byte, 128*128)
	for _, p := range parts {
		e := entries[(p.number-1)*128:]
		typ := p.typ
		if typ == "" {
			typ = table.GPTLinux
		}
		copy(e, guid(typ))
		copy(e[16:], guid(fmt.Sprintf("00000000-0000-4000-8000-%012d", p.number)))
		binary.LittleEndian.PutUint64(e[32:], uint64(p.start/512))
		binary.LittleEndian.PutUint64(e[40:], uint64((p.start+p.len)/512-1))
	}
	header := func(my, other, array int64) []byte {
		h := make([]byte, 512)
		copy(h, "EFI PART")
		le := binary.LittleEndian
		le.PutUint32(h[8:], 0x10000)
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], uint64(my))
		le.PutUint64(h[32:], uint64(other))
		le.PutUint64(h[40:], 34)
		le.PutUint64(h[48:], uint64(last-33))
		copy(h[56:], guid("11111111-2222-4333-8444-555555555555"))
		le.PutUint64(h[72:], uint64(array))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	s.put(1, header(1, last, 2))
	s.put(2, entries)
	s.put(last-32, entries)
	s.put(last, header(last, 1, last-32))
	return mustRead(s)
}

func guid(text string) []byte {
	var a uint32
	var b, c, d uint16
	var e uint64
	if _, err := fmt.Sscanf(text, "%08X-%04X-%04X-%04X-%012X", &a, &b, &c, &d, &e); err != nil {
		panic(err)
	}
	var buf bytes.Buffer
	for _, v := range []any{a, b, c} {
		_ = binary.Write(&buf, binary.LittleEndian, v)
	}
	_ = binary.Write(&buf, binary.BigEndian, d)
	tail := make([]byte, 8)
	binary.BigEndian.PutUint64(tail, e)
	buf.Write(tail[2:])
	return buf.Bytes()
}

// mbr makes a table of primary partitions.
func mbr(disk size.Bytes, parts []part) *table.Table {
	s := sparse{disk, map[int64][]byte{}}
	sector := make([]byte, 512)
	for _, p := range parts {
		e := sector[446+16*(p.number-1):]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], uint32(p.start/512))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.len/512))
	}
	sector[510], sector[511] = 0x55, 0xaa
	s.put(0, sector)
	return mustRead(s)
}

func mustRead(s sparse) *table.Table {
	t, err := table.Read(s, s.size, 512)
	if err != nil {
		panic(err)
	}
	return t
}

// layout makes a layout of a table, with contents by partition number.
func layout(disk size.Bytes, t *table.Table, contents map[int]plan.Content) *plan.Layout {
	l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: disk, Sector: 512, Table: t},
		Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: disk}}}
	for _, p := range t.Partitions {
		l.Devices = append(l.Devices, plan.Device{
			Name: fmt.Sprintf("sda%d", p.Number), Kind: plan.Partition, Parent: "sda", Number: p.Number,
			Start: p.Start, Size: p.Size, Type: table.TypeName(t.Kind, p.Type), Content: contents[p.Number],
			Extended: p.Role == table.Extended,
		})
	}
	return l
}

func fs(kind string, n size.Bytes) plan.Content {
	return plan.Content{Type: kind, UUID: kind + "-uuid", Size: n}
}

func amount(s string) plan.Amount {
	a, err := plan.ParseAmount(s)
	if err != nil {
		panic(err)
	}
	return a
}

func request(amountText string, grow ...string) plan.Request {
	r := plan.Request{Size: amount(amountText)}
	for _, g := range grow {
		w, err := plan.ParseGrowTarget(g)
		if err != nil {
			panic(err)
		}
		r.Grow = append(r.Grow, w)
	}
	return r
}

var target = plan.Target{Path: "/images/a.qcow2", Format: "qcow2", SectorSize: 512}
