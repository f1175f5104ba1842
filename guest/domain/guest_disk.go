package domain

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
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

// DiskFS is a mounted file system with the disks of the domain that it lies on. Nothing but
// the disks can be trusted.
type DiskFS struct {
	FS
	// Size includes what is reserved for root, which FS.Total does not; 0 from agents before
	// QEMU 9.1.
	Size size.Bytes `json:"total-bytes-privileged"`
	// Disks are the targets of the disks. A volume may lie on several.
	Disks []string `json:"-"`
	// NoDisks is why the disks are not known.
	NoDisks error `json:"-"`
}

// DiskFileSystems returns what the guest has mounted, with the disks of the definition that
// the guest runs with.
func (d *Domain) DiskFileSystems(ctx context.Context, def Definition) ([]DiskFS, error) {
	var all []struct {
		DiskFS
		Disk []diskAddress
	}
	if err := d.command(ctx, "guest-get-fsinfo", nil, &all); err != nil {
		return nil, err
	}
	guest, unlisted := d.GuestDisks(ctx)
	mounted := make([]DiskFS, len(all))
	for i, fs := range all {
		mounted[i] = fs.DiskFS
		if mounted[i].NoDisks = unlisted; unlisted == nil {
			mounted[i].Disks, mounted[i].NoDisks = targetsOf(fs.Disk, guest, def.Disks)
		}
	}
	return mounted, nil
}

// The reasons for which the disks of a file system are not known, besides live.ErrAmbiguous.
var (
	errNoAddress = errors.New("the guest agent does not say on which disk it lies")
	errNoDisk    = errors.New("it lies on a disk of the guest that matches none of the domain")
)

// targetsOf returns the targets of the domain's disks at the addresses.
func targetsOf(at []diskAddress, guest []GuestDisk, disks []Disk) ([]string, error) {
	if len(at) == 0 {
		return nil, errNoAddress
	}
	var targets []string
	for _, a := range at {
		target, err := targetOf(a, guest, disks)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	return targets, nil
}

func targetOf(a diskAddress, guest []GuestDisk, disks []Disk) (string, error) {
	var target string
	for _, g := range guest {
		if !a.on(g) {
			continue
		}
		for _, d := range disks {
			found, err := MatchDisk(d, guest)
			switch {
			case err != nil || found.Name != g.Name:
			case target != "" && target != d.Target:
				return "", live.ErrAmbiguous
			default:
				target = d.Target
			}
		}
	}
	if target == "" {
		return "", errNoDisk
	}
	return target, nil
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
