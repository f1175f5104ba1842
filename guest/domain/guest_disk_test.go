package domain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/live"
)

// agentDisk returns a disk as in the reply to guest-get-disks. at is the PCI address;
// unit is bus, target and unit; rest is more JSON.
func agentDisk(name, kind, at string, unit [3]int, rest string) string {
	var bus, slot, function int
	fmt.Sscanf(at, "%x:%x.%x", &bus, &slot, &function)
	pci := fmt.Sprintf(`{"domain":0,"bus":%d,"slot":%d,"function":%d}`, bus, slot, function)
	if at == "" {
		pci = `{"domain":-1,"bus":-1,"slot":-1,"function":-1}`
	}
	return fmt.Sprintf(`{"name":%q,"partition":false,"dependencies":[],"address":{"bus-type":%q,"bus":%d,"unit":%d,"target":%d,"pci-controller":%s%s}}`,
		name, kind, unit[0], unit[2], unit[1], pci, rest)
}

// TestMatchDisk matches the guest's disks with the domain's, from the replies of agents
// on Linux and on Windows.
func TestMatchDisk(t *testing.T) {
	none := [3]int{}
	i440fx, q35 := pciController(0, "pci-root", "", ""), rootPorts(3)
	serial := func(element, s string) string {
		return strings.Replace(element, "</disk>", "<serial>"+s+"</serial></disk>", 1)
	}
	for _, c := range []struct {
		what, devices string
		guest         []string
		want          string
	}{
		{"virtio-blk", i440fx + blk("vda", "00:07.0") + blk("vdb", "00:08.0"),
			[]string{agentDisk("/dev/vdb", "virtio", "00:07.0", none, ""), agentDisk("/dev/vda", "virtio", "00:08.0", none, "")},
			"vda=/dev/vdb vdb=/dev/vda"},
		{"virtio-blk on Windows", i440fx + blk("vda", "00:07.0") + blk("vdb", "00:08.0"),
			[]string{agentDisk(`\\.\PhysicalDrive0`, "scsi", "00:07.0", none, ""), agentDisk(`\\.\PhysicalDrive1`, "scsi", "00:08.0", none, "")},
			`vda=\\.\PhysicalDrive0 vdb=\\.\PhysicalDrive1`},
		{"q35", q35 + blk("vda", "02:00.0") + blk("vdb", "03:00.0"),
			[]string{agentDisk("/dev/vda", "virtio", "02:00.0", none, ""), agentDisk("/dev/vdb", "virtio", "03:00.0", none, "")},
			"vda=/dev/vda vdb=/dev/vdb"},
		{"q35, a PCI bridge on a port", q35 + pciController(4, "pcie-to-pci-bridge", "02:00.0", "") + blk("vda", "03:00.0") + blk("vdb", "04:00.0"),
			[]string{agentDisk("/dev/vda", "virtio", "03:00.0", none, ""), agentDisk("/dev/vdb", "virtio", "04:00.0", none, "")},
			"vda=/dev/vdb vdb=/dev/vda"},
		{"virtio-scsi", i440fx + controllerAt("scsi", 0, "00:05.0") + drive("sda", "scsi", 0, 0, 0, 0) + drive("sdb", "scsi", 0, 0, 0, 1),
			[]string{agentDisk("/dev/sda", "scsi", "00:05.0", [3]int{0, 0, 1}, ""), agentDisk("/dev/sdb", "scsi", "00:05.0", [3]int{-1, -1, 0}, "")},
			"sda=/dev/sdb sdb=/dev/sda"},
		{"virtio-scsi on Windows", i440fx + controllerAt("scsi", 0, "00:05.0") + drive("sda", "scsi", 0, 0, 0, 1),
			[]string{agentDisk(`\\.\PhysicalDrive1`, "sas", "00:05.0", [3]int{0, 0, 1}, "")}, `sda=\\.\PhysicalDrive1`},
		{"two SCSI controllers", i440fx + controllerAt("scsi", 0, "00:05.0") + controllerAt("scsi", 1, "00:06.0") + drive("sda", "scsi", 0, 0, 0, 0) + drive("sdb", "scsi", 1, 0, 0, 0),
			[]string{agentDisk("/dev/sda", "scsi", "00:06.0", none, ""), agentDisk("/dev/sdb", "scsi", "00:05.0", none, "")},
			"sda=/dev/sdb sdb=/dev/sda"},
		{"targets, which the agent on Linux leaves out", i440fx + controllerAt("scsi", 0, "00:05.0") + drive("sda", "scsi", 0, 0, 0, 0) + drive("sdb", "scsi", 0, 0, 1, 0),
			[]string{agentDisk("/dev/sda", "scsi", "00:05.0", none, ""), agentDisk("/dev/sdb", "scsi", "00:05.0", none, "")},
			"sda=ambiguous sdb=none"},
		{"SATA", q35 + controllerAt("sata", 0, "00:1f.2") + drive("sda", "sata", 0, 0, 0, 0) + drive("sdb", "sata", 0, 0, 0, 2),
			[]string{agentDisk("/dev/sda", "sata", "00:1f.2", [3]int{0, 0, 0}, ""), agentDisk("/dev/sdb", "sata", "00:1f.2", [3]int{0, 0, 2}, "")},
			"sda=/dev/sda sdb=/dev/sdb"},
		{"SATA on Windows", q35 + controllerAt("sata", 0, "00:1f.2") + drive("sda", "sata", 0, 0, 0, 0) + drive("sdb", "sata", 0, 0, 0, 2),
			[]string{agentDisk(`\\.\PhysicalDrive0`, "sata", "00:1f.2", none, ""), agentDisk(`\\.\PhysicalDrive1`, "sata", "00:1f.2", [3]int{2, 0, 0}, "")},
			`sda=\\.\PhysicalDrive0 sdb=\\.\PhysicalDrive1`},
		{"IDE", i440fx + controllerAt("ide", 0, "00:01.1") + drive("hda", "ide", 0, 0, 0, 0) + drive("hdd", "ide", 0, 1, 0, 1),
			[]string{agentDisk("/dev/sda", "ide", "00:01.1", none, ""), agentDisk("/dev/sdb", "ide", "00:01.1", [3]int{1, 0, 1}, "")},
			"hda=/dev/sda hdd=/dev/sdb"},
		{"by serial number, without addresses", serial(blk("vda", "00:07.0"), "DATA-1"),
			[]string{agentDisk("/dev/vda", "virtio", "", none, ""), agentDisk("/dev/vdb", "virtio", "", none, `,"serial":"DATA-1"`)}, "vda=/dev/vdb"},
		{"another serial number at the address", i440fx + serial(blk("vda", "00:07.0"), "DATA-1"),
			[]string{agentDisk("/dev/vda", "virtio", "00:07.0", none, `,"serial":"DATA-2"`)}, "vda=none"},
		{"an agent without addresses", i440fx + blk("vda", "00:07.0"), []string{agentDisk("/dev/vda", "virtio", "", none, "")}, "vda=none"},
		{"USB", i440fx + "<disk type='file' device='disk'><target dev='sda' bus='usb'/><address type='usb' bus='0' port='1'/></disk>",
			[]string{agentDisk("/dev/sda", "usb", "00:01.2", none, "")}, "sda=none"},
		{"what is no whole disk", i440fx + blk("vda", "00:07.0"),
			[]string{agentDisk("/dev/dm-0", "virtio", "00:07.0", none, ""), `{"name":"/dev/loop0","partition":false}`, `{"name":"/dev/vda1","partition":true}`}, "vda=none"},
	} {
		def, err := parse("<domain><devices>" + c.devices + "</devices></domain>")
		if err != nil {
			t.Fatal(err)
		}
		d, v := fake(t, nil)
		v.answers = map[string]string{"get-disks": `{"return":[` + strings.Join(c.guest, ",") + "]}"}
		disks, err := d.GuestDisks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, disk := range def.Disks {
			found, err := MatchDisk(disk, disks)
			switch {
			case errors.Is(err, live.ErrAmbiguous):
				found.Name = "ambiguous"
			case errors.Is(err, live.ErrNoMatch):
				found.Name = "none"
			}
			got = append(got, disk.Target+"="+found.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, strings.Join(got, " "), c.want)
		}
	}
}

