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

	"github.com/virt-grow/virt-grow/plan/size"
)

// Device is one block device as a Linux guest has it.
type Device struct {
	// Path is what the guest calls it: "/dev/vdb1", "/dev/mapper/vg-data".
	Path string
	// Parent is the device it lies on; "" for a disk. A volume on two devices is
	// there twice.
	Parent string
	// Kind is lsblk's type: "disk", "part", "crypt", "lvm", "raid1", …
	Kind string
	// Start is a partition's first byte on its disk.
	Start, Size size.Bytes
	// FS is blkid's word for what is on it: "xfs", "LVM2_member", "".
	FS   string
	UUID string
	// Mounted is where; "" for nowhere, and Unknown where nobody can tell.
	Mounted string
	// Serial and Address tell disks of one size apart.
	Serial, Address string
}

// Disk is what is known on the host of the disk that is meant.
type Disk struct {
	Serial, Address string
	// Path is what the guest was found to call it.
	Path string
}

// Unknown is where a file system is mounted of which only the image was seen.
const Unknown = "?"

// Guest is what was found out about a Linux guest.
type Guest struct {
	Devices []Device
	// Tools are the programs it has, of those in Tools.
	Tools map[string]bool
}

// Tools are the programs that may be asked for.
var Tools = []string{"growpart", "sfdisk", "partx", "pvresize", "lvextend", "xfs_growfs", "resize2fs", "btrfs"}

// Number is a partition's, read off its name as the kernel makes them: "vdb1",
// "nvme0n1p1"; "" for no such name.
func (d Device) Number() string {
	rest, ok := strings.CutPrefix(path.Base(d.Path), path.Base(d.Parent))
	rest = strings.TrimPrefix(rest, "p")
	if !ok || rest == "" || strings.Trim(rest, "0123456789") != "" {
		return ""
	}
	return rest
}

// name is the device without its folder.
func (d Device) name() string { return path.Base(d.Path) }

// on are the devices right above one.
func (g Guest) on(parent string) []Device {
	var all []Device
	for _, d := range g.Devices {
		if d.Parent == parent {
			all = append(all, d)
		}
	}
	return all
}
