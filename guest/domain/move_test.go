package domain

import (
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

// pcXML is a definition as libvirt returns it, for the machine pc.
const pcXML = `<domain type='kvm'>
  <name>old</name>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <boot dev='hd'/>
    <boot dev='cdrom'/>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/images/old.qcow2'/>
      <target dev='hda' bus='ide'/>
      <serial>a&amp;b</serial>
      <alias name='ua-system'/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='hdc' bus='ide'/>
      <readonly/>
      <address type='drive' controller='0' bus='1' target='0' unit='0'/>
    </disk>
    <controller type='pci' index='0' model='pci-root'/>
    <controller type='ide' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/>
    </controller>
    <interface type='user'>
      <mac address='52:54:00:00:00:01'/>
    </interface>
  </devices>
  <!-- <target dev='hda' bus='ide'/> -->
</domain>
`

// q35XML is a definition for the machine q35.
const q35XML = `<domain type='kvm'>
  <name>new</name>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/images/new.raw'/>
      <target dev="sda" bus="sata"/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sdb' bus='sata'/>
      <address type='drive' controller='0' bus='0' target='0' unit='1'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='sata' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/>
    </controller>
  </devices>
</domain>
`

// replaced returns a text with pairs of old and new parts, each of which must be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("the text does not contain %q", pair[0])
		}
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	return text
}

const (
	ideAddress  = "\n      <address type='drive' controller='0' bus='0' target='0' unit='0'/>"
	hda         = "<target dev='hda' bus='ide'/>"
	sda         = `<target dev="sda" bus="sata"/>`
	moreDisk    = "<disk type='file' device='disk'><source file='/d'/><target dev='vda' bus='virtio'/></disk>\n    "
	lsi         = "<controller type='scsi' index='0' model='lsilogic'/>\n    "
	virtioSCSI  = "<controller type='scsi' index='1' model='virtio-scsi'><driver iothread='1'/></controller>\n    "
	diskOnSCSI  = "<disk type='file' device='disk'><target dev='sdc' bus='scsi'/><address type='drive' controller='1' bus='0' target='0' unit='0'/></disk>\n    "
	hostdevSCSI = "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source><address type='drive' controller='1' bus='0' target='0' unit='1'/></hostdev>\n    "
	firstDisk   = "<disk type='file' device='disk'>"
)

