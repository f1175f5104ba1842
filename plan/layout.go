package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Layout is the content of a disk, or of several disks of one guest, as it was probed.
type Layout struct {
	DiskLayout
	// More are the other disks, where there are several.
	More []DiskLayout `json:"more_disks,omitempty"`
	// Devices are the disks with their partitions, then every other block device, each
	// after the devices below it. The first disk is the first device.
	Devices []Device `json:"devices"`
	Groups  []Group  `json:"groups,omitempty"`
	OS      *OS      `json:"os,omitempty"`
	// ByOffset are the places on the disk that an fstab mounts by their offset.
	ByOffset []Offset `json:"by_offset,omitempty"`
	// Hibernated says where on the disk the memory of a hibernated system is. It is left
	// out if there is none, or if that was not checked.
	Hibernated *Refusal `json:"hibernated,omitempty"`
	// Held says what uses partitions of the disk in the appliance and cannot be stopped,
	// so that the table cannot be changed.
	Held *Refusal `json:"held,omitempty"`
	// Bus is what was found about the move of disks to another bus; it is left out if that
	// was not looked for.
	Bus *BusFindings `json:"bus,omitempty"`
}

// DiskLayout is one disk as a whole.
type DiskLayout struct {
	// Disk is the disk's target in its domain, "vda", where the layout has several
	// disks: then its devices are named after it. The device of a disk by itself is
	// "sda".
	Disk string `json:"disk,omitempty"`
	// Size is the disk's virtual size.
	Size size.Bytes `json:"size"`
	// Sector is the disk's logical sector size.
	Sector size.Bytes `json:"sector"`
	// Table is the partition table; nil when there is none.
	Table *table.Table `json:"-"`
}

// Name returns the name of the disk's device.
func (d *DiskLayout) Name() string { return cmp.Or(d.Disk, "sda") }

// Partition returns the name of the partition with a number.
func (d *DiskLayout) Partition(number int) string {
	return PartitionName(d.Name(), strconv.Itoa(number))
}

// PartitionName names a partition of a disk as Linux does: vda1, nvme0n1p1.
func PartitionName(disk, number string) string {
	if endsInDigit(disk) {
		disk += "p"
	}
	return disk + number
}

