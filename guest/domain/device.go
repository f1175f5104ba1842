package domain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"
)

// devices adds, removes and changes devices.
type devices interface {
	AttachDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error
	DetachDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error
	UpdateDeviceFlags(xml string, flags libvirt.DomainDeviceModifyFlags) error
}

// Scope names one of a domain's two definitions.
type Scope string

// The scopes: the definition that the guest runs with, and the one for its next start.
const (
	Live   Scope = "live"
	Config Scope = "config"
)

func (s Scope) flags() libvirt.DomainDeviceModifyFlags {
	if s == Live {
		return libvirt.DOMAIN_DEVICE_MODIFY_LIVE
	}
	return libvirt.DOMAIN_DEVICE_MODIFY_CONFIG
}

// DiskSpec describes a disk to add to a domain, in libvirt's terms.
type DiskSpec struct {
	Path          string `json:"path"`
	Format        string `json:"format"`
	Block         bool   `json:"block"` // a block device, not a file
	Target        string `json:"target"`
	Bus           string `json:"bus"`
	Serial        string `json:"serial"`
	Cache         string `json:"cache"`
	Discard       string `json:"discard"`
	Shareable     bool   `json:"shareable"`
	Device        string `json:"device"` // "disk", "cdrom"
	ReadOnlyMedia bool   `json:"read_only_media"`
}

