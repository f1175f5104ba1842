package domain

import (
	"context"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan/live"
)

// GuestDisk is a whole disk, as the guest's agent describes it. Nothing in it can be trusted.
type GuestDisk struct {
	Name string // "/dev/vdb", `\\.\PhysicalDrive1`
	live.Identity
}

// MatchDisk finds a disk of the domain among those that the guest names. Its errors are
// live.ErrNoMatch and live.ErrAmbiguous.
func MatchDisk(d Disk, guest []GuestDisk) (GuestDisk, error) {
	known := make([]live.Identity, len(guest))
	for i, g := range guest {
		known[i] = g.Identity
	}
	i, err := live.Match(d.Identity(), known)
	if err != nil {
		return GuestDisk{}, err
	}
	return guest[i], nil
}

// diskAddress is a disk's address from the agent (qemu-ga: GuestDiskAddress). A number
// that the agent does not know is -1.
type diskAddress struct {
	PCI    struct{ Domain, Bus, Slot, Function int } `json:"pci-controller"`
	Type   string                                    `json:"bus-type"`
	Bus    int                                       `json:"bus"`
	Target int                                       `json:"target"`
	Unit   int                                       `json:"unit"`
	Serial string                                    `json:"serial"`
	Dev    string                                    `json:"dev"`
}

// identity returns the address as package live writes it. The port of AHCI is in unit on
// Linux and in bus on Windows. On Linux the target of virtio-scsi is missing. On Windows
// virtio-blk is "scsi" and virtio-scsi is "sas".
func (a diskAddress) identity() live.Identity {
	known := func(n int) uint { return uint(max(0, n)) }
	id := live.Identity{Serial: a.Serial}
	if a.PCI.Domain < 0 {
		return id
	}
	at := live.PCIAddress(known(a.PCI.Domain), known(a.PCI.Bus), known(a.PCI.Slot), known(a.PCI.Function))
	switch a.Type {
	case "usb":
	case "virtio", "nvme":
		id.Address = at
	case "sata":
		id.Address = live.SATAAddress(at, max(known(a.Bus), known(a.Unit)))
	case "ide":
		id.Address = live.IDEAddress(at, known(a.Bus), known(a.Unit))
	default:
		id.Address = live.SCSIAddress(at, known(a.Target), known(a.Unit))
	}
	return id
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
			g.Identity = x.Address.identity()
		}
		disks = append(disks, g)
	}
	return disks, nil
}

// IsWhole reports whether the name is that of a disk from the host: not of a disk that the
// guest makes from others or from memory, and not of a drive for media.
func (g GuestDisk) IsWhole() bool {
	for _, prefix := range []string{"/dev/loop", "/dev/dm-", "/dev/md", "/dev/ram", "/dev/zram", "/dev/sr", "/dev/fd", "/dev/nbd"} {
		if strings.HasPrefix(g.Name, prefix) {
			return false
		}
	}
	return g.Name != ""
}

// MountsOn returns the mount points of the file systems on a disk of the guest, according
// to the addresses that the agent reports for them (guest-get-fsinfo).
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

// on reports whether an address is that of the disk, or of a partition of it.
func (a diskAddress) on(g GuestDisk) bool {
	id := a.identity()
	if id.Address != "" && id.Address == g.Address || id.Serial != "" && id.Serial == g.Serial {
		return true
	}
	rest, ok := strings.CutPrefix(a.Dev, g.Name)
	return ok && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == ""
}
