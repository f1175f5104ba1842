package appliance

import (
	"regexp"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// Devices have names for people: a partition is named after its drive, for example
// "vda2", a volume is "vg/root", and an open LUKS container "luks-vda2". libguestfs calls
// the drives sda, sdb and so on.

// diskName returns libguestfs's name for the disk with an index: sda, sdb, …, sdz, sdaa.
func diskName(i int) string {
	letters := ""
	for i++; i > 0; i = (i - 1) / 26 {
		letters = string(rune('a'+(i-1)%26)) + letters
	}
	return "sd" + letters
}

// driveName returns the drive's name for people.
func (a *Appliance) driveName(i int) string {
	if name := a.drives[i].Name; name != "" {
		return name
	}
	return diskName(i)
}

// path returns the device's path in the appliance.
func (a *Appliance) path(name string) string {
	if strings.HasPrefix(name, cryptPrefix) {
		return "/dev/mapper/" + name
	}
	for i := range a.drives {
		if number, ok := plan.PartitionNumber(name, a.driveName(i)); ok {
			return "/dev/" + diskName(i) + number
		}
	}
	return "/dev/" + name
}

// ofDisk matches libguestfs's name for a disk or a partition.
var ofDisk = regexp.MustCompile(`^(sd[a-z]+)(\d*)$`)

// nameOf turns a device's path in the appliance into the device's name.
func (a *Appliance) nameOf(devicePath string) string {
	if name, mapped := strings.CutPrefix(devicePath, "/dev/mapper/"); mapped {
		return name
	}
	name := strings.TrimPrefix(devicePath, "/dev/")
	if m := ofDisk.FindStringSubmatch(name); m != nil {
		for i := range a.drives {
			if diskName(i) == m[1] {
				return a.partition(i, m[2])
			}
		}
	}
	return name
}

// partition names a partition of a drive, or the drive itself for the number "".
func (a *Appliance) partition(i int, number string) string {
	if number == "" {
		return a.driveName(i)
	}
	return plan.PartitionName(a.driveName(i), number)
}

// deviceOf returns the device's name for a name of inspection, which writes a btrfs
// subvolume as "btrfsvol:/dev/sda2/root".
func (a *Appliance) deviceOf(mountable string) string {
	if rest, ok := strings.CutPrefix(mountable, subvolume+"/dev/"); ok {
		device, _, _ := strings.Cut(rest, "/")
		return a.nameOf(device)
	}
	return a.nameOf(mountable)
}

// deviceHere returns the device of a mountable, by the name that path accepts. If the
// kernel finds the appliance's own disk first, it calls the guest's disk sdb: libguestfs
// 1.48 translates the names of devices, but not those in the name of a btrfs subvolume.
// The device is only known if there is a single disk.
func (a *Appliance) deviceHere(mountable string) string {
	device, _, _ := strings.Cut(strings.TrimPrefix(mountable, subvolume+"/dev/"), "/")
	if m := ofDisk.FindStringSubmatch(device); m != nil && len(a.drives) == 1 && strings.HasPrefix(mountable, subvolume) {
		return a.partition(0, m[2])
	}
	return a.deviceOf(mountable)
}

const cryptPrefix = "luks-"

// cryptName returns the name of the mapping for the container on a device.
func cryptName(device string) string {
	return cryptPrefix + strings.ReplaceAll(device, "/", "-")
}
