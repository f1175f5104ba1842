package testimages

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sort"
	"strings"
	"unicode/utf16"
)

// Registry value types.
const (
	regSZ     = 1
	regBinary = 3
	regDWORD  = 4
)

// regKey is one key of a registry hive. Names are ASCII.
type regKey struct {
	name   string
	values []regValue
	keys   []*regKey
}

type regValue struct {
	name string
	typ  uint32
	data []byte
}

func regString(name, s string) regValue {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return regValue{name, regSZ, b}
}

func regNumber(name string, n uint32) regValue {
	return regValue{name, regDWORD, binary.LittleEndian.AppendUint32(nil, n)}
}

// at returns the key at path below k, made on the way.
func (k *regKey) at(path string) *regKey {
	for _, name := range strings.Split(path, `\`) {
		var child *regKey
		for _, c := range k.keys {
			if c.name == name {
				child = c
			}
		}
		if child == nil {
			child = &regKey{name: name}
			k.keys = append(k.keys, child)
		}
		k = child
	}
	return k
}

func (k *regKey) set(vs ...regValue) { k.values = append(k.values, vs...) }

// hive writes a registry hive of version 1.3: a base block and one bin.
// The format is described in libregf's documentation.
type hive struct {
	bin []byte
	sk  uint32
}

const (
	hiveBlock = 4096
	noCell    = 0xFFFFFFFF
	fileTime  = 133_600_000_000_000_000 // 2024, in units of 100 ns since 1601
	nkSize    = 76
)

func writeHive(root *regKey) []byte {
	h := &hive{bin: make([]byte, 32)}
	h.sk = h.cell(securityCell())
	rootCell := h.key(root, 0, 0x2C) // no parent; root, undeletable, ASCII name
	h.patch(h.sk, 4, h.sk)
	h.patch(h.sk, 8, h.sk)
	h.close()
	return append(h.baseBlock(rootCell), h.bin...)
}

// cell appends an allocated cell and returns its offset.
func (h *hive) cell(data []byte) uint32 {
	off := len(h.bin)
	size := (len(data) + 4 + 7) &^ 7
	h.bin = binary.LittleEndian.AppendUint32(h.bin, uint32(-size))
	h.bin = append(h.bin, data...)
	h.bin = append(h.bin, make([]byte, off+size-len(h.bin))...)
	return uint32(off)
}

func (h *hive) patch(cell, at, value uint32) {
	binary.LittleEndian.PutUint32(h.bin[cell+4+at:], value)
}

// key writes k and everything below it.
func (h *hive) key(k *regKey, parent uint32, flags uint16) uint32 {
	sort.Slice(k.keys, func(i, j int) bool { return strings.ToUpper(k.keys[i].name) < strings.ToUpper(k.keys[j].name) })
	le := binary.LittleEndian
	nk := make([]byte, nkSize)
	copy(nk, "nk")
	le.PutUint16(nk[2:], flags)
	le.PutUint64(nk[4:], fileTime)
	le.PutUint32(nk[16:], parent)
	le.PutUint32(nk[20:], uint32(len(k.keys)))
	le.PutUint32(nk[28:], noCell)
	le.PutUint32(nk[32:], noCell)
	le.PutUint32(nk[36:], uint32(len(k.values)))
	le.PutUint32(nk[40:], noCell)
	le.PutUint32(nk[44:], h.sk)
	le.PutUint32(nk[48:], noCell)
	le.PutUint32(nk[52:], 128) // longest names and data below, generously
	le.PutUint32(nk[60:], 128)
	le.PutUint32(nk[64:], 1024)
	le.PutUint16(nk[72:], uint16(len(k.name)))
	self := h.cell(append(nk, k.name...))
	if len(k.keys) > 0 {
		list := []byte{'l', 'h', byte(len(k.keys)), byte(len(k.keys) >> 8)}
		for _, c := range k.keys {
			list = le.AppendUint32(list, h.key(c, self, 0x20))
			list = le.AppendUint32(list, nameHash(c.name))
		}
		h.patch(self, 28, h.cell(list))
	}
	if len(k.values) > 0 {
		var list []byte
		for _, v := range k.values {
			list = le.AppendUint32(list, h.value(v))
		}
		h.patch(self, 40, h.cell(list))
	}
	return self
}

func (h *hive) value(v regValue) uint32 {
	le := binary.LittleEndian
	vk := make([]byte, 20)
	copy(vk, "vk")
	le.PutUint16(vk[2:], uint16(len(v.name)))
	if len(v.data) <= 4 { // kept in place of the offset
		le.PutUint32(vk[4:], uint32(len(v.data))|1<<31)
		copy(vk[8:12], v.data)
	} else {
		le.PutUint32(vk[4:], uint32(len(v.data)))
		le.PutUint32(vk[8:], h.cell(v.data))
	}
	le.PutUint32(vk[12:], v.typ)
	le.PutUint16(vk[16:], 1) // ASCII name
	return h.cell(append(vk, v.name...))
}

// close fills the bin up to whole blocks with one free cell and heads it.
func (h *hive) close() {
	free := hiveBlock - len(h.bin)%hiveBlock
	h.bin = binary.LittleEndian.AppendUint32(h.bin, uint32(free))
	h.bin = append(h.bin, make([]byte, free-4)...)
	copy(h.bin, "hbin")
	binary.LittleEndian.PutUint32(h.bin[8:], uint32(len(h.bin)))
	binary.LittleEndian.PutUint64(h.bin[20:], fileTime)
}

func (h *hive) baseBlock(root uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, hiveBlock)
	copy(b, "regf")
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 1)
	le.PutUint64(b[12:], fileTime)
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[24:], 3)
	le.PutUint32(b[32:], 1)
	le.PutUint32(b[36:], root)
	le.PutUint32(b[40:], uint32(len(h.bin)))
	le.PutUint32(b[44:], 1)
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= le.Uint32(b[i:])
	}
	le.PutUint32(b[508:], sum)
	return b
}

// securityCell lets everyone do everything.
func securityCell() []byte {
	sd := []byte{1, 0, 0x04, 0x80, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0}
	everyone := []byte{1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}
	acl := append([]byte{2, 0, 28, 0, 1, 0, 0, 0, 0, 2, 20, 0, 0x3F, 0, 0x0F, 0}, everyone...)
	sd = bytes.Join([][]byte{sd, everyone, everyone, acl}, nil)
	sk := make([]byte, 20)
	copy(sk, "sk")
	binary.LittleEndian.PutUint32(sk[12:], 1)
	binary.LittleEndian.PutUint32(sk[16:], uint32(len(sd)))
	return append(sk, sd...)
}

func nameHash(name string) uint32 {
	var n uint32
	for _, c := range []byte(strings.ToUpper(name)) {
		n = n*37 + uint32(c)
	}
	return n
}

// peFile is as much of an x86-64 console program as file(1) looks at.
func peFile(body []byte) []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint16(b[24:], 0x40)
	le.PutUint32(b[60:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x84:], 0x8664) // machine
	le.PutUint32(b[0x88:], crc32.ChecksumIEEE(body))
	le.PutUint16(b[0x94:], 240) // size of the optional header
	le.PutUint16(b[0x96:], 0x22)
	le.PutUint16(b[0x98:], 0x20B) // PE32+
	le.PutUint16(b[0xDC:], 3)     // console
	le.PutUint32(b[0x104:], 16)
	return append(b, body...)
}
