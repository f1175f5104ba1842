package domain

import (
	"fmt"
	"strings"
	"testing"
)

// pciController returns a PCI controller as libvirt writes it.
func pciController(index int, model, at, target string) string {
	address := ""
	if at != "" {
		var bus, slot, function int
		fmt.Sscanf(at, "%x:%x.%x", &bus, &slot, &function)
		address = fmt.Sprintf("<address type='pci' domain='0x0000' bus='0x%02x' slot='0x%02x' function='0x%x'/>", bus, slot, function)
	}
	return fmt.Sprintf("<controller type='pci' index='%d' model='%s'>%s%s</controller>", index, model, target, address)
}

// blk returns a virtio-blk disk at a PCI address, drive one on a controller.
func blk(dev, at string) string {
	var bus, slot, function int
	fmt.Sscanf(at, "%x:%x.%x", &bus, &slot, &function)
	return fmt.Sprintf("<disk type='file' device='disk'><target dev='%s' bus='virtio'/><address type='pci' domain='0x0000' bus='0x%02x' slot='0x%02x' function='0x%x'/></disk>", dev, bus, slot, function)
}

func drive(dev, bus string, controller, onBus, target, unit int) string {
	return fmt.Sprintf("<disk type='file' device='disk'><target dev='%s' bus='%s'/><address type='drive' controller='%d' bus='%d' target='%d' unit='%d'/></disk>", dev, bus, controller, onBus, target, unit)
}

// controllerAt returns a SCSI, SATA or IDE controller.
func controllerAt(kind string, index int, at string) string {
	return strings.Replace(pciController(index, "", at, ""), "type='pci' index", "type='"+kind+"' index", 1)
}

// rootPorts are n root ports as libvirt adds them to a q35 machine, eight to a slot.
func rootPorts(n int) string {
	text := pciController(0, "pcie-root", "", "")
	for i := range n {
		text += pciController(i+1, "pcie-root-port", fmt.Sprintf("00:%02x.%x", 2+i/8, i%8), "<model name='pcie-root-port'/>")
	}
	return text
}

// TestAddresses checks at which addresses guests on QEMU's machine types see the disks
// that libvirt has defined.
func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		what, devices string
		want          string // by target
	}{
		{"i440fx", pciController(0, "pci-root", "", "") + blk("vda", "00:07.0") + blk("vdb", "00:08.0"),
			"vda=pci 0000:00:07.0 vdb=pci 0000:00:08.0"},
		{"i440fx with a bridge", pciController(0, "pci-root", "", "") + pciController(1, "pci-bridge", "00:09.0", "") + blk("vda", "01:03.0"),
			"vda=pci 0000:01:03.0"},
		{"q35", rootPorts(10) + blk("vda", "04:00.0") + blk("vdb", "0a:00.0"),
			"vda=pci 0000:04:00.0 vdb=pci 0000:0a:00.0"},
		{"q35, a port added in a lower slot", rootPorts(3) + pciController(4, "pcie-root-port", "00:01.0", "") + blk("vda", "01:00.0") + blk("vdb", "04:00.0"),
			"vda=pci 0000:02:00.0 vdb=pci 0000:01:00.0"},
		{"q35, a PCI bridge on a port", rootPorts(3) + pciController(4, "pcie-to-pci-bridge", "02:00.0", "") + blk("vda", "03:00.0") + blk("vdb", "04:01.0"),
			"vda=pci 0000:04:00.0 vdb=pci 0000:03:01.0"},
		{"q35 as libvirt 2 made it", pciController(0, "pcie-root", "", "") + pciController(1, "dmi-to-pci-bridge", "00:1e.0", "") + pciController(2, "pci-bridge", "01:01.0", "") + blk("vda", "02:03.0"),
			"vda=pci 0000:02:03.0"},
		{"an expander for another NUMA node", rootPorts(1) + pciController(2, "pcie-expander-bus", "00:03.0", "<target busNr='254'/>") +
			pciController(3, "pcie-root-port", "02:00.0", "") + pciController(4, "pcie-root-port", "00:04.0", "") + blk("vda", "03:00.0") + blk("vdb", "04:00.0"),
			"vda=pci 0000:ff:00.0 vdb=pci 0000:02:00.0"},
		{"a bridge on itself", pciController(0, "pci-root", "", "") + pciController(1, "pci-bridge", "01:01.0", "") + blk("vda", "01:03.0"),
			"vda=pci 0000:01:03.0"},
		{"virtio-scsi, two controllers", pciController(0, "pci-root", "", "") + controllerAt("scsi", 0, "00:05.0") + controllerAt("scsi", 1, "00:06.0") +
			drive("sda", "scsi", 0, 0, 0, 0) + drive("sdb", "scsi", 0, 0, 0, 3) + drive("sdc", "scsi", 1, 0, 2, 0),
			"sda=pci 0000:00:05.0 scsi 0:0 sdb=pci 0000:00:05.0 scsi 0:3 sdc=pci 0000:00:06.0 scsi 2:0"},
		{"virtio-scsi behind a port", rootPorts(2) + controllerAt("scsi", 0, "02:00.0") + drive("sda", "scsi", 0, 0, 0, 1),
			"sda=pci 0000:02:00.0 scsi 0:1"},
		{"SATA", rootPorts(1) + controllerAt("sata", 0, "00:1f.2") + drive("sda", "sata", 0, 0, 0, 0) + drive("sdb", "sata", 0, 0, 0, 5),
			"sda=pci 0000:00:1f.2 sata 0 sdb=pci 0000:00:1f.2 sata 5"},
		{"IDE", pciController(0, "pci-root", "", "") + controllerAt("ide", 0, "00:01.1") + drive("hda", "ide", 0, 0, 0, 0) + drive("hdd", "ide", 0, 1, 0, 1),
			"hda=pci 0000:00:01.1 ide 0:0 hdd=pci 0000:00:01.1 ide 1:1"},
		{"no controller", drive("sda", "scsi", 0, 0, 0, 0), "sda="},
		{"not started yet", "<disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk>", "vda="},
		{"USB", "<disk type='file' device='disk'><target dev='sda' bus='usb'/><address type='usb' bus='0' port='1'/></disk>", "sda="},
		{"s390", "<disk type='file' device='disk'><target dev='vda' bus='virtio'/><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0000'/></disk>", "vda="},
		{"a floppy", drive("fda", "fdc", 0, 0, 0, 0), "fda="},
	} {
		text := "<domain type='kvm'><devices>" + c.devices + "</devices></domain>"
		def, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range def.Disks {
			got = append(got, d.Target+"="+d.Identity().Address)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, strings.Join(got, " "), c.want)
		}
		devices, _, err := parseDevices(text)
		if err != nil || len(devices) != len(def.Disks) {
			t.Fatal(devices, err)
		}
		for i, d := range devices {
			if d.Place != def.Disks[i].Place {
				t.Errorf("%s: %s is at %q and at %q", c.what, d.Target, d.Place, def.Disks[i].Place)
			}
		}
	}
}
