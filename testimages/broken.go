package testimages

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// variants start from a copy of another image and change a few of its bytes.
// What a variant's recipe leaves open is as in that image; its table is written
// anew first.
func variants() []Image {
	derive := func(name, from, note, expect string, change func(*os.File, Image) error) Image {
		return Image{Name: name, from: from, Note: note, Expect: expect, change: change}
	}
	sized := func(img Image, size int64) Image { img.Size = size; return img }
	parts := func(img Image, edit func([]Part)) Image {
		originals := slices.Concat(gptDisks(), gptLayouts(), mbrDisks(), windowsDisks())
		img.Parts = originals[index(originals, img.from)].complete().Parts
		edit(img.Parts)
		return img
	}
	target := func(img Image, target string) Image { img.Target = target; return img }
	nosig := derive("mbr-nosig", "mbr-ext4", "no boot code, disk signature zero", "", nil)
	nosig.DiskGUID = "00000000"
	return []Image{
		derive("gpt-hybrid", "gpt-ext4", "hybrid MBR", "", makeHybrid),
		derive("gpt-pmbr-odd", "gpt-ext4", "protective MBR of 2 TiB", "", putBytes(458, "\xFF\xFF\xFF\xFF")),
		sized(derive("gpt-backup-inside", "gpt-ext4", "the disk was enlarged, the table not", "", nil), 130*mib),
		sized(derive("gpt-xfs-backup-inside", "gpt-xfs", "the disk was enlarged, the table not", "", nil), 640*mib),
		derive("gpt-bad-backup", "gpt-ext4", "only the backup table is damaged", "", damageBackup),
		derive("gpt-bad-primary", "gpt-ext4", "wrong checksum in the primary header", "table-damaged", damagePrimary),
		derive("gpt-bad-both", "gpt-ext4", "both headers are damaged", "table-damaged", both(damagePrimary, damageBackup)),
		sized(derive("gpt-truncated", "gpt-ext4", "the disk ends within the partition", "table-damaged", nil), 40*mib),
		parts(derive("gpt-overlap", "gpt-swap-last", "partition 2 begins within partition 1", "table-damaged", nil),
			func(ps []Part) { ps[1].Start -= 8 * mib }),
		parts(derive("gpt-ldm", "gpt-ntfs", "dynamic disk", "dynamic-disk", nil), func(ps []Part) { ps[0].Type = typeLDMData }),
		parts(derive("gpt-storage-spaces", "gpt-unknown", "Storage Spaces", "storage-spaces", atPartition("SPACEDB ", 0)),
			func(ps []Part) { ps[0].Type, ps[0].Content = typeStorageSpace, Content{Kind: "spaces"} }),
		parts(derive("gpt-bitlocker", "gpt-windows", "C: is encrypted", "bitlocker", makeBitLocker),
			func(ps []Part) { ps[2].Content = Content{Kind: "bitlocker"} }),
		derive("gpt-ntfs-dirty", "gpt-windows", "$Volume says dirty", "ntfs-dirty", func(f *os.File, img Image) error {
			return setNTFSDirty(f, img.targetPart().Start)
		}),
		derive("gpt-ext4-damaged", "gpt-ext4", "two files claim the same blocks; e2fsck -p gives up", "fs-damaged", damageExt4),
		derive("gpt-xfs-damaged", "gpt-xfs", "free space header of group 1 overwritten", "fs-damaged", damageXFS),
		// The feature bit 1<<30 of s_feature_incompat (offset 0x60 of the superblock) means nothing yet.
		derive("gpt-ext4-feature", "gpt-ext4-nocsum", "an incompatible feature nobody knows", "fs-feature", atPartition("\x40", 1024+0x63)),

		nosig,
		target(derive("mbr-logical-mid", "mbr-logical-ext4", "another logical behind the target", "", nil), "sda5"),
		target(derive("mbr-extended-behind", "mbr-extended-between", "an extended partition behind the target", "", nil), "sda1"),
		parts(derive("mbr-overlap", "mbr-lvm", "partition 2 begins within partition 1", "table-damaged", nil),
			func(ps []Part) { ps[1].Start -= 8 * mib }),
		derive("mbr-ebr-loop", "mbr-logical-ext4", "the EBR chain has no end", "table-damaged", loopEBR),
		parts(derive("mbr-ldm", "mbr-windows", "dynamic disk", "dynamic-disk", nil), func(ps []Part) { ps[0].Type, ps[1].Type = "0x42", "0x42" }),
	}
}

// targetPart returns the partition that is the target.
func (img Image) targetPart() Part {
	for _, p := range img.Parts {
		if partName(p.Num) == img.Target {
			return p
		}
	}
	panic("recipe " + img.Name + ": the target is no partition")
}

