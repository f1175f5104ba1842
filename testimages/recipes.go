package testimages

import (
	"os"
	"slices"
	"strings"
)

const mib = int64(1) << 20

// Image is the recipe of one disk image. All sizes and offsets are bytes.
type Image struct {
	Name   string // "<table>-<content>"
	Note   string // what is special about it
	Size   int64  // virtual size
	Sector int    // logical sector size, 512 or 4096
	Table  string // "gpt", "mbr" or "none"
	// DiskGUID is the GPT's disk GUID, or the MBR's disk signature as eight hex
	// digits; a signature of zero also means boot code that is all zero.
	DiskGUID string
	Parts    []Part  // in the order of their starts; none for Table "none"
	Whole    Content // of a disk without a table

	Target string // what a test grows: "sda3", "vg/lv" or "sda"
	Stack  string // what the target sits in, e.g. "part/luks/lvm/xfs", "disk/ext4"
	Behind string // partition behind the target which has to move, if any
	OS     string // what inspection must say: "linux", "windows" or ""
	Key    string // LUKS passphrase, if any
	// Expect is "" when the target can grow, otherwise the reason of the refusal.
	Expect string
	// Format is the true format of the file, if that is not "raw".
	Format string

	tableSize int64  // where the table thinks the disk ends, if not at Size
	dirty     bool   // take the image while the file system is mounted
	from      string // start from a copy of this image
	change    func(f *os.File, img Image) error
}

// Part is one partition.
type Part struct {
	Num         int
	Start, Size int64
	Type        string // GUID, or "0x83"
	GUID, Name  string
	Attrs       uint64
	Active      bool
	Content
}

// Content is what a partition, logical volume, LUKS container or disk holds.
type Content struct {
	// Kind is a file system ("ext2" "ext3" "ext4" "xfs" "ntfs" "btrfs" "vfat"),
	// "swap", "pv", "luks1", "luks2", a kind of raw bytes ("random" "bitlocker"
	// "spaces"), or "" for nothing.
	Kind  string
	Label string
	Tree  string   // the files in it, see trees
	Opts  []string // further arguments for the tool that formats it
	VG    string   // of a "pv"
	LVs   []LV     // of a "pv"
	Inner *Content // of a LUKS container
}

// LV is one logical volume.
type LV struct {
	Name string
	Size int64
	Content
}

// All returns the zoo. It is pure: nothing is built.
func All() []Image {
	var all []Image
	for _, group := range [][]Image{wholeDisks(), gptDisks(), gptLayouts(), mbrDisks(), windowsDisks()} {
		for _, img := range group {
			all = append(all, img.complete())
		}
	}
	for _, img := range variants() {
		all = append(all, img.completeFrom(all[index(all, img.from)]))
	}
	return all
}

// Find returns the recipe called name.
func Find(name string) (Image, bool) {
	all := All()
	i := index(all, name)
	if i < 0 {
		return Image{}, false
	}
	return all[i], true
}

func index(imgs []Image, name string) int {
	return slices.IndexFunc(imgs, func(img Image) bool { return img.Name == name })
}

// key is the passphrase of every LUKS container in the zoo.
const key = "open sesame"

func wholeDisks() []Image {
	whole := func(c Content, size int64) Image {
		img := Image{Name: "none-" + c.Kind, Table: "none", Size: size, Whole: c, Target: "sda"}
		if c.Kind == "pv" {
			img.Target = c.VG + "/" + c.LVs[0].Name
		}
		return img
	}
	return []Image{
		whole(data("xfs"), 320*mib),
		whole(data("ext4"), 64*mib),
		whole(data("ntfs"), 64*mib),
		whole(data("btrfs"), 160*mib),
		whole(pv("vg_none", LV{"data", 308 * mib, data("xfs")}), 320*mib),
		{Name: "none-empty", Note: "all zero", Table: "none", Size: 64 * mib, Target: "sda", Expect: "not-found"},
		{Name: "none-random", Note: "bytes that are nothing known", Table: "none", Size: 64 * mib,
			Whole: Content{Kind: "random"}, Target: "sda", Expect: "unknown-content"},
		{Name: "raw-is-qcow2", Note: "a qcow2 file that is called raw", Format: "qcow2", Table: "none", Size: 197120,
			Target: "sda", Expect: "format-mismatch", change: makeQcow2},
	}
}