func TestMountsOn(t *testing.T) {
	d, v := fake(t, nil)
	v.answers = map[string]string{"get-fsinfo": `{"return":[
	 {"mountpoint":"/","disk":[{"bus-type":"virtio","dev":"/dev/vda1","pci-controller":{"domain":0,"bus":0,"slot":7,"function":0}}]},
	 {"mountpoint":"/data","disk":[{"bus-type":"virtio","dev":"/dev/vdb","pci-controller":{"domain":0,"bus":0,"slot":8,"function":0}}]},
	 {"mountpoint":"/old","disk":[{"bus-type":"unknown","dev":"/dev/nvme0n1p2","pci-controller":{"domain":-1}}]},
	 {"mountpoint":"/serial","disk":[{"bus-type":"unknown","serial":"s","pci-controller":{"domain":-1}}]},
	 {"mountpoint":"/none"}]}`}
	at := func(name, serial string, slot uint) GuestDisk {
		return GuestDisk{Name: name, Identity: live.Identity{Serial: serial, Address: live.PCIAddress(0, 0, slot, 0)}}
	}
	for _, c := range []struct {
		disk GuestDisk
		want []string
	}{
		{at("/dev/vda", "", 7), []string{"/"}},
		{at("/dev/vdb", "", 8), []string{"/data"}},
		{at("/dev/nvme0n1", "", 9), []string{"/old"}},
		{at("/dev/vdc", "s", 10), []string{"/serial"}},
		{at("/dev/vd", "", 11), nil},
	} {
		if got, err := d.MountsOn(t.Context(), c.disk); !slices.Equal(got, c.want) || err != nil {
			t.Errorf("%s: %v %v, want %v", c.disk.Name, got, err, c.want)
		}
	}
	v.hooks = map[string]hook{"get-fsinfo": noAgent, "get-disks": noAgent}
	_, err := d.MountsOn(t.Context(), GuestDisk{})
	wants(t, err, "not responding")
	_, err = d.GuestDisks(t.Context())
	wants(t, err, "not responding")
}

