package domain

import (
	"sync"

	"libvirt.org/go/libvirt"
)

// connection is what this package needs of a connection to libvirt.
type connection interface {
	Close() (int, error)
	IsAlive() (bool, error)
	GetLibVersion() (uint32, error)
	GetCapabilities() (string, error)
	GetDomainCapabilities(emulator, arch, machine, virtType string, flags libvirt.ConnectGetDomainCapabilitiesFlags) (string, error)
	DomainByName(name string) (handle, error)
	DomainByUUID(uuid string) (handle, error)
	Domains() ([]handle, error)
	Define(xml string) error
	PoolByName(name string) (pool, error)
	// WatchRemovals calls tell when a device of the domain was removed (gone is true), or
	// the guest refused to release it, until stop is called or the connection ends.
	WatchRemovals(h handle, tell func(alias string, gone bool)) (stop func(), err error)
}

// handle is libvirt's handle of one domain. Each part is declared in the file that
// calls it. The user of a handle frees it.
type handle interface {
	Free() error
	GetName() (string, error)
	GetUUIDString() (string, error)
	GetXMLDesc(libvirt.DomainXMLFlags) (string, error)
	power
	properties
	devices
	blockJobs
	sizes
	backups
	agentChannel
	monitorChannel
}

// libvirtConnection is a connection to a real libvirt.
type libvirtConnection struct{ *libvirt.Connect }

// libvirtDomain is a domain of a real libvirt.
type libvirtDomain struct{ *libvirt.Domain }

// events runs libvirt's event loop, which keepalive messages and the embedded
// driver need. It has to be there before the first connection.
var events = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for {
			_ = libvirt.EventRunDefaultImpl()
		}
	}()
	return nil
})

// dialLibvirt connects to a real libvirt.
func dialLibvirt(uri string) (connection, error) {
	live, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, err
	}
	// A daemon that hangs is detected after 15 s.
	_ = live.SetKeepAlive(5, 3)
	return libvirtConnection{live}, nil
}

func (c libvirtConnection) DomainByName(name string) (handle, error) {
	return handleOf(c.LookupDomainByName(name))
}

func (c libvirtConnection) DomainByUUID(uuid string) (handle, error) {
	return handleOf(c.LookupDomainByUUIDString(uuid))
}

func handleOf(d *libvirt.Domain, err error) (handle, error) {
	if err != nil {
		return nil, err
	}
	return libvirtDomain{d}, nil
}

func (c libvirtConnection) Domains() ([]handle, error) {
	all, err := c.ListAllDomains(0)
	handles := make([]handle, len(all))
	for i := range all {
		handles[i] = libvirtDomain{&all[i]}
	}
	return handles, err
}

func (c libvirtConnection) Define(xml string) error {
	defined, err := c.DomainDefineXML(xml)
	if err != nil {
		return err
	}
	return defined.Free()
}

func (c libvirtConnection) PoolByName(name string) (pool, error) {
	p, err := c.LookupStoragePoolByName(name)
	if err != nil {
		return nil, err
	}
	return libvirtPool{p}, nil
}

func (c libvirtConnection) WatchRemovals(h handle, tell func(alias string, gone bool)) (stop func(), err error) {
	d := h.(libvirtDomain).Domain
	removed, err := c.DomainEventDeviceRemovedRegister(d, func(_ *libvirt.Connect, _ *libvirt.Domain, e *libvirt.DomainEventDeviceRemoved) {
		tell(e.DevAlias, true)
	})
	if err != nil {
		return nil, err
	}
	refused, err := c.DomainEventDeviceRemovalFailedRegister(d, func(_ *libvirt.Connect, _ *libvirt.Domain, e *libvirt.DomainEventDeviceRemovalFailed) {
		tell(e.DevAlias, false)
	})
	if err != nil {
		_ = c.DomainEventDeregister(removed)
		return nil, err
	}
	return func() {
		_ = c.DomainEventDeregister(removed)
		_ = c.DomainEventDeregister(refused)
	}, nil
}

// Checkpoints counts the domain's checkpoints.
func (d libvirtDomain) Checkpoints() (int, error) {
	all, err := d.ListAllCheckpoints(0)
	for i := range all {
		_ = all[i].Free()
	}
	return len(all), err
}

// Snapshot takes a snapshot.
func (d libvirtDomain) Snapshot(xml string, flags libvirt.DomainSnapshotCreateFlags) error {
	snapshot, err := d.CreateSnapshotXML(xml, flags)
	if err != nil {
		return err
	}
	return snapshot.Free()
}

// libvirtPool is a storage pool of a real libvirt.
type libvirtPool struct{ *libvirt.StoragePool }

func (p libvirtPool) VolumeByName(name string) (volume, error) {
	v, err := p.LookupStorageVolByName(name)
	if err != nil {
		return nil, err
	}
	return v, nil
}
