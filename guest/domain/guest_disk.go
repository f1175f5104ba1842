package domain

import (
	"context"
	"slices"
	"strings"
)

// GuestDisk is a whole disk as the guest's agent names it. All of it is the
// guest's word.
type GuestDisk struct {
	Name   string // "/dev/vdb", `\\.\PhysicalDrive1`
	Serial string
	// PCI and Unit are as in Device; PCI is "" where the agent does not say.
	PCI  string
	Unit [3]uint
}

// diskAddress is a disk's as the agent has it (qemu-ga: GuestDiskAddress). What is
// not known is -1 there.
type diskAddress struct {
	PCI    pciAddress `json:"pci-controller"`
	Bus    int        `json:"bus"`
	Target int        `json:"target"`
	Unit   int        `json:"unit"`
	Serial string     `json:"serial"`
	Dev    string     `json:"dev"`
}

// place gives the address in a device's words.
func (a diskAddress) place() (pci string, unit [3]uint) {
	if a.PCI.Domain >= 0 {
		pci = a.PCI.String()
	}
	for i, n := range []int{a.Bus, a.Target, a.Unit} {
		unit[i] = uint(max(0, n))
	}
	return pci, unit
}

// GuestDisks lists the guest's disks (qemu-ga: guest-get-disks, since 5.2).
func (d *Domain) GuestDisks(ctx context.Context) ([]GuestDisk, error) {
	var all []struct {
		Name      string
		Partition bool
		Address   *diskAddress
	}
	if err := d.command(ctx, "guest-get-disks", nil, &all); err != nil {
		return nil, err
	}
	var disks []GuestDisk
	for _, x := range all {
		g := GuestDisk{Name: x.Name}
		if x.Partition || !g.IsWhole() {
			continue
		}
		if x.Address != nil {
			g.Serial = x.Address.Serial
			g.PCI, g.Unit = x.Address.place()
		}
		disks = append(disks, g)
	}
	return disks, nil
}

// IsWhole reports whether a disk is one that the host gave to the guest, by its name:
// not one that the guest makes of others or of memory, and no drive for media.
func (g GuestDisk) IsWhole() bool {
	for _, prefix := range []string{"/dev/loop", "/dev/dm-", "/dev/md", "/dev/ram", "/dev/zram", "/dev/sr", "/dev/fd", "/dev/nbd"} {
		if strings.HasPrefix(g.Name, prefix) {
			return false
		}
	}
	return g.Name != ""
}

// Is says whether a disk of the guest is a device of the domain, if that can be
// known: by serial, else by address.
func (g GuestDisk) Is(device Device) bool {
	if device.Serial != "" && g.Serial != "" {
		// virtio-blk has room for 20 bytes; udev puts the vendor in front of others.
		return g.Serial == device.Serial || strings.HasSuffix(g.Serial, "_"+device.Serial) ||
			len(device.Serial) > 20 && g.Serial == device.Serial[:20]
	}
	return g.PCI != "" && g.PCI == device.PCI && (device.Bus == "virtio" || g.Unit == device.Unit)
}

// MountsOn are the mount points of the file systems on a disk of the guest, by
// what its agent says of their addresses (guest-get-fsinfo).
func (d *Domain) MountsOn(ctx context.Context, g GuestDisk) ([]string, error) {
	var all []struct {
		MountPoint string
		Disk       []diskAddress
	}
	if err := d.command(ctx, "guest-get-fsinfo", nil, &all); err != nil {
		return nil, err
	}
	var mounts []string
	for _, fs := range all {
		if slices.ContainsFunc(fs.Disk, func(a diskAddress) bool { return a.on(g) }) {
			mounts = append(mounts, fs.MountPoint)
		}
	}
	return mounts, nil
}

// on says whether an address is of the disk, or of a partition of it.
func (a diskAddress) on(g GuestDisk) bool {
	pci, unit := a.place()
	if pci != "" && pci == g.PCI && unit == g.Unit {
		return true
	}
	if a.Serial != "" && a.Serial == g.Serial {
		return true
	}
	rest, ok := strings.CutPrefix(a.Dev, g.Name)
	return ok && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == ""
}
