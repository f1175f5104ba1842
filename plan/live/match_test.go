package live

import (
	"errors"
	"testing"
)

func TestMatch(t *testing.T) {
	const here, there = "pci 0000:00:07.0", "pci 0000:00:08.0"
	for _, c := range []struct {
		what  string
		host  Identity
		guest []Identity
		want  int // -1: no match, -2: ambiguous
	}{
		{"serial number", Identity{"one", ""}, []Identity{{"two", ""}, {"one", ""}}, 1},
		{"serial number counts more than the address", Identity{"one", here}, []Identity{{"two", here}, {"one", there}}, 1},
		{"cut off", Identity{"0123456789-0123456789-x", ""}, []Identity{{"0123456789-012345678", ""}}, 0},
		{"cut off, and shorter than that", Identity{"0123456789-0123456789-x", ""}, []Identity{{"0123456789-01234567", ""}}, -1},
		{"with vendor and model", Identity{"one", ""}, []Identity{{"0QEMU_QEMU_HARDDISK_one", ""}}, 0},
		{"with vendor and model, cut off", Identity{"0123456789-0123456789-x", ""}, []Identity{{"0QEMU_QEMU_HARDDISK_0123456789-012345678", ""}}, 0},
		{"the end of another", Identity{"one", ""}, []Identity{{"someone", ""}}, -1},
		{"with spaces", Identity{"one", ""}, []Identity{{"  one ", ""}}, 0},
		{"address", Identity{"", here}, []Identity{{"", there}, {"x", here}}, 1},
		{"the guest does not tell the serial number", Identity{"one", here}, []Identity{{"", there}, {"", here}}, 1},
		{"another serial number at the address", Identity{"one", here}, []Identity{{"two", here}}, -1},
		{"a serial number twice", Identity{"one", here}, []Identity{{"one", there}, {"one", "x"}}, -2},
		{"a serial number twice, once at the address", Identity{"one", here}, []Identity{{"one", there}, {"one", here}}, 1},
		{"a serial number twice, both at the address", Identity{"one", here}, []Identity{{"one", here}, {"one", here}}, -2},
		{"a unit on the disk itself", Identity{"", here}, []Identity{{"", there + " scsi 0:0"}, {"", here + " scsi 0:0"}}, 1},
		{"another unit", Identity{"", here + " scsi 0:1"}, []Identity{{"", here + " scsi 0:0"}, {"", here}, {"", here + " scsi 0:11"}}, -1},
		{"an address twice", Identity{"", here}, []Identity{{"", here}, {"", here}}, -2},
		{"nothing is known of the host's", Identity{}, []Identity{{"", ""}, {"one", here}}, -1},
		{"nothing is known of the guest's", Identity{"one", here}, []Identity{{"", ""}}, -1},
		{"no disk", Identity{"one", here}, nil, -1},
	} {
		got, err := Match(c.host, c.guest)
		switch {
		case errors.Is(err, ErrNoMatch):
			got = -1
		case errors.Is(err, ErrAmbiguous):
			got = -2
		}
		if got != c.want {
			t.Errorf("%s: %d %v, want %d", c.what, got, err, c.want)
		}
	}
}

func TestUnitWithoutController(t *testing.T) {
	for _, got := range []string{SCSIAddress("", 0, 1), SATAAddress("", 1), IDEAddress("", 0, 1)} {
		if got != "" {
			t.Errorf("%q", got)
		}
	}
}

// TestAddress parses links in /sys/block of Linux 5.10 and 6.1.
func TestAddress(t *testing.T) {
	for link, want := range map[string]string{
		"../devices/pci0000:00/0000:00:05.0/virtio2/block/vda":                                    PCIAddress(0, 0, 5, 0),
		"../devices/pci0000:00/0000:00:02.1/0000:02:00.0/virtio1/block/vdb":                       PCIAddress(0, 2, 0, 0),
		"../devices/pci0000:00/0000:00:01.4/0000:05:00.0/0000:06:01.0/virtio4/block/vdc":          PCIAddress(0, 6, 1, 0),
		"../devices/pci0000:00/0000:00:08.0/virtio5/host2/target2:0:1/2:0:1:3/block/sda":          SCSIAddress(PCIAddress(0, 0, 8, 0), 1, 3),
		"../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda":             "",
		"../devices/pci0000:00/0000:00:01.1/ata2/host1/target1:0:1/1:0:1:0/block/sdb":             "",
		"../devices/pci0000:00/0000:00:1d.7/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sdc": "",
		"../devices/pci0000:00/0000:00:03.0/0000:01:00.0/nvme/nvme0/nvme0n1":                      PCIAddress(0, 1, 0, 0),
		"../devices/platform/a003e00.virtio_mmio/virtio0/block/vda":                               "",
		"../devices/css0/0.0.0001/0.0.0000/virtio0/block/vda":                                     "",
		"../devices/virtual/block/dm-0":                                                           "",
		"../devices/pseudo_0/adapter0/host3/target3:0:0/3:0:0:0/block/sdd":                        "",
	} {
		if got := address(link); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}
