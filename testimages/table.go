package testimages

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Partition types: GPT type GUIDs, or MBR type bytes written as "0x83".
const (
	typeLinux        = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
	typeLVM          = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
	typeSwap         = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	typeESP          = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeBIOSBoot     = "21686148-6449-6E6F-744E-656564454649"
	typeMSR          = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
	typeWindows      = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
	typeWinRE        = "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"
	typeLDMMeta      = "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3"
	typeLDMData      = "AF9B60A0-1431-4F62-BC68-3311714A69AD"
	typeStorageSpace = "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D"

	attrRequired      = uint64(1) << 0
	attrLegacyBoot    = uint64(1) << 2
	attrNoDriveLetter = uint64(1) << 63
)

const (
	gptEntries   = 128
	gptEntrySize = 128
)

// geometry is what the size of the disk and of its sectors fix. LBAs.
type geometry struct {
	sector          int64
	last            int64 // last sector the table knows
	entries         int64 // sectors taken by one entry array
	firstUse, lastU int64
}

func (img Image) geometry() geometry {
	size := img.Size
	if img.tableSize != 0 {
		size = img.tableSize
	}
	g := geometry{sector: int64(img.Sector), last: size/int64(img.Sector) - 1}
	g.entries = gptEntries * gptEntrySize / g.sector
	g.firstUse, g.lastU = 2+g.entries, g.last-g.entries-1
	return g
}

// writeTable writes the partition table of img to an image that is all zero
// where tables live, or holds an older table of the same kind.
func writeTable(w io.WriterAt, img Image) error {
	switch img.Table {
	case "gpt":
		return writeGPT(w, img)
	case "mbr":
		return writeMBR(w, img)
	}
	return nil
}

func writeGPT(w io.WriterAt, img Image) error {
	geo := img.geometry()
	entries := make([]byte, gptEntries*gptEntrySize)
	for _, p := range img.Parts {
		copy(entries[(p.Num-1)*gptEntrySize:], gptEntry(p, geo.sector))
	}
	primary := gptHeader(img, geo, entries, 1, geo.last, 2)
	backup := gptHeader(img, geo, entries, geo.last, 1, geo.last-geo.entries)
	return writeAll(w,
		chunk{0, protectiveMBR(geo)},
		chunk{geo.sector, primary},
		chunk{2 * geo.sector, entries},
		chunk{(geo.last - geo.entries) * geo.sector, entries},
		chunk{geo.last * geo.sector, backup})
}

func gptHeader(img Image, geo geometry, entries []byte, self, other, array int64) []byte {
	h := make([]byte, 92)
	le := binary.LittleEndian
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x00010000)
	le.PutUint32(h[12:], uint32(len(h)))
	le.PutUint64(h[24:], uint64(self))
	le.PutUint64(h[32:], uint64(other))
	le.PutUint64(h[40:], uint64(geo.firstUse))
	le.PutUint64(h[48:], uint64(geo.lastU))
	copy(h[56:], guidBytes(img.DiskGUID))
	le.PutUint64(h[72:], uint64(array))
	le.PutUint32(h[80:], gptEntries)
	le.PutUint32(h[84:], gptEntrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return h
}

func gptEntry(p Part, sector int64) []byte {
	e := make([]byte, gptEntrySize)
	le := binary.LittleEndian
	copy(e, guidBytes(p.Type))
	copy(e[16:], guidBytes(p.GUID))
	le.PutUint64(e[32:], uint64(p.Start/sector))
	le.PutUint64(e[40:], uint64((p.Start+p.Size)/sector-1))
	le.PutUint64(e[48:], p.Attrs)
	for i, u := range utf16.Encode([]rune(p.Name)) {
		le.PutUint16(e[56+2*i:], u)
	}
	return e
}

func protectiveMBR(geo geometry) []byte {
	b := make([]byte, 512)
	size := min(geo.last, 0xFFFFFFFF)
	copy(b[446:], []byte{0, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF})
	binary.LittleEndian.PutUint32(b[454:], 1)
	binary.LittleEndian.PutUint32(b[458:], uint32(size))
	b[510], b[511] = 0x55, 0xAA
	return b
}

// writeMBR writes the table and the chain of EBRs. An EBR sits 1 MiB before its
// logical partition. Boot code is filled with a pattern and the disk signature
// set unless the signature is zero.
func writeMBR(w io.WriterAt, img Image) error {
	sector := int64(img.Sector)
	mbr := make([]byte, 512)
	if img.diskSignature() != 0 {
		copy(mbr, bytes.Repeat([]byte("virt-grow zoo boot code. "), 18)[:440])
		binary.LittleEndian.PutUint32(mbr[440:], img.diskSignature())
	}
	var ext Part
	var logical []Part
	for _, p := range img.Parts {
		if p.Num > 4 {
			logical = append(logical, p)
			continue
		}
		if p.Type == "0x05" || p.Type == "0x0f" {
			ext = p
		}
		copy(mbr[446+16*(p.Num-1):], mbrEntry(p, p.Start/sector, sector))
	}
	mbr[510], mbr[511] = 0x55, 0xAA
	chunks := []chunk{{0, mbr}}
	for i, p := range logical {
		chunks = append(chunks, chunk{p.Start - mib, ebr(ext, logical[i:], sector)})
	}
	return writeAll(w, chunks...)
}

// ebr describes chain[0], and links to chain[1] if there is one.
func ebr(ext Part, chain []Part, sector int64) []byte {
	b := make([]byte, 512)
	copy(b[446:], mbrEntry(chain[0], mib/sector, sector))
	if len(chain) > 1 {
		next := Part{Type: "0x05", Size: chain[1].Size + mib}
		copy(b[462:], mbrEntry(next, (chain[1].Start-mib-ext.Start)/sector, sector))
	}
	b[510], b[511] = 0x55, 0xAA
	return b
}

func mbrEntry(p Part, start, sector int64) []byte {
	e := []byte{0, 0xFE, 0xFF, 0xFF, mbrType(p.Type), 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0}
	if p.Active {
		e[0] = 0x80
	}
	binary.LittleEndian.PutUint32(e[8:], uint32(start))
	binary.LittleEndian.PutUint32(e[12:], uint32(p.Size/sector))
	return e
}

func mbrType(s string) byte {
	t, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		panic(fmt.Sprintf("recipe: MBR type %q", s))
	}
	return byte(t)
}

func (img Image) diskSignature() uint32 {
	sig, err := strconv.ParseUint(img.DiskGUID, 16, 32)
	if err != nil {
		panic(fmt.Sprintf("recipe %s: disk signature %q", img.Name, img.DiskGUID))
	}
	return uint32(sig)
}

// guidBytes returns the mixed-endian form of a GUID (UEFI 2.10 appendix A).
func guidBytes(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		panic(fmt.Sprintf("recipe: GUID %q", s))
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return b
}

// uuidOf returns the UUID (in the form of version 4) for a name: the same in every build.
func uuidOf(name string) string {
	b := sha256.Sum256([]byte("virt-grow zoo " + name))
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

type chunk struct {
	off  int64
	data []byte
}

func writeAll(w io.WriterAt, chunks ...chunk) error {
	for _, c := range chunks {
		if _, err := w.WriteAt(c.data, c.off); err != nil {
			return err
		}
	}
	return nil
}