// TestDiskFileSystems checks on which disks of the domain a guest's file systems lie. The
// names in the guest are not those of the domain.
func TestDiskFileSystems(t *testing.T) {
	none := [3]int{}
	pci := func(slot int) string {
		return fmt.Sprintf(`"pci-controller":{"domain":0,"bus":0,"slot":%d,"function":0}`, slot)
	}
	d, v := fake(t, nil)
	def, err := parse("<domain><devices>" + pciController(0, "pci-root", "", "") + controllerAt("scsi", 0, "00:05.0") +
		blk("vda", "00:07.0") + blk("vdb", "00:08.0") + drive("sda", "scsi", 0, 0, 0, 0) + drive("sdb", "scsi", 0, 0, 1, 0) + "</devices></domain>")
	if err != nil {
		t.Fatal(err)
	}
	v.answers = map[string]string{
		"get-disks": `{"return":[` + strings.Join([]string{agentDisk("/dev/vda", "virtio", "00:08.0", none, ""), agentDisk("/dev/vdb", "virtio", "00:07.0", none, ""),
			agentDisk("/dev/sda", "scsi", "00:05.0", none, ""), agentDisk("/dev/sdb", "scsi", "00:05.0", none, "")}, ",") + "]}",
		"get-fsinfo": `{"return":[
		 {"name":"vda1","mountpoint":"/","total-bytes":100,"used-bytes":90,"total-bytes-privileged":120,"disk":[{"bus-type":"virtio","dev":"/dev/vda1",` + pci(8) + `}]},
		 {"name":"dm-0","mountpoint":"/data","disk":[{"bus-type":"virtio","dev":"/dev/vdb1",` + pci(7) + `},{"bus-type":"virtio","dev":"/dev/vda2",` + pci(8) + `},{"bus-type":"virtio","dev":"/dev/vda3",` + pci(8) + `}]},
		 {"name":"sdb1","mountpoint":"/scsi","disk":[{"bus-type":"scsi","target":-1,"unit":0,"dev":"/dev/sdb1",` + pci(5) + `}]},
		 {"name":"vdc1","mountpoint":"/usb","disk":[{"bus-type":"virtio","dev":"/dev/vdc1",` + pci(9) + `}]},
		 {"name":"x","mountpoint":"/none","disk":[]}]}`,
	}
	all, err := d.DiskFileSystems(t.Context(), def)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fs := range all {
		got = append(got, fmt.Sprintf("%s %v %v", fs.MountPoint, fs.Disks, fs.NoDisks))
	}
	want := []string{"/ [vdb] <nil>", "/data [vda vdb] <nil>", "/scsi [] " + errNoDisk.Error(), "/usb [] " + errNoDisk.Error(), "/none [] " + errNoAddress.Error()}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if fs := all[0]; fs.Total != 100 || fs.Used != 90 || fs.Size != 120 {
		t.Errorf("%+v", fs)
	}
	v.hooks = map[string]hook{"get-disks": noAgent}
	if all, err := d.DiskFileSystems(t.Context(), def); err != nil || all[0].NoDisks == nil {
		t.Errorf("%+v %v", all, err)
	}
}
