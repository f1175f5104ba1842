package domain

import (
	"strings"
	"testing"
)

// TestSources describes the sources of disks that are not files.
func TestSources(t *testing.T) {
	for _, c := range []struct{ source, kind, path, remote string }{
		{"<disk type='file'><source file='/a'/></disk>", "file", "/a", ""},
		{"<disk type='block'><source dev='/dev/x'/></disk>", "block", "/dev/x", ""},
		{"<disk type='dir'><source dir='/d'/></disk>", "dir", "/d", ""},
		{"<disk type='network'><source protocol='rbd' name='pool/a'><host name='mon1' port='6789'/><host name='mon2'/></source></disk>", "network", "", "rbd://mon1:6789,mon2/pool/a"},
		{"<disk type='network'><source protocol='nbd'><host transport='unix' socket='/s'/></source></disk>", "network", "", "nbd:///s/"},
		{"<disk type='volume'><source pool='p' volume='v'/></disk>", "volume", "", "p/v"},
		{"<disk type='nvme'><source type='pci' namespace='1'/></disk>", "nvme", "", ""},
		{"<disk type='vhostuser'><source type='unix' path='/s'/></disk>", "vhostuser", "", ""},
		{"<disk type='vhostvdpa'><source dev='/dev/vhost-vdpa-0'/></disk>", "vhostvdpa", "", ""},
		{"<disk type='file' device='cdrom'></disk>", "file", "", ""},
	} {
		def, err := parse("<domain><devices>" + c.source + "</devices></domain>")
		if err != nil || len(def.Disks) != 1 {
			t.Fatal(c.source, err)
		}
		if d := def.Disks[0]; d.Kind != c.kind || d.Source != c.path || d.Remote != c.remote {
			t.Errorf("%s: %+v", c.source, d)
		}
	}
	for _, text := range []string{"<domain", "<domain><devices><disk type='file'></devices></domain>"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if def, err := parse("<domain><on_poweroff>destroy</on_poweroff></domain>"); err != nil || def.AfterPowerOff != "destroy" {
		t.Errorf("%+v %v", def, err)
	}
}

func TestReadDisk(t *testing.T) {
	def, err := parse(`<domain><devices>
	<disk type='file' device='disk' snapshot='no'><driver type='qcow2' cache='none'/><source file='/a'/><backingStore type='file'><source file='/b'/><backingStore/></backingStore>
	 <blockio logical_block_size='4096'/><target dev='vda' bus='virtio'/><shareable/><transient/><serial>s</serial></disk>
	<disk type='file' device='cdrom'><source file='/iso'/><target dev='sda' bus='sata'/><readonly/></disk>
	<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>`)
	if err != nil || !def.Channel {
		t.Fatal(err, def)
	}
	a, b := def.Disks[0], def.Disks[1]
	if a.Format != "qcow2" || a.Cache != "none" || a.Sector != 4096 || !a.Shared || !a.Transient || a.Serial != "s" || a.Snapshot != "no" ||
		strings.Join(a.Lower, " ") != "/b" || !a.Writable() || b.Writable() {
		t.Errorf("%+v", def.Disks)
	}
	if got := strings.Join(a.Differs(b), "; "); got != "image /a, then /iso; format qcow2, then none; device disk, then cdrom; bus virtio, then sata; "+
		"serial s, then none; cache none, then none; readonly no, then yes; shareable yes, then no" {
		t.Error(got)
	}
	if len(a.Differs(a)) != 0 || def.SourceOf("sda") != "/iso" || def.SourceOf("vdz") != "" {
		t.Error("a disk differs from itself, or another one is found")
	}
}

// TestUsersReconnect checks that a lost connection during the query hides no domain and
// no pool.
func TestUsersReconnect(t *testing.T) {
	for _, call := range []string{"uuid", "name", "xml", "pool"} {
		d, v := fake(t, map[string]hook{call: dies(1)})
		v.live = strings.Replace(definition, "type='file' device='disk'>", "type='volume' device='disk'>", 1)
		v.live = strings.Replace(v.live, "<source file='/img/a &amp; b.qcow2'/>", "<source pool='p' volume='v'/>", 1)
		users, err := d.conn.Users(t.Context(), "")
		if err != nil || len(users) != 4 {
			t.Errorf("%s: %+v %v", call, users, err)
		}
	}
	d, v := fake(t, map[string]hook{"pool": dies(1)})
	v.live = strings.Replace(definition, "<source file='/img/a &amp; b.qcow2'/>", "<source pool='p' volume='v'/>", 1)
	v.live = strings.Replace(v.live, "type='file' device='disk'>", "type='volume' device='disk'>", 1)
	if def, err := d.Live(t.Context()); err != nil || v.called("pool") != "pool pool" || def.Disks[0].Kind != "volume" {
		t.Errorf("%+v %v %s", def, err, v.called("pool"))
	}
}

func TestUsersFails(t *testing.T) {
	d, _ := fake(t, map[string]hook{"xml": noAgent})
	_, err := d.conn.Users(t.Context(), "")
	wants(t, err, "not responding")
	d, _ = fake(t, map[string]hook{"xml": func(*vm, int) error { return errNotThere }})
	users, err := d.conn.Users(t.Context(), "")
	if err != nil || len(users) != 0 {
		t.Errorf("%+v %v", users, err)
	}
}

func TestIsForWindows(t *testing.T) {
	os := func(id string) string {
		return "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'><libosinfo:os id='" + id + "'/></libosinfo:libosinfo></metadata>"
	}
	for text, want := range map[string]bool{
		os("http://microsoft.com/win/10"):                                                  true,
		os("http://debian.org/debian/12"):                                                  false,
		"<features><acpi/><hyperv mode='custom'><relaxed state='on'/></hyperv></features>": true,
		"<features><acpi/></features>":                                                     false,
		"<!-- <hyperv> http://microsoft.com/win -->":                                       false,
		"": false,
	} {
		def, err := parse("<domain type='kvm'>" + text + "</domain>")
		if err != nil || def.Windows != want {
			t.Errorf("%s: %v %v", text, def.Windows, err)
		}
	}
}
