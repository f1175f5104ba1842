package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// NewDisk describes a new image and its content.
type NewDisk struct {
	Path   string     `json:"path"`   // absolute
	Format string     `json:"format"` // "qcow2" or "raw"
	Size   size.Bytes `json:"size"`   // whole MiB
	// FS is the file system; if it is "", the disk stays empty and the next four fields
	// are empty.
	FS string `json:"fs,omitempty"`
	// Table is TableNone, TableGPT or TableMBR.
	Table string `json:"table,omitempty"`
	// Group and Volume are the names of a volume group and volume for the file system, if
	// any.
	Group  string `json:"group,omitempty"`
	Volume string `json:"volume,omitempty"`
	Label  string `json:"label,omitempty"`
	// Prealloc is qemu-img's preallocation: off, metadata, falloc or full.
	Prealloc string `json:"prealloc"`
}

// The tables a new disk can have.
const (
	TableNone = "none"
	TableGPT  = "gpt"
	TableMBR  = "mbr"
)

// The steps of making an image, and of converting one.
const (
	StepCreate  StepKind = "create"
	StepFormat  StepKind = "format"
	StepCopy    StepKind = "copy"
	StepCompare StepKind = "compare"
	StepName    StepKind = "name"
)

// newFS has the limits of a new file system.
type newFS struct {
	gpt, mbr string // partition types
	// least is the smallest device that its mkfs accepts.
	least size.Bytes
	// label is the longest label, in unit.
	label int
	unit  string
}

// newFSs are the file systems that can be created. Sources: mkfs.xfs(8) since xfsprogs
// 5.19, and 12 bytes for sb_fname; mke2fs(8), which creates no journal below 2048 blocks of
// 1 KiB; mkfs.btrfs(8), 109 MiB with its default profiles, and BTRFS_LABEL_SIZE;
// mkntfs(8), and 32 characters in Windows.
var newFSs = map[string]newFS{
	"xfs":   {table.GPTLinux, table.MBRLinux, 300 * size.MiB, 12, "bytes"},
	"ext4":  {table.GPTLinux, table.MBRLinux, 2 * size.MiB, 16, "bytes"},
	"btrfs": {table.GPTLinux, table.MBRLinux, 109 * size.MiB, 255, "bytes"},
	"ntfs":  {table.GPTBasicData, table.MBRNTFS, 2 * size.MiB, 32, "characters"},
}

// NewFSNames are the file systems that can be made.
var NewFSNames = []string{"xfs", "ext4", "btrfs", "ntfs"}

// The defaults of pvcreate(8) and vgcreate(8).
const (
	lvmStart  = size.MiB
	lvmExtent = 4 * size.MiB
)

// Partition returns the place of the partition, the end exclusive; the whole disk if there
// is none. The last MiB is left for the second GPT, so that the end is aligned as well.
func (d NewDisk) Partition() (start, end size.Bytes) {
	switch d.Table {
	case TableGPT:
		return size.MiB, d.Size - size.MiB
	case TableMBR:
		return size.MiB, d.Size
	}
	return 0, d.Size
}

// PartitionType returns the partition's type in the table.
func (d NewDisk) PartitionType() string {
	fs := newFSs[d.FS]
	switch {
	case d.Group != "" && d.Table == TableMBR:
		return table.MBRLinuxLVM
	case d.Group != "":
		return table.GPTLinuxLVM
	case d.Table == TableMBR:
		return fs.mbr
	}
	return fs.gpt
}

// Device returns the name of the file system's device, as in a layout.
func (d NewDisk) Device() string {
	if d.Group != "" {
		return d.Group + "/" + d.Volume
	}
	return d.Carrier()
}

// Carrier returns the name of the disk, or of its partition if it has one.
func (d NewDisk) Carrier() string {
	if d.Table == TableNone {
		return "sda"
	}
	return "sda1"
}

// Room returns the size of the device that the file system gets.
func (d NewDisk) Room() size.Bytes {
	start, end := d.Partition()
	if d.Group == "" {
		return end - start
	}
	return max(0, end-start-lvmStart).Down(lvmExtent)
}