// PartitionNumber returns the number of a partition of the disk, from the partition's name;
// "" is the disk itself. ok is false for any other device.
func PartitionNumber(name, disk string) (number string, ok bool) {
	rest, ok := strings.CutPrefix(name, disk)
	if !ok || rest == "" {
		return "", ok
	}
	if endsInDigit(disk) {
		rest, ok = strings.CutPrefix(rest, "p")
	}
	return rest, ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

func endsInDigit(name string) bool {
	return name != strings.TrimRight(name, "0123456789")
}

// Disks returns all disks of the layout.
func (l *Layout) Disks() []*DiskLayout {
	disks := []*DiskLayout{&l.DiskLayout}
	for i := range l.More {
		disks = append(disks, &l.More[i])
	}
	return disks
}

// DiskNamed returns the disk with the name of its device; nil if there is none.
func (l *Layout) DiskNamed(name string) *DiskLayout {
	for _, d := range l.Disks() {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// under returns the disks that a device lies on.
func (l *Layout) under(d *Device) []string {
	switch {
	case d == nil:
		return nil
	case d.Kind == Disk:
		return []string{d.Name}
	case d.Kind != LV:
		parent, _ := l.Find(d.Parent)
		return l.under(parent)
	}
	return l.underGroup(d.Group)
}

// underGroup returns the disks that the PVs of a group lie on.
func (l *Layout) underGroup(group string) (disks []string) {
	if g := l.group(group); g != nil {
		for _, name := range g.PVs {
			pv, _ := l.Find(name)
			disks = append(disks, l.under(pv)...)
		}
	}
	slices.Sort(disks)
	return slices.Compact(disks)
}

// Lacks reports whether PVs of a group are not on the disks of the layout.
func (l *Layout) Lacks(group string) bool {
	g := l.group(group)
	return g != nil && g.Missing > 0
}

// DisksOf returns the disks that hold a group, if all its PVs are there.
func (l *Layout) DisksOf(group string) []string {
	if l.Lacks(group) {
		return nil
	}
	return l.underGroup(group)
}

// OS is the operating system that inspection found.
type OS struct {
	// Type is for example "linux" or "windows".
	Type string `json:"type"`
	// Product is the system's name and version.
	Product string `json:"product"`
	// Root is the device of / or C:.
	Root string `json:"root"`
	// Virtio are the installed drivers of a Windows for virtio disks: "viostor",
	// "vioscsi".
	Virtio []string `json:"virtio,omitempty"`
}

// Offset is a mount in the guest's fstab that names a place on the disk by its byte offset.
type Offset struct {
	// MountPoint is where the fstab mounts it.
	MountPoint string `json:"where"`
	// At is the offset in bytes; -1 if it could not be read.
	At size.Bytes `json:"at"`
}

// DeviceKind is the kind of a block device.
type DeviceKind string

// The kinds of block device on a disk.
const (
	Disk      DeviceKind = "disk"
	Partition DeviceKind = "partition"
	Crypt     DeviceKind = "crypt" // the content of an open LUKS container
	LV        DeviceKind = "lv"
)

// Device is one block device: the disk, a partition, an opened LUKS
// container, a logical volume.
type Device struct {
	// Name is the name for people: "sda", "sda3", "vg0/root", "luks-sda3".
	Name string     `json:"name"`
	Kind DeviceKind `json:"kind"`
	// Parent is the device below. An LV has a group instead.
	Parent string `json:"parent,omitempty"`
	// Group is the volume group of an LV.
	Group string `json:"group,omitempty"`
	// Number is a partition's number in its table, from 1.
	Number int `json:"number,omitempty"`
	// Start is the offset of a partition on the disk.
	Start size.Bytes `json:"start,omitempty"`
	Size  size.Bytes `json:"size"`
	// Type is a partition's type, for people: "EFI system".
	Type string `json:"type,omitempty"`
	// Extended reports that a partition is an MBR's extended one.
	Extended bool    `json:"extended,omitempty"`
	Content  Content `json:"content"`
	// AtEnd is the format whose metadata is in the device's last sectors.
	AtEnd string `json:"at_end,omitempty"`
	// Allocation is what LVM reports of an LV, if known.
	Allocation *Allocation `json:"allocation,omitempty"`
}

// End returns the exclusive end of the device on the disk.
func (d Device) End() size.Bytes { return d.Start + d.Size }

// Content types that are not file systems, by blkid's names.
const (
	ContentPV      = "LVM2_member"
	ContentLUKS    = "crypto_LUKS"
	ContentNone    = ""
	ContentUnknown = "unknown"
)

// Content is what a device holds.
type Content struct {
	// Type is blkid's name (ext4, xfs, LVM2_member, …), "" for an empty device and
	// "unknown" for unknown content.
	Type  string `json:"type"`
	UUID  string `json:"uuid,omitempty"`
	Label string `json:"label,omitempty"`
	// Size is the size of the file system, of a PV's extents, or of a LUKS payload.
	Size size.Bytes `json:"size,omitempty"`
	// Used is how much of Size is in use.
	Used size.Bytes `json:"used,omitempty"`
	// Files is about how many inodes, or records of an NTFS's MFT, are in use; it is left out
	// where that is not known.
	Files int64 `json:"files,omitempty"`
	// Offset is the offset of a PV's extents or a LUKS payload.
	Offset size.Bytes `json:"offset,omitempty"`
	// Tail is the size of a PV's second metadata area, behind its extents.
	Tail size.Bytes `json:"tail,omitempty"`
	// Free is the size of a PV's free extents.
	Free size.Bytes `json:"free,omitempty"`
	// Fixed reports that LVM allocates no more extents of a PV (pvchange -xn).
	Fixed bool `json:"not_allocatable,omitempty"`
	// Unit is the size of an XFS allocation group: a growth adds whole groups.
	Unit size.Bytes `json:"unit,omitempty"`
	// Block is the unit of the content's size: the block of an XFS, the sector of a btrfs,
	// the cluster of an NTFS.
	Block size.Bytes `json:"block,omitempty"`
	// SectorSize is the sector size that an NTFS was made for.
	SectorSize size.Bytes `json:"sector_size,omitempty"`
	// Ext has the fields of the superblock that determine how an ext2, ext3 or ext4 grows.
	Ext *superblock.Ext `json:"ext,omitempty"`
	// Max is the largest size of the content, if a limit is known.
	Max size.Bytes `json:"max,omitempty"`
	// MaxWhy says what limits the size.
	MaxWhy string `json:"max_why,omitempty"`
	// Group is the volume group a PV belongs to.
	Group string `json:"group,omitempty"`
	// Mounted has the mount points or the drive letter in the guest: "/", "C:".
	Mounted []string `json:"mounted,omitempty"`
	// Role is what Windows uses the volume for; "" for anything else.
	Role Role `json:"role,omitempty"`
	// Problem is why this content cannot be grown now.
	Problem *Refusal `json:"problem,omitempty"`
	// Notes are for people, also without a growth.
	Notes []string `json:"notes,omitempty"`
}

// Role is what an operating system uses a volume for.
type Role string

// Windows' volumes, by its own names: it starts from the system volume, and runs from the
// boot volume. A volume that is both counts as the boot volume.
const (
	RoleWindowsSystem   Role = "windows-system"
	RoleWindowsBoot     Role = "windows-boot"
	RoleWindowsRecovery Role = "windows-recovery"
)

// growable are the file systems that can be grown.
var growable = []string{"ext2", "ext3", "ext4", "xfs", "ntfs", "btrfs"}

// Growable reports whether the content is a file system that can be grown.
func (c Content) Growable() bool { return slices.Contains(growable, c.Type) }

// growsMounted reports whether the kernel grows the file system to that size while it is
// mounted.
func (c Content) growsMounted(to size.Bytes) bool {
	switch c.Type {
	case "xfs", "btrfs":
		return true
	case "ext4":
		return c.Ext != nil && c.Ext.GrowsMounted(to)
	}
	return false
}

// journaled reports whether the file system is consistent at every moment, once its journal
// is replayed.
func (c Content) journaled() bool {
	switch c.Type {
	case "xfs", "btrfs":
		return true
	}
	return c.Ext != nil && c.Ext.Journaled()
}

// Group is a volume group.
type Group struct {
	Name string `json:"name"`
	// Extent is the size of an extent.
	Extent size.Bytes `json:"extent"`
	// Free is the space that its volumes can still get. PVs that allow no allocation, and
	// missing ones, do not count.
	Free size.Bytes `json:"free"`
	// PVs are the devices of the group.
	PVs []string `json:"pvs"`
	// Missing counts PVs that are not on this disk.
	Missing int `json:"missing,omitempty"`
}

// Find returns the device of that name.
func (l *Layout) Find(name string) (*Device, bool) {
	i := slices.IndexFunc(l.Devices, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return nil, false
	}
	return &l.Devices[i], true
}

// group returns the volume group of that name.
func (l *Layout) group(name string) *Group {
	i := slices.IndexFunc(l.Groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &l.Groups[i]
}

// Clone copies the layout so that it can be changed.
func (l *Layout) Clone() *Layout {
	c := *l
	c.More = slices.Clone(l.More)
	c.Devices = slices.Clone(l.Devices)
	c.Groups = slices.Clone(l.Groups)
	return &c
}

// Fingerprint returns a SHA-256 over everything that a plan depends on: sizes, the table's
// bytes, and the content of each device. It leaves out what a running guest changes all
// the time (used space), and texts for people.
func (l *Layout) Fingerprint() string {
	c := l.Clone()
	c.OS, c.ByOffset, c.Hibernated, c.Held, c.Bus = nil, nil, nil, nil, nil // they are only read once
	for i := range c.Devices {
		content := &c.Devices[i].Content
		content.Used, content.Files = 0, 0
		content.Notes = nil
		content.Mounted = nil
		content.Problem = nil
		content.MaxWhy = ""
	}
	facts := struct {
		Layout *Layout
		Table  string
	}{Layout: c}
	for _, d := range l.Disks() {
		if d.Table != nil {
			facts.Table += d.Table.Fingerprint()
		}
	}
	data, err := json.Marshal(facts)
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
