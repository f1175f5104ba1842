package table_test

import (
	"bytes"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// volumeBoot returns the boot sector of a volume that starts at 1 MiB on a disk
// with sectors of 512 bytes.
func volumeBoot(magic string, at int, spoil func(b []byte)) []byte {
	b := make([]byte, 512)
	b[510], b[511] = 0x55, 0xAA
	copy(b[at:], magic)
	le.PutUint16(b[0x0B:], 512)
	le.PutUint16(b[0x0E:], 32)
	le.PutUint32(b[0x1C:], 2048)
	le.PutUint16(b[0x32:], 6)
	if spoil(b); magic == "NTFS    " && le.Uint64(b[0x28:]) == 0 {
		le.PutUint64(b[0x28:], 8191)
	}
	return b
}

func TestHiddenSectors(t *testing.T) {
	const from, to = size.MiB, 5 * size.MiB
	keep := func([]byte) {}
	for _, c := range []struct {
		name   string
		boot   []byte
		sector size.Bytes
		from   size.Bytes
		want   uint32 // 0: not changed
	}{
		{"NTFS", volumeBoot("NTFS    ", 3, keep), 512, from, 10240},
		{"FAT16", volumeBoot("FAT16   ", 0x36, keep), 512, from, 10240},
		{"FAT32", volumeBoot("FAT32   ", 0x52, keep), 512, from, 10240},
		{"FAT32, 4096", volumeBoot("FAT32   ", 0x52, func(b []byte) { le.PutUint32(b[0x1C:], 256) }), 4096, from, 1280},
		{"another number", volumeBoot("NTFS    ", 3, func(b []byte) { le.PutUint32(b[0x1C:], 63) }), 512, from, 0},
		{"moved from elsewhere", volumeBoot("NTFS    ", 3, keep), 512, 2 * size.MiB, 0},
		{"moved from beyond 32 bits", volumeBoot("NTFS    ", 3, keep), 512, from + 512<<32, 0},
		{"exFAT", volumeBoot("EXFAT   ", 3, keep), 512, from, 0},
		{"BitLocker", volumeBoot("-FVE-FS-", 3, keep), 512, from, 0},
		{"no signature", volumeBoot("NTFS    ", 3, func(b []byte) { b[511] = 0 }), 512, from, 0},
		{"short", volumeBoot("NTFS    ", 3, keep)[:511], 512, from, 0},
		{"empty", nil, 512, from, 0},
		{"no sector size", volumeBoot("NTFS    ", 3, keep), 0, from, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.boot)
			fixed, ok := table.HiddenSectors(c.boot, c.sector, c.from, to)
			if ok != (c.want != 0) || !bytes.Equal(before, c.boot) {
				t.Fatalf("changed: %v", ok)
			}
			if !ok {
				return
			}
			le.PutUint32(before[0x1C:], c.want)
			if !bytes.Equal(before, fixed) {
				t.Errorf("hidden sectors: %d", le.Uint32(fixed[0x1C:]))
			}
		})
	}
}

func TestBackupBootSector(t *testing.T) {
	keep := func([]byte) {}
	for _, c := range []struct {
		name   string
		boot   []byte
		sector size.Bytes
		volume size.Bytes
		want   size.Bytes // 0: none
	}{
		{"NTFS", volumeBoot("NTFS    ", 3, keep), 512, 4 * size.MiB, 4*size.MiB - 512},
		{"NTFS in a larger partition", volumeBoot("NTFS    ", 3, keep), 512, 8 * size.MiB, 4*size.MiB - 512},
		{"NTFS in a smaller partition", volumeBoot("NTFS    ", 3, keep), 512, 4*size.MiB - 1, 0},
		{"NTFS of 2^64-1 sectors", volumeBoot("NTFS    ", 3, func(b []byte) { le.PutUint64(b[0x28:], 1<<64-1) }), 512, 4 * size.MiB, 0},
		{"NTFS with sectors of 0", volumeBoot("NTFS    ", 3, func(b []byte) { le.PutUint16(b[0x0B:], 0) }), 512, 4 * size.MiB, 0},
		{"NTFS not at a sector of the disk", volumeBoot("NTFS    ", 3, keep), 4096, 4 * size.MiB, 0},
		{"FAT32", volumeBoot("FAT32   ", 0x52, keep), 512, 4 * size.MiB, 3072},
		{"FAT32, 4096", volumeBoot("FAT32   ", 0x52, func(b []byte) { le.PutUint16(b[0x0B:], 4096) }), 4096, 4 * size.MiB, 6 * 4096},
		{"FAT32 without", volumeBoot("FAT32   ", 0x52, func(b []byte) { le.PutUint16(b[0x32:], 0) }), 512, 4 * size.MiB, 0},
		{"FAT32 without, FFFF", volumeBoot("FAT32   ", 0x52, func(b []byte) { le.PutUint16(b[0x32:], 0xFFFF) }), 512, 64 * size.MiB, 0},
		{"FAT32 outside the reserved sectors", volumeBoot("FAT32   ", 0x52, func(b []byte) { b[0x32] = 32 }), 512, 4 * size.MiB, 0},
		{"FAT16", volumeBoot("FAT16   ", 0x36, keep), 512, 4 * size.MiB, 0},
		{"exFAT", volumeBoot("EXFAT   ", 3, keep), 512, 4 * size.MiB, 0},
		{"tiny volume", volumeBoot("FAT32   ", 0x52, keep), 512, 100, 0},
		{"negative volume", volumeBoot("FAT32   ", 0x52, keep), 512, -1, 0},
		{"no sector size", volumeBoot("FAT32   ", 0x52, keep), 0, 4 * size.MiB, 0},
		{"empty", nil, 512, 4 * size.MiB, 0},
	} {
		if got, ok := table.BackupBootSector(c.boot, c.sector, c.volume); got != c.want && ok || ok != (c.want != 0) {
			t.Errorf("%s: %d, %v", c.name, got, ok)
		}
	}
}
