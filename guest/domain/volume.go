package domain

import (
	"context"
	"fmt"
	"path"
	"slices"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"
)

// Volume is a disk's source as the volume of a storage pool
// (<source pool='…' volume='…'/>).
type Volume struct{ Pool, Name string }

func (v Volume) String() string { return v.Pool + "/" + v.Name }

// pool is what this package needs of a storage pool.
type pool interface {
	Free() error
	IsActive() (bool, error)
	GetXMLDesc(libvirt.StorageXMLFlags) (string, error)
	Refresh(flags uint32) error
	VolumeByName(name string) (volume, error)
}

// volume is what this package needs of a volume in a pool.
type volume interface {
	Free() error
	GetInfo() (*libvirt.StorageVolInfo, error)
	GetPath() (string, error)
}

// location is the place of a volume on this host.
type location struct {
	kind, path string
	// why is the reason if the volume is not a file or block device, else "".
	why string
	// asleep means that the pool is not active.
	asleep bool
}

// findVolumes sets the paths of disks that are named by pool and volume, as libvirt does
// when it starts a guest (virStorageVolGetPath). A disk that is not a file or block device,
// or whose pool is not active, keeps its kind "volume" and gets a reason.
func findVolumes(l connection, disks []*Disk) {
	found := map[Volume]location{}
	for _, d := range disks {
		if d.Volume == (Volume{}) {
			continue
		}
		at, ok := found[d.Volume]
		if !ok {
			at = locateVolume(l, d.Volume)
			found[d.Volume] = at
		}
		d.Kind, d.Source, d.Why, d.Asleep = at.kind, at.path, at.why, at.asleep
	}
}

func locateVolume(l connection, v Volume) location {
	p, err := l.PoolByName(v.Pool)
	if err != nil {
		return location{kind: "volume", why: fmt.Sprintf("there is no storage pool %s", v.Pool)}
	}
	defer p.Free()
	text, err := p.GetXMLDesc(0)
	if err != nil {
		return location{kind: "volume", why: fmt.Sprintf("storage pool %s: %v", v.Pool, plain(err))}
	}
	var x libvirtxml.StoragePool
	if err := x.Unmarshal(text); err != nil {
		return location{kind: "volume", why: fmt.Sprintf("storage pool %s: %v", v.Pool, err)}
	}
	if active, err := p.IsActive(); err != nil || !active {
		return asleep(x, v)
	}
	return inPool(p, x.Type, v)
}

// inPool looks a volume up in an active pool. The pool is refreshed if it does not know
// the volume, because a file may have been created since it was read.
func inPool(p pool, kind string, v Volume) location {
	found, err := p.VolumeByName(v.Name)
	if isCode(plain(err), libvirt.ERR_NO_STORAGE_VOL) && p.Refresh(0) == nil {
		found, err = p.VolumeByName(v.Name)
	}
	if err != nil {
		return location{kind: "volume", why: fmt.Sprintf("storage pool %s has no volume %s", v.Pool, v.Name)}
	}
	defer found.Free()
	info, err := found.GetInfo()
	at := ""
	if err == nil {
		at, err = found.GetPath()
	}
	switch {
	case err != nil:
		return location{kind: "volume", why: fmt.Sprintf("volume %s: %v", v, plain(err))}
	case info.Type == libvirt.STORAGE_VOL_FILE:
		return location{kind: "file", path: at}
	case info.Type == libvirt.STORAGE_VOL_BLOCK && kind != "iscsi-direct":
		return location{kind: "block", path: at}
	}
	return location{kind: "volume", why: fmt.Sprintf("volume %s is in a storage pool of type %s, and is not a file or block device", v, kind)}
}

// directories are the types of pool whose volumes are files in one directory.
var directories = []string{"dir", "fs", "netfs"}

// asleep returns the location of a volume whose pool is not active. The path is set so
// that conflicts are found; a guest does not start with such a disk.
func asleep(x libvirtxml.StoragePool, v Volume) location {
	at := location{kind: "volume", asleep: true, why: fmt.Sprintf("storage pool %s (type %s) is not active", v.Pool, x.Type)}
	if slices.Contains(directories, x.Type) && x.Target != nil && x.Target.Path != "" {
		at.path = path.Join(x.Target.Path, v.Name)
	}
	return at
}

// findIn calls findVolumes if a disk is a volume.
func (c *Conn) findIn(ctx context.Context, disks []*Disk) error {
	if !slices.ContainsFunc(disks, func(d *Disk) bool { return d.Volume != Volume{} }) {
		return nil
	}
	return c.do(ctx, func(l connection) error {
		findVolumes(l, disks)
		return stillAlive(l)
	})
}

func pointers(disks []Disk) []*Disk {
	all := make([]*Disk, len(disks))
	for i := range disks {
		all[i] = &disks[i]
	}
	return all
}

// RefreshPool makes libvirt read a storage pool again. Until then, libvirt reports the old
// sizes of the volumes.
func (d *Domain) RefreshPool(ctx context.Context, name string) error {
	return d.conn.do(ctx, func(l connection) error {
		p, err := l.PoolByName(name)
		if err != nil {
			return err
		}
		defer p.Free()
		return p.Refresh(0)
	})
}