// gptDisks have one partition of one kind.
func gptDisks() []Image {
	one := func(name string, size int64, c Content) Image {
		typ := typeLinux
		switch c.Kind {
		case "ntfs":
			typ = typeWindows
		case "pv":
			typ = typeLVM
		}
		p := Part{Num: 1, Start: mib, Size: size, Type: typ, Content: c}
		return Image{Name: "gpt-" + name, Table: "gpt", Size: size + 2*mib, Parts: []Part{p}, Target: "sda1"}
	}
	target := func(img Image, target string) Image { img.Target = target; return img }
	v4 := data("xfs")
	v4.Opts = []string{"-m", "crc=0,finobt=0,reflink=0,rmapbt=0", "-i", "sparse=0"}
	k1 := data("ext4")
	k1.Opts = []string{"-b", "1024"}
	oldExt4 := data("ext4")
	oldExt4.Opts = []string{"-O", "^metadata_csum"}
	return []Image{
		one("ext2", 64*mib, data("ext2")),
		one("ext3", 64*mib, data("ext3")),
		one("ext4", 64*mib, data("ext4")),
		one("ext4-1k", 64*mib, k1).note("1 KiB blocks"),
		one("ext4-nocsum", 64*mib, oldExt4).note("no metadata checksums"),
		one("xfs", 320*mib, data("xfs")),
		one("xfs-v4", 320*mib, v4).note("version 4, no checksums"),
		one("ntfs", 64*mib, data("ntfs")),
		one("btrfs", 160*mib, data("btrfs")),
		one("ext4-dirty", 64*mib, data("ext4")).note("journal to replay").unclean(),
		one("xfs-dirty", 320*mib, data("xfs")).note("log to replay").unclean(),
		target(one("lvm-xfs", 320*mib, pv("vg_xfs", LV{"data", 308 * mib, data("xfs")})), "vg_xfs/data"),
		target(one("lvm-ext4", 128*mib, pv("vg_ext4",
			LV{"data", 48 * mib, data("ext4")}, LV{"logs", 32 * mib, small("ext4")})), "vg_ext4/data").
			note("the target is not the last LV"),
		one("luks1-ext4", 64*mib, luks("luks1", data("ext4"))),
		one("luks2-xfs", 336*mib, luks("luks2", data("xfs"))),
		target(one("luks2-lvm-xfs", 344*mib,
			luks("luks2", pv("vg_luks", LV{"data", 308 * mib, data("xfs")}))), "vg_luks/data"),
		one("unknown", 32*mib, Content{Kind: "random"}).refused("unknown-content"),
		one("vfat", 64*mib, data("vfat")).note("FAT cannot grow").refused("fs-unsupported"),
	}
}

