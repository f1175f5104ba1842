package domain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const definition = `<domain type='kvm'>
  <name>dev7</name>
  <metadata><disk>not a device</disk></metadata>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/img/a &amp; b.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <serial>one</serial>
      <alias name='virtio-disk0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/iso/x.iso' index='1'>
        <seclabel model='dac' relabel='no'/>
      </source>
      <backingStore/>
      <target dev='sda' bus='scsi'/>
      <readonly/>
      <boot order='1'/>
      <address type='drive' controller='0' bus='0' target='0' unit='3'/>
    </disk>
    <controller type='scsi' index='0' model='virtio-scsi'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x09' function='0x0'/>
    </controller>
  </devices>
</domain>
`

func TestParseDevices(t *testing.T) {
	disks, controllers, err := parseDevices(definition)
	if err != nil || len(disks) != 2 || !cmp.Equal(controllers, []string{"scsi"}) {
		t.Fatalf("%v %v %+v", err, controllers, disks)
	}
	a, b := disks[0], disks[1]
	if a.Target != "vda" || a.Source != "/img/a & b.qcow2" || a.Serial != "one" || a.Alias != "virtio-disk0" || a.Place != "pci 0000:00:07.0" {
		t.Errorf("%+v", a)
	}
	if b.Device != "cdrom" || b.Place != "pci 0000:00:09.0 scsi 0:3" {
		t.Errorf("%+v", b)
	}
	if !strings.HasPrefix(a.Text, "<disk type") || !strings.HasSuffix(a.Text, "</disk>") || strings.Count(a.Text, "<disk") != 1 {
		t.Errorf("%s", a.Text)
	}
}

// TestWithMedium checks that only the medium is changed.
func TestWithMedium(t *testing.T) {
	disks, _, err := parseDevices(definition)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/iso/it's <new> & \"odd\".iso"} {
		text, err := WithMedium(disks[1].Text, path)
		if err != nil {
			t.Fatal(err)
		}
		now, _, err := parseDevices("<domain><devices>" + text + "</devices></domain>")
		if err != nil || len(now) != 1 || now[0].Source != path || now[0].Target != "sda" || !now[0].Fixed || !strings.Contains(text, "unit='3'") ||
			!strings.Contains(text, "<boot order='1'/>") || strings.Contains(text, "backingStore") || strings.Contains(text, "seclabel") {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func TestAlike(t *testing.T) {
	with := DefinitionXML(strings.Replace(definition, "  </devices>", "    <controller type='pci' index='5'/>\n  </devices>", 1))
	if !DefinitionXML(definition).Alike(with) || !with.Alike(definition) {
		t.Error("a controller more counts")
	}
	for _, change := range [][2]string{
		{"dev7", "dev8"}, {"not a device", "neither"}, {"/iso/x.iso", "/iso/y.iso"}, {"dev='vda'", "dev='vdb'"},
		{"</devices>", "<disk type='file' device='disk'><target dev='vdc'/></disk></devices>"},
	} {
		if with.Alike(DefinitionXML(strings.Replace(definition, change[0], change[1], 1))) {
			t.Errorf("%s does not count", change[1])
		}
	}
}

func TestNewDiskXML(t *testing.T) {
	n := DiskSpec{Path: "/img/it's & <odd>.qcow2", Format: "qcow2", Target: "vdb", Bus: "virtio", Device: "disk", Serial: "s", Cache: "none", Discard: "unmap"}
	disks, _, err := parseDevices("<domain><devices>" + n.XML() + "</devices></domain>")
	if err != nil || len(disks) != 1 || disks[0].Source != n.Path || disks[0].Format != "qcow2" || disks[0].Serial != "s" {
		t.Fatalf("%v\n%s", err, n.XML())
	}
	if !strings.Contains(n.XML(), "<driver name='qemu' type='qcow2' cache='none' discard='unmap'/>") {
		t.Error(n.XML())
	}
}