func putBytes(off int64, s string) func(*os.File, Image) error {
	return func(f *os.File, _ Image) error {
		_, err := f.WriteAt([]byte(s), off)
		return err
	}
}

// atPartition writes s at an offset of the target.
func atPartition(s string, off int64) func(*os.File, Image) error {
	return func(f *os.File, img Image) error {
		_, err := f.WriteAt([]byte(s), img.targetPart().Start+off)
		return err
	}
}

func both(a, b func(*os.File, Image) error) func(*os.File, Image) error {
	return func(f *os.File, img Image) error {
		if err := a(f, img); err != nil {
			return err
		}
		return b(f, img)
	}
}

// damagePrimary makes the header's checksum wrong by changing FirstUsableLBA.
func damagePrimary(f *os.File, img Image) error {
	return putBytes(int64(img.Sector)+40, "\x99")(f, img)
}

func damageBackup(f *os.File, img Image) error {
	return putBytes(img.geometry().last*int64(img.Sector)+40, "\x99")(f, img)
}

// makeHybrid shows partition 1 in the MBR as well, the way gdisk does.
func makeHybrid(f *os.File, img Image) error {
	sector := int64(img.Sector)
	p := img.Parts[0]
	protect := Part{Type: "0xee", Size: p.Start - sector}
	linux := Part{Type: "0x83", Size: p.Size, Active: true}
	return writeAll(f,
		chunk{446, mbrEntry(protect, 1, sector)},
		chunk{462, mbrEntry(linux, p.Start/sector, sector)},
		chunk{440, []byte{0x78, 0x56, 0x34, 0x12}})
}

// loopEBR links the last EBR to the first.
func loopEBR(f *os.File, img Image) error {
	last := img.Parts[len(img.Parts)-1]
	return putBytes(last.Start-mib+462, string(mbrEntry(Part{Type: "0x05", Size: mib}, 0, 512)))(f, img)
}

// makeQcow2 makes an empty qcow2 of 64 MiB, whose file has img.Size bytes.
func makeQcow2(f *os.File, img Image) error {
	return run("qemu-img", "create", "-q", "-f", "qcow2", f.Name(), "64M")
}

// makeBitLocker puts BitLocker's volume header and three copies of its metadata
// into the target, and noise where Windows would be.
func makeBitLocker(f *os.File, img Image) error {
	p := img.targetPart()
	noise := newRandom(img.Name).bytes(int(mib))
	boot := bytes.Repeat([]byte{0}, 512)
	copy(boot, "\xEB\x58\x90-FVE-FS-")
	le := binary.LittleEndian
	le.PutUint16(boot[11:], 512)
	boot[13] = 8
	copy(boot[160:], guidBytes("4967D63B-2E29-4AD8-8399-F6A339E3D001"))
	boot[510], boot[511] = 0x55, 0xAA
	meta := make([]byte, 112)
	copy(meta, "-FVE-FS-")
	le.PutUint16(meta[8:], 112/16)
	le.PutUint16(meta[10:], 2) // version
	le.PutUint32(meta[64:], 48)
	le.PutUint32(meta[68:], 1)
	le.PutUint32(meta[72:], 48)
	le.PutUint32(meta[76:], 48)
	copies := []int64{2 * mib, 4 * mib, 6 * mib}
	chunks := []chunk{{p.Start, noise}, {p.Start + p.Size - mib, noise}}
	for i, off := range copies {
		le.PutUint64(boot[176+8*i:], uint64(off))
		le.PutUint64(meta[32+8*i:], uint64(off))
	}
	for _, off := range copies {
		chunks = append(chunks, chunk{p.Start + off, meta})
	}
	return writeAll(f, append(chunks, chunk{p.Start, boot})...)
}

func damageExt4(f *os.File, img Image) error {
	p := img.targetPart()
	return window(f, p.Start, p.Size, true, func(w *os.File) error {
		return run("debugfs", "-w", "-R", "copy_inode /big.bin /numbered/09.dat", w.Name())
	})
}

// damageXFS overwrites the magic number of the AGF (the second sector) of group 1.
func damageXFS(f *os.File, img Image) error {
	start := img.targetPart().Start
	sb := make([]byte, 512)
	if _, err := f.ReadAt(sb, start); err != nil {
		return err
	}
	be := binary.BigEndian
	if string(sb[:4]) != "XFSB" {
		return fmt.Errorf("no XFS at %d", start)
	}
	group := int64(be.Uint32(sb[84:])) * int64(be.Uint32(sb[4:])) // agblocks × block size
	return putBytes(start+group+int64(be.Uint16(sb[102:])), "damaged")(f, img)
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
