package domain

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"strings"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/virt-grow/virt-grow/plan/live"
)

// Disk is one disk of a definition.
type Disk struct {
	Target string // "vda"
	Bus    string
	Device string // "disk", "cdrom", "floppy", "lun"
	// Kind is "file", "block", "network", …. A volume of a pool has the kind of the volume
	// itself, or "volume" if that is no file or block device or cannot be found, and Why is
	// the reason.
	Kind   string
	Source string // path, for file and block
	Remote string // the source's address, for network and volume
	Volume Volume // what the definition names in a pool
	Why    string
	Asleep bool   // the pool is not active
	Format string // driver type; "" if the definition has none
	Lower  []string
	// Fixed means that the guest cannot write to the disk, Shared that other guests may.
	Fixed, Shared, Transient bool
	// Sector is the logical sector size in the definition; 0 if there is none.
	Sector uint
	// Serial and Place identify the disk in the guest: the serial number, and the address
	// in the form of live.Identity. Alias is the device's name in a running domain's QEMU.
	Serial, Place, Alias string
	// Cache is the host's cache mode; "" if the definition has none.
	Cache string
	// Snapshot is libvirt's attribute: "no" excludes the disk from snapshots.
	Snapshot string
}

// Writable reports whether the guest can write to the disk.
func (d Disk) Writable() bool {
	return !d.Fixed && (d.Device == "disk" || d.Device == "lun") && d.Kind != ""
}

// Definition is what is read from a domain's XML. DefinitionXML is the text itself.
type Definition struct {
	Disks []Disk
	// Channel means that there is a channel for the guest agent.
	Channel bool
	// Disconnected means that libvirt knows that no agent has opened the channel of the
	// running guest.
	Disconnected bool
	// Windows means that the definition is for a Windows guest.
	Windows bool
	// AfterPowerOff is libvirt's action when the guest powers off, for example "destroy".
	AfterPowerOff string
	// Emulator is the path of its QEMU; "" where the definition has none.
	Emulator string
}

// Read reads the persistent definition.
func (d *Domain) Read(ctx context.Context) (Definition, error) {
	text, err := d.Text(ctx, Config)
	if err != nil {
		return Definition{}, err
	}
	return d.conn.parse(ctx, text)
}

// Live reads the definition that the domain runs with.
func (d *Domain) Live(ctx context.Context) (Definition, error) {
	text, err := d.liveXML(ctx)
	if err != nil {
		return Definition{}, err
	}
	return d.conn.parse(ctx, text)
}

// parse parses a definition, and finds the volumes that it names.
func (c *Conn) parse(ctx context.Context, text string) (Definition, error) {
	def, err := parse(text)
	if err != nil {
		return def, err
	}
	return def, c.findIn(ctx, pointers(def.Disks))
}

func parse(text string) (Definition, error) {
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return Definition{}, fmt.Errorf("cannot read the domain's XML: %w", err)
	}
	def := Definition{AfterPowerOff: x.OnPoweroff, Windows: isForWindows(text, x)}
	if x.Devices == nil {
		return def, nil
	}
	def.Emulator = x.Devices.Emulator
	at := newAddresses(x.Devices.Controllers)
	for _, disk := range x.Devices.Disks {
		def.Disks = append(def.Disks, readDisk(disk, at))
	}
	for _, c := range x.Devices.Channels {
		if c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == "org.qemu.guest_agent.0" {
			def.Channel, def.Disconnected = true, c.Target.VirtIO.State == "disconnected"
		}
	}
	return def, nil
}

// isForWindows checks the system that virt-install and virt-manager store in the metadata
// (libosinfo), and the enlightenments of Hyper-V, which only Windows uses.
func isForWindows(text string, x libvirtxml.Domain) bool {
	var noted struct {
		OS struct {
			ID string `xml:"id,attr"`
		} `xml:"metadata>libosinfo>os"`
	}
	_ = xml.Unmarshal([]byte(text), &noted) // x was read from the same text
	return strings.HasPrefix(noted.OS.ID, "http://microsoft.com/win") || x.Features != nil && x.Features.HyperV != nil
}

func readDisk(x libvirtxml.DomainDisk, at addresses) Disk {
	d := Disk{Device: x.Device, Fixed: x.ReadOnly != nil, Shared: x.Shareable != nil,
		Transient: x.Transient != nil, Snapshot: x.Snapshot, Serial: x.Serial}
	if x.Alias != nil {
		d.Alias = x.Alias.Name
	}
	d.Place = at.of(x)
	if d.Device == "" {
		d.Device = "disk"
	}
	if x.Target != nil {
		d.Target, d.Bus = x.Target.Dev, x.Target.Bus
	}
	if x.Driver != nil {
		d.Format, d.Cache = x.Driver.Type, x.Driver.Cache
	}
	d.Serial = x.Serial
	if x.BlockIO != nil {
		d.Sector = x.BlockIO.LogicalBlockSize
	}
	d.Kind, d.Source = source(x.Source)
	d.Remote = remote(x.Source)
	if x.Source != nil && x.Source.Volume != nil {
		d.Volume = Volume{x.Source.Volume.Pool, x.Source.Volume.Volume}
	}
	for lower := x.BackingStore; lower != nil; lower = lower.BackingStore {
		if _, path := source(lower.Source); path != "" {
			d.Lower = append(d.Lower, path)
		}
	}
	return d
}