// gptLayouts are about the table.
func gptLayouts() []Image {
	return []Image{
		{Name: "gpt-order", Note: "numbers 14, 15, 1 as in cloud images; the last partition ends at the last usable sector",
			Table: "gpt", Size: 160 * mib, Target: "sda1", OS: "linux", Parts: []Part{
				{Num: 14, Start: mib, Size: 4 * mib, Type: typeBIOSBoot},
				{Num: 15, Start: 5 * mib, Size: 36 * mib, Type: typeESP, Content: esp("esp-linux")},
				{Num: 1, Start: 41 * mib, Type: typeLinux, Content: tree("ext4", "cloudimg-root", "debian")},
			}},
		{Name: "gpt-os-lvm", Note: "root and swap on LVM, /boot outside", Table: "gpt", Size: 512 * mib,
			Target: "vg_os/root", OS: "linux", Parts: []Part{
				{Num: 1, Start: mib, Size: 36 * mib, Type: typeESP, Name: "EFI System Partition", Content: esp("esp-linux")},
				{Num: 2, Start: 37 * mib, Size: 64 * mib, Type: typeLinux, Content: tree("ext4", "boot", "boot")},
				{Num: 3, Start: 101 * mib, Size: 410 * mib, Type: typeLVM, Content: pv("vg_os",
					LV{"root", 308 * mib, tree("xfs", "root", "fedora")},
					LV{"swap", 64 * mib, Content{Kind: "swap", Label: "swap"}})},
			}},
		{Name: "gpt-4k-xfs", Table: "gpt", Sector: 4096, Size: 322 * mib, Target: "sda1", Parts: []Part{
			{Num: 1, Start: mib, Size: 320 * mib, Type: typeLinux, Content: data("xfs")}}},
		{Name: "gpt-4k-ext4", Table: "gpt", Sector: 4096, Size: 66 * mib, Target: "sda1", Parts: []Part{
			{Num: 1, Start: mib, Type: typeLinux, Content: data("ext4")}}},
		{Name: "gpt-attrs", Note: "attribute bits, long names, unused type GUIDs, gaps in numbers and space",
			Table: "gpt", Size: 98 * mib, Target: "sda5", Parts: []Part{
				{Num: 7, Start: 2 * mib, Size: mib, Type: "01234567-89AB-CDEF-0123-456789ABCDEF",
					Attrs: 0xF00F_0000_0000_0000, Name: "Größe 数据 – thirty-six UTF-16 units"},
				{Num: 128, Start: 5 * mib, Size: mib, Type: typeBIOSBoot, Attrs: attrRequired},
				{Num: 5, Start: 8 * mib, Size: 64 * mib, Type: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
					Attrs: attrLegacyBoot | 1<<59, Name: "root", Content: data("ext4")},
			}},
		{Name: "gpt-swap-last", Note: "swap behind the target", Table: "gpt", Size: 98 * mib,
			Target: "sda1", Behind: "sda2", Parts: []Part{
				{Num: 1, Start: mib, Size: 64 * mib, Type: typeLinux, Content: data("ext4")},
				{Num: 2, Start: 65 * mib, Size: 32 * mib, Type: typeSwap, Content: Content{Kind: "swap", Label: "SWAP"}},
			}},
		{Name: "gpt-data-last", Note: "a file system behind the target", Table: "gpt", Size: 98 * mib,
			Target: "sda1", Behind: "sda2", Parts: []Part{
				{Num: 1, Start: mib, Size: 64 * mib, Type: typeLinux, Content: data("ext4")},
				{Num: 2, Start: 65 * mib, Size: 32 * mib, Type: typeLinux, Content: small("ext4")},
			}},
		{Name: "gpt-by-offset", Note: "fstab mounts what is behind the target by its offset", Table: "gpt", Size: 98 * mib,
			Target: "sda1", Behind: "sda2", OS: "linux", Expect: "immovable-neighbour", Parts: []Part{
				{Num: 1, Start: mib, Size: 64 * mib, Type: typeLinux, Content: tree("ext4", "root", "debian")},
				{Num: 2, Start: 65 * mib, Size: 32 * mib, Type: typeLinux, Content: tree("ext4", "old", "by-offset")},
			}},
	}
}