func TestMoveDisk(t *testing.T) {
	pcEdits := func(change ...string) string { return replaced(t, pcXML, change...) }
	q35Edits := func(change ...string) string { return replaced(t, q35XML, change...) }
	for _, c := range []struct {
		name, text, target, bus string
		// want are pairs of texts that change, and newTarget is the new name.
		newTarget string
		want      []string
		notes     int
	}{
		{"ide to virtio", pcXML, "hda", "virtio", "vda",
			[]string{hda, "<target dev='vda' bus='virtio'/>", ideAddress, ""}, 0},
		{"a disk on virtio already", pcEdits("<controller type='pci'", moreDisk+"<controller type='pci'", "    <boot dev='hd'/>\n", ""), "hda", "virtio", "vdb",
			[]string{hda, "<target dev='vdb' bus='virtio'/>", ideAddress, ""}, 0},
		{"it would not be the first disk any more", pcEdits("<controller type='pci'", moreDisk+"<controller type='pci'"), "hda", "virtio", "vdb",
			[]string{
				"\n    <boot dev='hd'/>\n    <boot dev='cdrom'/>", "",
				firstDisk, firstDisk + "\n      <boot order='1'/>", "<disk type='file' device='cdrom'>", "<disk type='file' device='cdrom'>\n      <boot order='2'/>",
				hda, "<target dev='vdb' bus='virtio'/>", ideAddress, "",
			}, 1},
		{"a data disk becomes the first", replaced(t, pcEdits("<controller type='pci'", moreDisk+"<controller type='pci'"), "<boot dev='cdrom'/>", "<boot dev='network'/>"), "vda", "sata", "sda",
			[]string{
				"<target dev='vda' bus='virtio'/>", "<target dev='sda' bus='sata'/><address type='drive' controller='0' bus='0' target='0' unit='0'/>",
				"</disk>\n    <controller type='pci'", "</disk>\n    <controller type='sata' index='0'/>\n    <controller type='pci'",
			}, 1},
		{"boot order of its own", pcEdits("    <boot dev='hd'/>\n    <boot dev='cdrom'/>\n", "", "<serial>", "<boot order='1'/>\n      <serial>"), "hda", "virtio", "vda",
			[]string{hda, "<target dev='vda' bus='virtio'/>", ideAddress, ""}, 0},
		{"no address", pcEdits(ideAddress, ""), "hda", "virtio", "vda",
			[]string{hda, "<target dev='vda' bus='virtio'/>"}, 0},
		{"no address, to scsi", pcEdits(ideAddress, ""), "hda", "scsi", "sda",
			[]string{
				hda, "<target dev='sda' bus='scsi'/>" + ideAddress,
				"</disk>\n    <controller type='pci'", "</disk>\n    <controller type='scsi' index='0' model='virtio-scsi'/>\n    <controller type='pci'",
			}, 1},
		{"no bus in the definition", pcEdits(hda, `<target dev = "hda"/>`), "hda", "virtio", "vda",
			[]string{`<target dev = "hda"/>`, `<target dev = "vda" bus="virtio"/>`, ideAddress, ""}, 0},
		{"q35: sata to virtio", q35XML, "sda", "virtio", "vda",
			[]string{sda, `<target dev="vda" bus="virtio"/>`, ideAddress, ""}, 0},
		{"q35: sata to scsi", q35XML, "sda", "scsi", "sda",
			[]string{
				sda, `<target dev="sda" bus="scsi"/>`,
				"</disk>\n    <controller type='pci'", "</disk>\n    <controller type='scsi' index='0' model='virtio-scsi'/>\n    <controller type='pci'",
			}, 1},
		{"q35: another kind of SCSI", q35Edits("<controller type='sata'", lsi+"<controller type='sata'"), "sda", "scsi", "sda",
			[]string{
				sda, `<target dev="sda" bus="scsi"/>`, ideAddress, strings.Replace(ideAddress, "controller='0'", "controller='1'", 1),
				"</disk>\n    <controller type='pci'", "</disk>\n    <controller type='scsi' index='1' model='virtio-scsi'/>\n    <controller type='pci'",
			}, 1},
		{"q35: a virtio-scsi with a disk and a host device", q35Edits("<controller type='sata'", lsi+virtioSCSI+diskOnSCSI+hostdevSCSI+"<controller type='sata'", "    <boot dev='hd'/>\n", ""), "sda", "scsi", "sda",
			[]string{sda, `<target dev="sda" bus="scsi"/>`, ideAddress, strings.NewReplacer("controller='0'", "controller='1'", "unit='0'", "unit='2'").Replace(ideAddress)}, 0},
		{"q35: scsi to sata, next to a disk without an address", replaced(t, q35Edits(ideAddress, ""), "<controller type='sata'", virtioSCSI+diskOnSCSI+"<controller type='sata'"), "sdc", "sata", "sdc",
			[]string{
				"<target dev='sdc' bus='scsi'/><address type='drive' controller='1' bus='0' target='0' unit='0'/>",
				"<target dev='sdc' bus='sata'/><address type='drive' controller='0' bus='0' target='0' unit='2'/>",
			}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, move, err := DefinitionXML(c.text).MoveDisk(c.target, c.bus)
			if err != nil {
				t.Fatal(err)
			}
			if move.Target != c.newTarget || len(move.Notes) != c.notes {
				t.Errorf("%+v", move)
			}
			want := replaced(t, c.text, c.want...)
			if string(got) != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestMoveDiskToFullController adds a second controller when all ports of the first are in use.
func TestMoveDiskToFullController(t *testing.T) {
	var disks strings.Builder
	for _, letter := range "cdef" {
		disks.WriteString("<disk type='file' device='disk'><target dev='sd" + string(letter) + "' bus='sata'/></disk>")
	}
	text := replaced(t, q35XML, sda, "<target dev='vda' bus='virtio'/>", ideAddress, "",
		"<controller type='pci'", disks.String()+"<disk type='file' device='disk'><target dev='sda' bus='sata'/></disk><controller type='pci'")
	got, move, err := DefinitionXML(text).MoveDisk("vda", "sata")
	if err != nil {
		t.Fatal(err)
	}
	if want := "controller='1' bus='0' target='0' unit='0'/>"; move.Target != "sdg" || !strings.Contains(string(got), want) || !strings.Contains(string(got), "<controller type='sata' index='1'/>") {
		t.Errorf("%+v\n%s", move, got)
	}
}

func TestMoveDiskRefused(t *testing.T) {
	driver := func(more string) []string {
		return []string{"type='qcow2' cache='none'", "type='qcow2' " + more, hda, "<target dev='vda' bus='virtio'/>"}
	}
	kernel := func(cmdline string) []string {
		return []string{"<boot dev='hd'/>", "<kernel>/k</kernel><cmdline>" + cmdline + "</cmdline>"}
	}
	for _, c := range []struct {
		name    string
		changes []string
		bus     string
		reason  plan.Reason
		says    string
	}{
		{"ide is no bus to move to", nil, "ide", plan.NoBus, "no such bus"},
		{"no PCI", []string{"pc-i440fx-7.2", "isapc", "<controller type='pci' index='0' model='pci-root'/>", ""}, "virtio", plan.NoBus, "isapc"},
		{"s390x has no SATA", []string{"arch='x86_64' machine='pc-i440fx-7.2'", "arch='s390x' machine='s390-ccw-virtio'", "<controller type='pci' index='0' model='pci-root'/>", ""}, "sata", plan.NoBus, "s390-ccw-virtio"},
		{"a pass-through", []string{"device='disk'", "device='lun'"}, "virtio", plan.DiskUnsupported, "lun"},
		{"a drive", []string{"device='disk'", "device='cdrom'"}, "scsi", plan.DiskUnsupported, "cdrom"},
		{"iothread", driver("iothread='1'"), "scsi", plan.BusSetting, "iothread"},
		{"several settings of virtio", driver("queues='4' queue_size='256' ioeventfd='on' event_idx='off' iommu='on' ats='on' packed='on' page_per_vq='on'"), "sata",
			plan.BusSetting, "queues, queue_size, ioeventfd, event_idx, iommu, ats, packed, page_per_vq"},
		{"model", []string{"device='disk'", "device='disk' model='virtio-transitional'", hda, "<target dev='vda' bus='virtio'/>"}, "scsi", plan.BusSetting, "model virtio-transitional"},
		{"wwn", []string{"<alias", "<wwn>5000c50015ea71aa</wwn><alias"}, "virtio", plan.BusSetting, "wwn"},
		{"rotation rate", []string{hda, "<target dev='hda' bus='ide' rotation_rate='1'/>"}, "virtio", plan.BusSetting, "rotation_rate"},
		{"serial", []string{"a&amp;b", "a&amp;b-and-nineteen-more"}, "sata", plan.BusSetting, "serial"},
		{"sectors", []string{"<alias", "<blockio logical_block_size='4096' physical_block_size='4096'/><alias"}, "sata", plan.BusSetting, "4096"},
		{"name in the kernel's command line", kernel("root=/dev/sda2 ro"), "virtio", plan.BusNames, "root=/dev/sda2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := replaced(t, pcXML, c.changes...)
			target := "hda"
			if strings.Contains(text, "<target dev='vda'") {
				target = "vda"
			}
			_, _, err := DefinitionXML(text).MoveDisk(target, c.bus)
			r, ok := plan.IsRefusal(err)
			if !ok || r.Reason != c.reason || !strings.Contains(r.Text, c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestMoveDiskAllowed has settings that the new bus has, too.
func TestMoveDiskAllowed(t *testing.T) {
	for name, c := range map[string]struct {
		changes []string
		bus     string
	}{
		"UUID in the kernel's command line":   {[]string{"<boot dev='hd'/>", "<kernel>/k</kernel><cmdline>root=UUID=1</cmdline>"}, "virtio"},
		"a name that stays the same":          {[]string{"<boot dev='hd'/>", "<kernel>/k</kernel><cmdline>root=/dev/sda1</cmdline>"}, "scsi"},
		"wwn on scsi":                         {[]string{"<alias", "<wwn>5000c50015ea71aa</wwn><alias"}, "scsi"},
		"large sectors on virtio":             {[]string{"<alias", "<blockio logical_block_size='4096'/><alias"}, "virtio"},
		"virtio and SCSI of s390x":            {[]string{"arch='x86_64' machine='pc-i440fx-7.2'", "arch='s390x' machine='s390-ccw-virtio'", "<controller type='pci' index='0' model='pci-root'/>", ""}, "scsi"},
		"a serial number that all buses have": {[]string{"a&amp;b", "12345678901234567890"}, "virtio"},
	} {
		if _, _, err := DefinitionXML(replaced(t, pcXML, c.changes...)).MoveDisk("hda", c.bus); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := DefinitionXML(pcXML).MoveDisk("hdx", "virtio"); err == nil {
		t.Error("a disk that is not there was moved")
	}
}

// TestWithBootOf takes a boot order back that a move has written to the devices.
func TestWithBootOf(t *testing.T) {
	original := replaced(t, pcXML, "<controller type='pci'", moreDisk+"<controller type='pci'", "<boot dev='cdrom'/>", "<boot dev='network'/>")
	moved, move, err := DefinitionXML(original).MoveDisk("hda", "virtio")
	if err != nil || strings.Contains(string(moved), "<boot dev") || !strings.Contains(string(moved), "<interface type='user'>\n      <boot order='2'/>") {
		t.Fatalf("%v\n%s", err, moved)
	}
	back, err := moved.ReplaceDisk(move.Target, DefinitionXML(original), "hda")
	if err == nil {
		back, err = back.WithBootOf(DefinitionXML(original))
	}
	if err != nil || string(back) != original {
		t.Errorf("%v\n%s\nwant\n%s", err, back, original)
	}
	if same, err := DefinitionXML(original).WithBootOf(DefinitionXML(original)); err != nil || string(same) != original {
		t.Errorf("%v\n%s", err, same)
	}
}

// TestCheckBus checks that the buses of the domain's QEMU are known; the one of the fake has
// virtio and SATA.
func TestCheckBus(t *testing.T) {
	d, _ := fake(t, nil)
	for bus, want := range map[string]bool{"virtio": true, "sata": true, "scsi": false} {
		err := d.CheckBus(t.Context(), pcXML, bus)
		if r, ok := plan.IsRefusal(err); ok == want || ok && r.Reason != plan.NoBus {
			t.Errorf("%s: %v", bus, err)
		}
	}
	if err := testDriver(t).CheckBus(t.Context(), pcXML, "scsi"); err != nil {
		t.Errorf("a libvirt that does not tell: %v", err)
	}
}
