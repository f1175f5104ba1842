package superblock

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
)

func TestMayLack(t *testing.T) {
	for _, c := range []struct {
		release            string
		incompat, roCompat uint32
		want               string
	}{
		{"6.1.0-40-amd64", 0x2c2, 0x46b, "[]"},
		{"6.1.0", 0x1e3d6, 0x1b77f, "[]"},
		{"4.18.0-553.el8", 0x2c2, 0x846b, "[verity (read-only compatible features 0x8000)]"},
		{"5.14.0-503.el9", 0x2c2, 0x1046b, "[orphan_present (read-only compatible features 0x10000)]"},
		{"6.1.0", 0x202c2, 0x46b, "[casefold (incompatible features 0x20000)]"},
		{"6.1.0", 0x402c2, 0x2046b, "[0x40000 (incompatible features 0x40000) 0x20000 (read-only compatible features 0x20000)]"},
		{"4.3.0", 0x22c2, 0x246b, "[metadata_csum_seed (incompatible features 0x2000) project (read-only compatible features 0x2000)]"},
		{"", 0x1e3d6, 0x1b77f, "[]"},
	} {
		e := &Ext{Incompat: c.incompat, ROCompat: c.roCompat}
		if got := fmt.Sprint(e.MayLack(c.release)); got != c.want {
			t.Errorf("%s %#x %#x: %s, want %s", c.release, c.incompat, c.roCompat, got, c.want)
		}
	}
}

// TestBlamesFeatures checks the kernel messages of Linux 4.18 to 6.12.
func TestBlamesFeatures(t *testing.T) {
	for _, c := range []struct {
		kind, log string
		want      bool
	}{
		{"xfs", "[1.2] XFS (sda1): Superblock has unknown incompatible features (0xc0) enabled.\n", true},
		{"xfs", "[1.2] XFS (sda1): Superblock has unknown read-only compatible features (0x10) enabled.", true},
		{"xfs", "[1.2] XFS (sda1): Superblock has unknown compatible features (0x1) enabled.\n[1.3] XFS (sda1): Metadata corruption detected at xfs_agi_verify", false},
		{"xfs", "[1.2] BTRFS error (device sda2): cannot mount because of unknown incompat features (0x20000)", false},
		{"btrfs", "[1.2] BTRFS error (device sda2): cannot mount because of unknown incompat features (0x20000)", true},
		{"btrfs", "[1.2] BTRFS error (device sda2): cannot mount because of unsupported optional features (2000)", true},
		{"btrfs", "[1.2] BTRFS error (device sda2): open_ctree failed", false},
		{"ext4", "[1.2] EXT4-fs (sda1): couldn't mount because of unsupported optional features (40000)", true},
		{"ext4", "[1.2] EXT4-fs (sda1): couldn't mount RDWR because of unsupported optional features (20000)", true},
		{"ext4", "[1.2] EXT4-fs (dm-0): Filesystem with casefold feature cannot be mounted without CONFIG_UNICODE", true},
		{"ext4", "[1.2] EXT4-fs (sda1): VFS: Can't find ext4 filesystem", false},
		{"ntfs", "features", false},
	} {
		if got := BlamesFeatures(c.kind, c.log); got != c.want {
			t.Errorf("%s %q: %t", c.kind, c.log, got)
		}
	}
}

// TestMMPReal reads the MMP block that mkfs.ext4 writes, and the sequence numbers of
// other programs.
func TestMMPReal(t *testing.T) {
	for _, block := range []string{"1024", "4096"} {
		path, head := made(t, 64<<20, "mkfs.ext4", "-q", "-F", "-b", block, "-O", "mmp")
		e, err := ReadExt(head[ExtAt:])
		if err != nil {
			t.Fatal(err)
		}
		at, ok := e.MMPAt()
		if !ok {
			t.Fatalf("no block for multiple mount protection: %+v", e)
		}
		b := readAt(t, path, int64(at), MMPLen)
		if binary.LittleEndian.Uint32(b) != mmpMagic {
			t.Fatalf("there is none at %d: %x", at, b[:16])
		}
		for sequence, want := range map[uint32]MMPState{mmpClean: MMPClean, 1: MMPMounted, 0xe24d4d4f: MMPMounted, mmpFsck: MMPChecked, mmpFsck + 1: MMPChecked} {
			binary.LittleEndian.PutUint32(b[4:], sequence)
			copy(b[16:], "node\x00")
			if got, host := ReadMMP(b); got != want || host != "node" {
				t.Errorf("%#x: %d by %q, want %d", sequence, got, host, want)
			}
		}
	}
	_, head := made(t, 64<<20, "mkfs.ext4", "-q", "-F")
	if e, err := ReadExt(head[ExtAt:]); err != nil || e.LargeBlocks() {
		t.Errorf("%+v, %v", e, err)
	} else if at, ok := e.MMPAt(); ok {
		t.Errorf("one at %d where there is none", at)
	}
}

func readAt(t *testing.T, path string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzMMP(f *testing.F) {
	b := make([]byte, MMPLen)
	binary.LittleEndian.PutUint32(b, mmpMagic)
	f.Add(b, "XFS (sda1): x")
	f.Fuzz(func(t *testing.T, b []byte, log string) {
		if state, host := ReadMMP(b); state < MMPClean || state > MMPChecked || len(host) > 64 {
			t.Errorf("%d, %q", state, host)
		}
		BlamesFeatures("xfs", log)
	})
}