func mbrDisks() []Image {
	// Starts at 1 MiB; a logical partition has its EBR 1 MiB before it.
	ext := func(num int, start, size int64) Part {
		return Part{Num: num, Start: start, Size: size, Type: "0x05"}
	}
	return []Image{
		{Name: "mbr-ext4", Note: "boot code and disk signature", Table: "mbr", Size: 66 * mib, Target: "sda1", Parts: []Part{
			{Num: 1, Start: mib, Size: 64 * mib, Type: "0x83", Active: true, Content: data("ext4")}}},
		{Name: "mbr-xfs", Note: "the partition ends with the disk", Table: "mbr", Size: 321 * mib, Target: "sda1", Parts: []Part{
			{Num: 1, Start: mib, Type: "0x83", Content: data("xfs")}}},
		{Name: "mbr-lvm", Table: "mbr", Size: 130 * mib, Target: "vg_mbr/data", Parts: []Part{
			{Num: 1, Start: mib, Size: 32 * mib, Type: "0x83", Content: small("ext4")},
			{Num: 2, Start: 33 * mib, Size: 96 * mib, Type: "0x8e",
				Content: pv("vg_mbr", LV{"data", 80 * mib, data("ext4")})}}},
		{Name: "mbr-logical-ext4", Note: "the target is the last logical", Table: "mbr", Size: 132 * mib, Target: "sda6", Parts: []Part{
			{Num: 1, Start: mib, Size: 16 * mib, Type: "0x83", Content: small("ext2")},
			ext(2, 17*mib, 114*mib),
			{Num: 5, Start: 18 * mib, Size: 32 * mib, Type: "0x83", Content: small("ext4")},
			{Num: 6, Start: 51 * mib, Size: 80 * mib, Type: "0x83", Content: data("ext4")}}},
		{Name: "mbr-extended-between", Note: "an extended partition between two primaries", Table: "mbr", Size: 132 * mib, Target: "sda3", Parts: []Part{
			{Num: 1, Start: mib, Size: 16 * mib, Type: "0x83", Content: small("ext2")},
			ext(2, 17*mib, 34*mib),
			{Num: 5, Start: 18 * mib, Size: 32 * mib, Type: "0x83", Content: small("ext4")},
			{Num: 3, Start: 51 * mib, Size: 80 * mib, Type: "0x83", Content: data("ext4")}}},
		{Name: "mbr-4k", Table: "mbr", Sector: 4096, Size: 66 * mib, Target: "sda1", Parts: []Part{
			{Num: 1, Start: mib, Size: 64 * mib, Type: "0x83", Content: data("ext4")}}},
	}
}

func windowsDisks() []Image {
	cDrive := tree("ntfs", "Windows", "windows-gpt")
	msr := Part{Num: 2, Start: 37 * mib, Size: 16 * mib, Type: typeMSR, Name: "Microsoft reserved partition"}
	efi := Part{Num: 1, Start: mib, Size: 36 * mib, Type: typeESP, Name: "EFI system partition",
		Attrs: attrNoDriveLetter, Content: esp("esp-windows")}
	c := Part{Num: 3, Start: 53 * mib, Size: 96 * mib, Type: typeWindows, Name: "Basic data partition", Content: cDrive}
	hibernated := c
	hibernated.Tree = "windows-hibernated"
	winre := Part{Num: 4, Start: 149 * mib, Size: 32 * mib, Type: typeWinRE, Name: "Recovery",
		Attrs: attrRequired | attrNoDriveLetter, Content: tree("ntfs", "Recovery", "winre")}
	return []Image{
		{Name: "gpt-windows", Table: "gpt", Size: 150 * mib, Target: "sda3", OS: "windows", Parts: []Part{efi, msr, c}},
		{Name: "gpt-windows-winre", Note: "a recovery partition behind C:", Table: "gpt", Size: 182 * mib,
			Target: "sda3", Behind: "sda4", OS: "windows", Parts: []Part{efi, msr, c, winre}},
		{Name: "gpt-ntfs-hibernated", Note: "hiberfil.sys with a live header", Table: "gpt", Size: 150 * mib, Target: "sda3",
			OS: "windows", Expect: "ntfs-hibernated", Parts: []Part{efi, msr, hibernated}},
		{Name: "mbr-windows", Table: "mbr", Size: 130 * mib, Target: "sda2", OS: "windows", Parts: []Part{
			{Num: 1, Start: mib, Size: 32 * mib, Type: "0x07", Active: true, Content: tree("ntfs", "System Reserved", "bootmgr")},
			{Num: 2, Start: 33 * mib, Size: 96 * mib, Type: "0x07", Content: tree("ntfs", "", "windows-mbr")}}},
		{Name: "mbr-windows-winre", Note: "a recovery partition behind C:", Table: "mbr", Size: 130 * mib, Target: "sda1", Behind: "sda2", OS: "windows", Parts: []Part{
			{Num: 1, Start: mib, Size: 96 * mib, Type: "0x07", Active: true, Content: tree("ntfs", "", "windows-mbr")},
			{Num: 2, Start: 97 * mib, Size: 32 * mib, Type: "0x27", Content: tree("ntfs", "Recovery", "winre")}}},
		{Name: "mbr-windows-data", Note: "an extended partition behind C:", Table: "mbr", Size: 132 * mib, Target: "sda1", Behind: "sda2", OS: "windows", Parts: []Part{
			{Num: 1, Start: mib, Size: 96 * mib, Type: "0x07", Active: true, Content: tree("ntfs", "", "windows-mbr")},
			{Num: 2, Start: 97 * mib, Size: 34 * mib, Type: "0x0f"},
			{Num: 5, Start: 98 * mib, Size: 32 * mib, Type: "0x07", Content: tree("ntfs", "Data", "small")}}},
		{Name: "gpt-windows-old", Note: "the recovery partition before C:", Table: "gpt", Size: 182 * mib, Target: "sda4", OS: "windows",
			Parts: oldOrder(winre, efi, msr, c)},
	}
}