// Identity returns what identifies the disk in the guest.
func (d Disk) Identity() live.Identity { return live.Identity{Serial: d.Serial, Address: d.Place} }

func source(s *libvirtxml.DomainDiskSource) (kind, path string) {
	switch {
	case s == nil:
		return "", ""
	case s.File != nil:
		return "file", s.File.File
	case s.Block != nil:
		return "block", s.Block.Dev
	case s.Network != nil:
		return "network", ""
	case s.Volume != nil:
		return "volume", ""
	case s.NVME != nil:
		return "nvme", ""
	case s.VHostUser != nil:
		return "vhostuser", ""
	case s.VHostVDPA != nil:
		return "vhostvdpa", ""
	case s.Dir != nil:
		return "dir", s.Dir.Dir
	}
	return "unknown", ""
}

// remote returns the address of a source that is not a path on this host.
func remote(s *libvirtxml.DomainDiskSource) string {
	switch {
	case s == nil:
		return ""
	case s.Volume != nil:
		return Volume{s.Volume.Pool, s.Volume.Volume}.String()
	case s.Network == nil:
		return ""
	}
	var hosts []string
	for _, h := range s.Network.Hosts {
		host := cmp.Or(h.Name, h.Socket)
		if h.Port != "" {
			host = net.JoinHostPort(host, h.Port)
		}
		hosts = append(hosts, host)
	}
	return s.Network.Protocol + "://" + strings.Join(hosts, ",") + "/" + strings.TrimPrefix(s.Network.Name, "/")
}

// Differs describes the differences from another definition of the same disk.
func (d Disk) Differs(from Disk) []string {
	flag := map[bool]string{true: "yes", false: "no"}
	var differ []string
	for _, field := range []struct{ name, now, then string }{
		{"image", cmp.Or(d.Source, d.Remote), cmp.Or(from.Source, from.Remote)}, {"format", d.Format, from.Format},
		{"device", d.Device, from.Device}, {"bus", d.Bus, from.Bus}, {"serial", d.Serial, from.Serial},
		{"cache", d.Cache, from.Cache},
		{"readonly", flag[d.Fixed], flag[from.Fixed]}, {"shareable", flag[d.Shared], flag[from.Shared]},
	} {
		if field.now != field.then {
			differ = append(differ, fmt.Sprintf("%s %s, then %s", field.name, cmp.Or(field.now, "none"), cmp.Or(field.then, "none")))
		}
	}
	return differ
}

// User is a disk of a domain, as a user of an image.
type User struct {
	Domain, Target string
	Disk           Disk
	// Live means that the domain runs with the disk.
	Live bool
}

// Others returns the disks of every other domain, running and defined.
func (d *Domain) Others(ctx context.Context) ([]User, error) { return d.conn.Users(ctx, d.UUID) }

// Users returns the disks of every domain, running and defined, except the domain with
// the UUID but.
func (c *Conn) Users(ctx context.Context, but string) ([]User, error) {
	var users []User
	err := c.do(ctx, func(l connection) error {
		users = nil
		all, err := l.Domains()
		if err != nil {
			return err
		}
		var failed error
		for _, h := range all {
			some, err := usersOf(l, h, but)
			// A domain that was removed after it was listed uses no image.
			if err != nil && !isCode(plain(err), libvirt.ERR_NO_DOMAIN) {
				failed = err
			}
			users = append(users, some...)
			_ = h.Free()
		}
		return cmp.Or(failed, stillAlive(l))
	})
	if err != nil {
		return nil, err
	}
	return users, nil
}

// usersOf returns the disks of a domain.
func usersOf(l connection, other handle, but string) ([]User, error) {
	if uuid, err := other.GetUUIDString(); err != nil || uuid == but {
		return nil, err
	}
	name, err := other.GetName()
	if err != nil {
		return nil, err
	}
	runs, err := other.IsActive()
	if err != nil {
		return nil, err
	}
	var users []User
	for _, flags := range []libvirt.DomainXMLFlags{0, libvirt.DOMAIN_XML_INACTIVE} {
		text, err := other.GetXMLDesc(flags)
		if err != nil {
			return nil, err
		}
		def, err := parse(text)
		if err != nil {
			continue
		}
		findVolumes(l, pointers(def.Disks))
		for _, disk := range def.Disks {
			users = append(users, User{Domain: name, Target: disk.Target, Disk: disk, Live: runs && flags == 0})
		}
	}
	return users, nil
}
