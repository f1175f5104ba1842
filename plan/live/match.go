package live

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Identity identifies a disk among the disks of a guest. The host's Identity comes from the
// domain's definition, the guest's from the guest. Unknown fields are "".
type Identity struct {
	Serial string
	// Address is where the disk is attached, in the form of PCIAddress, SCSIAddress,
	// SATAAddress or IDEAddress.
	Address string
}

// Match finds the guest's disk that is the host's: by its serial number, or else by its
// address. It excludes a disk with a different serial number, if both sides know one. It
// returns ErrNoMatch, or ErrAmbiguous if several disks match.
func Match(host Identity, guest []Identity) (int, error) {
	var serial, both, address []int
	for i, g := range guest {
		known := host.Serial != "" && g.Serial != ""
		same := known && sameSerial(host.Serial, g.Serial)
		here := sameAddress(host.Address, g.Address)
		switch {
		case same && here:
			both = append(both, i)
			serial = append(serial, i)
		case same:
			serial = append(serial, i)
		case here && !known:
			address = append(address, i)
		}
	}
	found := address
	if len(serial) > 0 {
		found = serial
	}
	if len(serial) > 1 && len(both) > 0 {
		found = both
	}
	switch len(found) {
	case 0:
		return 0, ErrNoMatch
	case 1:
		return found[0], nil
	}
	return 0, ErrAmbiguous
}

// The errors of Match.
var (
	ErrNoMatch   = errors.New("the guest agent lists no disk at its address")
	ErrAmbiguous = errors.New("the guest agent lists several disks that match it")
)

// serialBytes is the longest serial number of virtio-blk (virtio 1.2, 5.2.6), ATA and NVMe.
const serialBytes = 20

// sameSerial compares a serial number with the guest's, which may be truncated, and to
// which udev may have prefixed the vendor and the model.
func sameSerial(host, guest string) bool {
	guest = strings.TrimSpace(guest)
	return slices.ContainsFunc([]string{host, host[:min(serialBytes, len(host))]}, func(s string) bool {
		return guest == s || strings.HasSuffix(guest, "_"+s)
	})
}

// sameAddress compares addresses. It ignores the guest's unit of a disk that is itself a PCI
// device: for Windows, virtio-blk is a SCSI controller.
func sameAddress(host, guest string) bool {
	return host != "" && (guest == host || strings.HasPrefix(guest, host+" "))
}

// PCIAddress returns the address of a disk that is itself a PCI device: virtio-blk, NVMe.
// bus is the guest's number of the bus.
func PCIAddress(domain, bus, slot, function uint) string {
	return fmt.Sprintf("pci %04x:%02x:%02x.%x", domain, bus, slot, function)
}

// SCSIAddress returns the address of a disk on a SCSI controller, which has a PCI address.
func SCSIAddress(controller string, target, lun uint) string {
	return on(controller, "scsi %d:%d", target, lun)
}

// SATAAddress returns the address of a disk on a port of an AHCI controller.
func SATAAddress(controller string, port uint) string { return on(controller, "sata %d", port) }

// IDEAddress returns the address of a disk on an IDE controller.
func IDEAddress(controller string, bus, unit uint) string {
	return on(controller, "ide %d:%d", bus, unit)
}

// on returns the address of a disk on a controller, "" if the controller's address is not
// known: a unit alone would match a disk on another controller.
func on(controller, format string, numbers ...any) string {
	if controller == "" {
		return ""
	}
	return controller + " " + fmt.Sprintf(format, numbers...)
}

var (
	scsiDirectory = regexp.MustCompile(`^[0-9]+:[0-9]+:([0-9]+):([0-9]+)$`)
	pciDirectory  = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
)

// address returns the address of a disk from its link in /sys/block. It does not know those
// of disks on ATA or USB: their numbers there count the ports of all controllers.
func address(link string) string {
	at := ""
	for _, name := range strings.Split(link, "/") {
		m := scsiDirectory.FindStringSubmatch(name)
		switch {
		case strings.HasPrefix(name, "ata"), strings.HasPrefix(name, "usb"):
			return ""
		case pciDirectory.MatchString(name):
			at = "pci " + name
		case m != nil && at != "":
			at += " scsi " + m[1] + ":" + m[2]
		}
	}
	return at
}