// oldOrder lines partitions up and numbers them, as older Windows lays them out.
func oldOrder(parts ...Part) []Part {
	at := mib
	for i := range parts {
		parts[i].Num, parts[i].Start = i+1, at
		at += parts[i].Size
	}
	return parts
}

// Contents

func tree(kind, label, tree string) Content { return Content{Kind: kind, Label: label, Tree: tree} }
func data(kind string) Content              { return tree(kind, "DATA", "data") }
func small(kind string) Content             { return tree(kind, "SMALL", "small") }
func esp(name string) Content               { return tree("vfat", "EFI", name) }
func luks(kind string, c Content) Content   { return Content{Kind: kind, Inner: &c} }
func pv(vg string, lvs ...LV) Content       { return Content{Kind: "pv", VG: vg, LVs: lvs} }

// Modifiers

func (img Image) note(s string) Image         { img.Note = s; return img }
func (img Image) refused(reason string) Image { img.Expect = reason; return img }
func (img Image) unclean() Image              { img.dirty = true; return img }

// complete fills in what follows from the rest of the recipe.
func (img Image) complete() Image {
	if img.Sector == 0 {
		img.Sector = 512
	}
	if img.DiskGUID == "" && img.Table != "none" {
		img.DiskGUID = strings.ToUpper(uuidOf(img.Name))
		if img.Table == "mbr" {
			img.DiskGUID = img.DiskGUID[:8]
		}
	}
	img.Parts = slices.Clone(img.Parts)
	for i := range img.Parts {
		img.completePart(&img.Parts[i])
	}
	img.walk(func(v volume) {
		if v.Name == img.Target {
			img.Stack = v.stack
		}
		if v.Kind == "luks1" || v.Kind == "luks2" {
			img.Key = key
		}
	})
	return img
}

func (img Image) completePart(p *Part) {
	if img.Table == "gpt" && p.GUID == "" {
		p.GUID = strings.ToUpper(uuidOf(img.Name + "/" + partName(p.Num)))
	}
	if p.Size == 0 {
		p.Size = img.Size - p.Start
		if img.Table == "gpt" {
			p.Size -= (img.geometry().entries + 1) * int64(img.Sector)
		}
	}
}

// completeFrom takes what img leaves open from the image it starts from.
func (img Image) completeFrom(base Image) Image {
	if img.Size == 0 {
		img.Size = base.Size
	}
	if img.Parts == nil {
		img.Parts = base.Parts
	}
	if img.Target == "" {
		img.Target, img.Behind = base.Target, base.Behind
	}
	if img.DiskGUID == "" {
		img.DiskGUID = base.DiskGUID
	}
	if img.tableSize == 0 {
		img.tableSize = base.Size
	}
	img.Sector, img.Table, img.Whole = base.Sector, base.Table, base.Whole
	if img.Expect != "bitlocker" { // nobody can look inside
		img.OS = base.OS
	}
	return img.complete()
}