// Check refuses a disk that cannot be created.
func (d NewDisk) Check() error {
	if d.FS == "" {
		return nil
	}
	fs := newFSs[d.FS]
	if room := d.Room(); room < fs.least {
		return Refuse(TooSmall, d.Path, "%s is too small: %s needs %s at least, and would get %s", d.Size, d.FS, fs.least, max(0, room))
	}
	// An MBR has 32-bit sector numbers.
	if _, end := d.Partition(); d.Table == TableMBR && end > 2*size.TiB {
		return Refuse(MBRLimit, d.Path, "an MBR is limited to 2 TiB, and the disk will have %s", d.Size)
	}
	if fsMax, ok := d.most(); ok && d.Room() > fsMax {
		return Refuse(TooLarge, d.Path, "%s is too large: %s is limited to %s with its default block size", d.Size, d.FS, fsMax)
	}
	return d.checkLabel(fs)
}

// most returns the largest size of the file system with blocks of 4 KiB: NTFS has at most
// 2³² clusters.
func (d NewDisk) most() (size.Bytes, bool) {
	return 16 * size.TiB, d.FS == "ntfs"
}

func (d NewDisk) checkLabel(fs newFS) error {
	have := len(d.Label)
	if fs.unit == "characters" {
		have = len(utf16.Encode([]rune(d.Label)))
	}
	switch {
	case have > fs.label:
		return Refuse(BadLabel, d.Label, "the label %q has %d %s, and %s allows %d", d.Label, have, fs.unit, d.FS, fs.label)
	case !utf8.ValidString(d.Label), strings.ContainsFunc(d.Label, unicode.IsControl):
		return Refuse(BadLabel, d.Label, "the label %q contains a character that cannot be printed", d.Label)
	}
	return nil
}

// Steps returns the steps that make the image.
func (d NewDisk) Steps() []Step {
	steps := []Step{{Kind: StepCreate, To: d.Size, Seconds: 0.1,
		Summary: fmt.Sprintf("create %s of %s%s", d.Format, d.Size, preallocated(d.Prealloc))}}
	if d.FS != "" {
		steps = append(steps, Step{Kind: StepFormat, Content: d.FS, Seconds: 25, Summary: "create " + d.Inside() + " on it"})
	}
	return append(steps, Step{Kind: StepName, Summary: "rename it to " + d.Path, Seconds: 0.1})
}

func preallocated(how string) string {
	if how == "" || how == "off" {
		return ""
	}
	return ", preallocated (" + how + ")"
}

// Inside describes the content for people.
func (d NewDisk) Inside() string {
	if d.FS == "" {
		return "nothing"
	}
	var parts []string
	if d.Table != TableNone {
		parts = append(parts, strings.ToUpper(d.Table))
	}
	if d.Group != "" {
		parts = append(parts, "volume "+d.Device())
	}
	text := d.FS
	if d.Label != "" {
		text += fmt.Sprintf(" %q", d.Label)
	}
	return strings.Join(append(parts, text), ", ")
}

var lvmName = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*$`)

// lvmReserved are strings that a volume's name must not contain (lvm(8), "Valid names").
var lvmReserved = []string{"_cdata", "_cmeta", "_corig", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig"}

// ParseVolume reads the name of an LVM volume, "vg/lv", for a new one.
func ParseVolume(text string) (group, volume string, err error) {
	group, volume, found := strings.Cut(text, "/")
	if !found {
		return "", "", fmt.Errorf("%q does not have the form vg/lv", text)
	}
	for _, name := range []string{group, volume} {
		switch {
		case !lvmName.MatchString(name), name == ".", name == "..":
			return "", "", fmt.Errorf("%q is not a valid LVM name: use letters, digits and + _ . - (not first)", name)
		// Both names, with each - doubled, form a device-mapper name of at most 127 bytes.
		case len(name) > 60:
			return "", "", fmt.Errorf("%q is longer than 60 bytes", name)
		}
	}
	reserved := slices.ContainsFunc(lvmReserved, func(part string) bool { return strings.Contains(volume, part) })
	if reserved || strings.HasPrefix(volume, "snapshot") || strings.HasPrefix(volume, "pvmove") {
		return "", "", errors.New(volume + " is a name that LVM reserves")
	}
	return group, volume, nil
}
