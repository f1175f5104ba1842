// Package live is what a running guest has to do to use a disk that has become
// bigger under it: the commands for what lies on the disk, from the partition up to
// the file system, in Linux and in Windows.
//
// It is pure: it reads what the guest printed, which is the guest's word and not to
// be trusted, and computes. A name from the guest only ever becomes an argument of a
// program in that guest; no shell reads it but in the lines that Line prints for
// people, where it is quoted.
package live

import (
	"path"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Device is one block device as a Linux guest has it.
type Device struct {
	// Path is what the guest calls it: "/dev/vdb1", "/dev/mapper/vg-data".
	Path string `json:"path"`
	// Parent is the device it lies on; "" for a disk. A volume on two devices is
	// there twice.
	Parent string `json:"parent"`
	// Kind is lsblk's type: "disk", "part", "crypt", "lvm", "raid1", …
	Kind string `json:"kind"`
	// Start is a partition's first byte on its disk.
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
	// FS is blkid's word for what is on it: "xfs", "LVM2_member", "".
	FS   string `json:"fs"`
	UUID string `json:"uuid"`
	// Mounted is where; "" for nowhere, and Unknown where nobody can tell.
	Mounted string `json:"mounted"`
	// Mounts are all places where it is mounted, as far as they are known: a btrfs
	// has one for each subvolume.
	Mounts []string `json:"mounts"`
	// ReadOnly reports that nothing of it is mounted to be written to.
	ReadOnly bool `json:"read_only"`
	// Problem is what an appliance that looked at the image found wrong with it.
	Problem *plan.Refusal `json:"problem"`
	// Serial and Address tell disks of one size apart.
	Serial  string `json:"serial"`
	Address string `json:"address"`
}

// Disk is what is known on the host of the disk that is meant.
type Disk struct {
	Serial  string `json:"serial"`
	Address string `json:"address"`
	// Path is what the guest was found to call it.
	Path string `json:"path"`
}

// Unknown is where a file system is mounted of which only the image was seen, Swap
// where lsblk reports that swap is, when it is in use.
const (
	Unknown = "?"
	Swap    = "[SWAP]"
)

// Guest is what was found out about a Linux guest.
type Guest struct {
	Devices []Device `json:"devices"`
	// Tools are the programs it has, of those in Tools; nil where only the image was
	// seen, and nobody can tell.
	Tools map[string]bool `json:"tools"`
	// Tables are the partition tables, by the disk's path.
	Tables map[string]Table `json:"tables"`
	// Ext are the superblocks of the mounted ext file systems, by device.
	Ext map[string]Ext `json:"ext"`
	// Btrfs are the devices of btrfs file systems, by path.
	Btrfs map[string]Btrfs `json:"btrfs"`
	// LVs, VGs and PVs are what the guest's LVM says of them, by "vg/lv", name and
	// path.
	LVs map[string]LV     `json:"lvs"`
	VGs map[string]string `json:"vgs"` // vgs(8)'s attributes: "wz--n-"
	PVs map[string]string `json:"pvs"` // pvs(8)'s attributes: "a--"
}

// Table is what counts of a disk's partition table.
type Table struct {
	// Kind is "" where it is not known.
	Kind table.Kind `json:"kind"`
	// Sector is the disk's logical sector.
	Sector size.Bytes `json:"sector"`
	// Extended are the numbers of an MBR's extended partitions.
	Extended []int `json:"extended"`
	// Problem is why the table may not be edited; "" where nothing is known of one.
	Problem string `json:"problem"`
}

// Ext is what counts of an ext file system's superblock.
type Ext struct {
	Block    size.Bytes `json:"block"`
	Bits64   bool       `json:"bits64"`
	Bigalloc bool       `json:"bigalloc"`
}

// Btrfs is a device of a btrfs.
type Btrfs struct {
	// ID is the device's number in its file system, which has that many devices.
	ID      int `json:"id"`
	Devices int `json:"devices"`
}

// LV is what counts of a logical volume.
type LV struct {
	// Segments are the types of its parts, Attr is lvs(8)'s lv_attr.
	Segments []string `json:"segments"`
	Attr     string   `json:"attr"`
}

// Tools are the programs that may be asked for.
var Tools = []string{"growpart", "sfdisk", "sgdisk", "partx", "pvresize", "vgs", "lvextend", "xfs_growfs", "resize2fs", "btrfs"}

// Number returns a partition's, read off its name as the kernel makes them: "vdb1",
// "nvme0n1p1"; "" for no such name.
func (d Device) Number() string {
	rest, ok := strings.CutPrefix(path.Base(d.Path), path.Base(d.Parent))
	rest = strings.TrimPrefix(rest, "p")
	if !ok || rest == "" || strings.Trim(rest, "0123456789") != "" {
		return ""
	}
	return rest
}

// name returns the device's path without its directory.
func (d Device) name() string { return path.Base(d.Path) }

// children returns the devices right above one.
func (g Guest) children(parent string) []Device {
	var all []Device
	for _, d := range g.Devices {
		if d.Parent == parent {
			all = append(all, d)
		}
	}
	return all
}