// XML returns the disk's element (libvirt: formatdomain, disk). It always names the
// driver's type: without one libvirt assumes a raw image.
func (n DiskSpec) XML() string {
	kind, attribute := "file", "file"
	if n.Block {
		kind, attribute = "block", "dev"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<disk type='%s' device='%s'><driver name='qemu' type='%s'", kind, n.Device, escaped(n.Format))
	for _, a := range [][2]string{{"cache", n.Cache}, {"discard", n.Discard}} {
		if a[1] != "" {
			fmt.Fprintf(&b, " %s='%s'", a[0], escaped(a[1]))
		}
	}
	fmt.Fprintf(&b, "/><source %s='%s'/><target dev='%s' bus='%s'/>", attribute, escaped(n.Path), escaped(n.Target), escaped(n.Bus))
	if n.ReadOnlyMedia {
		b.WriteString("<readonly/>")
	}
	if n.Shareable {
		b.WriteString("<shareable/>")
	}
	if n.Serial != "" {
		fmt.Fprintf(&b, "<serial>%s</serial>", escaped(n.Serial))
	}
	return b.String() + "</disk>"
}

// SCSIController is added to a domain without a SCSI controller: libvirt's default model
// has a driver in few guests.
const SCSIController = "<controller type='scsi' index='0' model='virtio-scsi'/>"

// Device is a disk of a definition, and its text.
type Device struct {
	Disk
	// Text is the XML element.
	Text string
}

// Devices returns the disks of one of the domain's definitions, and the types of its
// controllers.
func (d *Domain) Devices(ctx context.Context, s Scope) (disks []Device, controllers []string, err error) {
	text, err := d.Text(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	disks, controllers, err = parseDevices(text)
	if err != nil {
		return nil, nil, err
	}
	var named []*Disk
	for i := range disks {
		named = append(named, &disks[i].Disk)
	}
	return disks, controllers, d.conn.findIn(ctx, named)
}

// Text returns one of the domain's two definitions, with its secrets.
func (d *Domain) Text(ctx context.Context, s Scope) (string, error) {
	if s == Live {
		return d.xml(ctx, libvirt.DOMAIN_XML_SECURE)
	}
	return d.xml(ctx, libvirt.DOMAIN_XML_INACTIVE|libvirt.DOMAIN_XML_SECURE)
}

func parseDevices(text string) (disks []Device, controllers []string, err error) {
	var parsed []libvirtxml.DomainController
	all, err := find(text, "domain", "devices", "controller")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the domain's XML: %w", err)
	}
	for _, e := range all {
		var c libvirtxml.DomainController
		if err := c.Unmarshal(e.in(text)); err != nil {
			return nil, nil, fmt.Errorf("cannot read the domain's XML: %w", err)
		}
		controllers, parsed = append(controllers, c.Type), append(parsed, c)
	}
	if all, err = find(text, "domain", "devices", "disk"); err != nil {
		return nil, nil, fmt.Errorf("cannot read the domain's XML: %w", err)
	}
	at := newAddresses(parsed)
	for _, e := range all {
		var x libvirtxml.DomainDisk
		if err := x.Unmarshal(e.in(text)); err != nil {
			return nil, nil, fmt.Errorf("cannot read the domain's XML: %w", err)
		}
		disks = append(disks, Device{Disk: readDisk(x, at), Text: e.in(text)})
	}
	return disks, controllers, nil
}

// Attach adds a device to a definition.
func (d *Domain) Attach(ctx context.Context, xml string, s Scope) error {
	return d.call(ctx, func(l handle) error { return l.AttachDeviceFlags(xml, s.flags()) })
}

// Detach removes a device from a definition. A disk of a running guest is removed by
// Unplug.
func (d *Domain) Detach(ctx context.Context, xml string, s Scope) error {
	return d.call(ctx, func(l handle) error { return l.DetachDeviceFlags(xml, s.flags()) })
}

// Update changes a drive's medium. With force it ejects a medium that the guest has
// locked.
func (d *Domain) Update(ctx context.Context, xml string, s Scope, force bool) error {
	flags := s.flags()
	if force {
		flags |= libvirt.DOMAIN_DEVICE_MODIFY_FORCE
	}
	return d.call(ctx, func(l handle) error { return l.UpdateDeviceFlags(xml, flags) })
}

// ErrHeld means that a running guest did not release a device.
var ErrHeld = errors.New("the guest did not release the device")

// Unplug asks the running guest to release the device and waits until QEMU has removed it
// (libvirt: VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED), because libvirt's call returns before.
// After the limit it returns ErrHeld; the guest may still release the device later.
func (d *Domain) Unplug(ctx context.Context, device Device, limit time.Duration) error {
	events, stop, err := d.removals(ctx, device.Alias)
	if err != nil {
		return err
	}
	defer stop()
	err = d.Detach(ctx, device.Text, Live)
	if err != nil && !strings.Contains(err.Error(), "process of unplug") {
		if gone, asked := d.gone(ctx, device); asked == nil && gone {
			return nil
		}
		return err
	}
	deadline := time.After(limit)
	for {
		select {
		case gone := <-events:
			if !gone {
				return fmt.Errorf("%w: the guest refused", ErrHeld)
			}
		case <-time.After(d.conn.pace.removal): // an event is lost with its connection
		case <-deadline:
			return fmt.Errorf("%w within %s", ErrHeld, limit)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if gone, err := d.gone(ctx, device); err != nil || gone {
			return err
		}
	}
}

// gone reports whether the domain runs without the device, or is off.
func (d *Domain) gone(ctx context.Context, device Device) (bool, error) {
	state, err := d.State(ctx)
	if err != nil || state == Off {
		return err == nil, err
	}
	live, _, err := d.Devices(ctx, Live)
	return !slices.ContainsFunc(live, func(o Device) bool { return o.Target == device.Target }), err
}

// removals returns a channel that receives true when the device has been removed, and
// false when the guest has refused.
func (d *Domain) removals(ctx context.Context, alias string) (events chan bool, stop func(), err error) {
	events = make(chan bool, 4)
	tell := func(name string, gone bool) {
		if name == alias {
			select {
			case events <- gone:
			default:
			}
		}
	}
	err = d.conn.do(ctx, func(l connection) error {
		found, err := l.DomainByUUID(d.UUID)
		if err != nil {
			return err
		}
		defer found.Free()
		stop, err = l.WatchRemovals(found, tell)
		return err
	})
	return events, stop, err
}
