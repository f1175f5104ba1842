// Package live computes the commands with which a running guest, Linux or Windows, uses a
// disk that has grown: from the partition up to the file system.
//
// It is pure: it reads output of the guest, which is not trusted. A name from the guest only
// becomes an argument of a program in the same guest. No shell evaluates it, except in the
// lines for people that Line returns, where it is quoted.
package live

import (
	"path"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Device is one block device of a Linux guest.
type Device struct {
	// Path is its path in the guest: "/dev/vdb1", "/dev/mapper/vg-data".
	Path string `json:"path"`
	// Parent is the device below; "" for a disk. A volume on two devices is listed twice.
	Parent string `json:"parent"`
	// Kind is the type in lsblk: "disk", "part", "crypt", "lvm", "raid1", …
	Kind string `json:"kind"`
	// Start is a partition's first byte on its disk.
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
	// FS is blkid's name for the content: "xfs", "LVM2_member", "".
	FS   string `json:"fs"`
	UUID string `json:"uuid"`
	// Mounted is the mount point; "" for none, Unknown if it is not known.
	Mounted string `json:"mounted"`
	// Mounts are all known mount points: a btrfs may have one for each subvolume.
	Mounts []string `json:"mounts"`
	// ReadOnly reports that all mounts are read-only.
	ReadOnly bool `json:"read_only"`
	// Problem is a problem that an inspection of the image has found.
	Problem *plan.Refusal `json:"problem"`
	// Serial and Address distinguish disks of the same size.
	Serial  string `json:"serial"`
	Address string `json:"address"`
}

// Disk identifies the disk by what the host knows of it.
type Disk struct {
	Serial  string `json:"serial"`
	Address string `json:"address"`
	// Path is the disk's path in the guest, if it was found.
	Path string `json:"path"`
}

// Unknown is the mount point of a file system of which only the image was inspected. Swap
// is lsblk's mount point for swap that is in use.
const (
	Unknown = "?"
	Swap    = "[SWAP]"
)

// Guest is what is known of a Linux guest.
type Guest struct {
	Devices []Device `json:"devices"`
	// Tools are the programs that it has, of those in the variable Tools; nil if only the
	// image was inspected.
	Tools map[string]bool `json:"tools"`
	// Tables are the partition tables, by the disk's path.
	Tables map[string]Table `json:"tables"`
	// Ext are the superblocks of the mounted ext file systems, by device.
	Ext map[string]Ext `json:"ext"`
	// Btrfs are the devices of btrfs file systems, by path.
	Btrfs map[string]Btrfs `json:"btrfs"`
	// LVs, VGs and PVs have what the guest's LVM reports, by "vg/lv", name and path.
	LVs map[string]LV     `json:"lvs"`
	VGs map[string]string `json:"vgs"` // vgs(8)'s attributes: "wz--n-"
	PVs map[string]string `json:"pvs"` // pvs(8)'s attributes: "a--"
}

// Table has the properties of a disk's partition table that matter for a growth.
type Table struct {
	// Kind is "" if it is not known.
	Kind table.Kind `json:"kind"`
	// Sector is the disk's logical sector size.
	Sector size.Bytes `json:"sector"`
	// Extended are the numbers of an MBR's extended partitions.
	Extended []int `json:"extended"`
	// Problem is why the table must not be edited; "" if no problem is known.
	Problem string `json:"problem"`
}

// Ext has the fields of an ext superblock that matter for a growth.
type Ext struct {
	Block    size.Bytes `json:"block"`
	Bits64   bool       `json:"bits64"`
	Bigalloc bool       `json:"bigalloc"`
}

// Btrfs is a device of a btrfs.
type Btrfs struct {
	// ID is the device's number in its file system, Devices the number of its devices.
	ID      int `json:"id"`
	Devices int `json:"devices"`
}

// LV has the properties of a logical volume that matter for a growth.
type LV struct {
	// Segments are the types of its segments, Attr is lv_attr of lvs(8).
	Segments []string `json:"segments"`
	Attr     string   `json:"attr"`
}

// Tools are the programs that commands may need.
var Tools = []string{"growpart", "sfdisk", "sgdisk", "partx", "pvresize", "vgs", "lvextend", "xfs_growfs", "resize2fs", "btrfs"}

// Number returns a partition's number from its kernel name: "vdb1", "nvme0n1p1"; "" for
// another name.
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

// children returns the devices directly on a device.
func (g Guest) children(parent string) []Device {
	var all []Device
	for _, d := range g.Devices {
		if d.Parent == parent {
			all = append(all, d)
		}
	}
	return all
}
