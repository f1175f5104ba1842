package disk

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Disk is a disk of a domain. An image by itself is a disk without a domain.
type Disk struct {
	*image.Image
	// Domain is nil for an image by itself.
	Domain *domain.Domain
	// Status is the domain's status when the disk was opened, Def the disk in its
	// definition.
	Status domain.Status
	Def    domain.Disk
	// More are other disks of the domain that are changed together with this one. Their
	// own Domain is nil.
	More []*Disk
}

// All returns the disk and those that are changed with it.
func (d *Disk) All() []*Disk { return append([]*Disk{d}, d.More...) }

// Edits reports whether a target is that of a disk that is changed.
func (d *Disk) Edits(target string) bool {
	return slices.ContainsFunc(d.All(), func(each *Disk) bool { return each.Def.Target == target })
}

// Join makes the disk change together with other disks of its domain.
func (d *Disk) Join(more ...*Disk) {
	for _, m := range more {
		t := m.Image.Target
		d.Target.More = append(d.Target.More, plan.DiskTarget{Disk: m.Def.Target, Bus: m.Def.Bus, Path: t.Path, Format: t.Format, Block: t.Block,
			Backing: t.Backing, SectorSize: t.SectorSize, Pool: m.Def.Volume.Pool})
		d.More = append(d.More, m)
	}
}

// OpenImage opens an image by itself.
func OpenImage(ctx context.Context, path string, o image.Options) (*Disk, error) {
	img, err := image.Open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return &Disk{Image: img}, nil
}

// OpenWritable opens a disk of a domain to change its size, and refuses one that
// cannot be changed. sector is the sector size where the definition has none. The
// disk keeps the connection to libvirt until Close.
func OpenWritable(ctx context.Context, d *domain.Domain, status domain.Status, def domain.Disk, sector size.Bytes) (*Disk, error) {
	if err := CheckChangeable(d.Name, def); err != nil {
		return nil, err
	}
	o := image.Options{Format: def.Format, Sector: sectorOf(def, sector)}
	if status.State == domain.Running {
		o.Access = block.Shared
	}
	img, err := image.Open(ctx, def.Source, o)
	if err != nil {
		return nil, err
	}
	if err := img.CheckBitmaps(ctx, d); err != nil {
		return nil, err
	}
	return &Disk{Image: img, Domain: d, Status: status, Def: def}, nil
}

// sectorOf returns the sector size of a definition, or the other one where it has none.
func sectorOf(def domain.Disk, other size.Bytes) size.Bytes {
	if def.Sector != 0 {
		return size.Bytes(def.Sector)
	}
	return other
}

// Close ends the connection to the domain's libvirt, if there is one.
func (d *Disk) Close() error {
	if d == nil || d.Domain == nil {
		return nil
	}
	return d.Domain.Close()
}

// target returns the disk as the target of a job.
func (d *Disk) target() plan.Target {
	t := d.Image.Target
	if d.Domain != nil {
		t.Guest = &plan.Guest{Connect: d.Domain.URI(), Name: d.Domain.Name, UUID: d.Domain.UUID,
			Disk: d.Def.Target, Bus: d.Def.Bus, Pool: d.Def.Volume.Pool}
	}
	return t
}

// Set has all disks of one guest, which together contain its file tree. An image by
// itself is a guest with one disk.
type Set struct {
	// Name is the domain's, or the path of the image; UUID is the domain's.
	Name, UUID string
	// Running reports that the guest writes to the disks while they are read.
	Running bool
	// Notes are for people.
	Notes []string
	Disks []*Disk

	domain *domain.Domain
	status domain.Status
}

// OpenImageSet opens an image as the only disk of a guest. One that a running QEMU
// uses can be read, not changed.
func OpenImageSet(ctx context.Context, path string, o image.Options) (*Set, error) {
	o.KeepSize = true
	d, err := OpenImage(ctx, path, o)
	if r, ok := plan.IsRefusal(err); ok && r.Reason == plan.InUse {
		o.Access = block.Shared
		if d, err = OpenImage(ctx, path, o); err != nil {
			return nil, r
		}
	}
	if err != nil {
		return nil, err
	}
	return &Set{Name: d.Path, Running: o.Access == block.Shared, Disks: []*Disk{d}}, nil
}

// OpenDomainSet opens the disks of a domain, running or not. The set keeps the
// connection to libvirt until Close.
func OpenDomainSet(ctx context.Context, d *domain.Domain, sector size.Bytes) (*Set, error) {
	status, err := d.Status(ctx, false)
	if err != nil {
		return nil, err
	}
	s := &Set{Name: d.Name, UUID: d.UUID, Running: status.State != domain.Off, domain: d, status: status}
	disks := status.Disks
	if s.Running {
		live, err := d.Live(ctx)
		if err != nil {
			return nil, err
		}
		disks = live.Disks
	}
	for _, def := range disks {
		if err := s.add(ctx, def, sector); err != nil {
			return nil, fmt.Errorf("disk %s of %s: %w", def.Target, d.Name, err)
		}
	}
	if len(s.Disks) == 0 {
		return nil, plan.Refuse(plan.NotFound, d.Name, "domain %s has no disk that can be read on this host", d.Name)
	}
	return s, nil
}

// add opens one of the disks. A drive without a medium is left out, and a disk that
// is not on this host.
func (s *Set) add(ctx context.Context, def domain.Disk, sector size.Bytes) error {
	switch {
	case def.Kind == "" || !isDisk(def):
		return nil
	case def.Why != "":
		s.Notes = append(s.Notes, fmt.Sprintf("disk %s is left out: %s", def.Target, def.Why))
		return nil
	case def.Kind != "file" && def.Kind != "block":
		s.Notes = append(s.Notes, fmt.Sprintf("disk %s is left out: it is of type %q", def.Target, def.Kind))
		return nil
	case def.Format == "":
		return refuseNoFormat(s.Name, def)
	}
	o := image.Options{Format: def.Format, Sector: sectorOf(def, sector), KeepSize: true}
	if s.Running {
		o.Access = block.Shared
	}
	img, err := image.Open(ctx, def.Source, o)
	if err != nil {
		return err
	}
	s.Disks = append(s.Disks, &Disk{Image: img, Domain: s.domain, Status: s.status, Def: def})
	return nil
}

// isDisk reports whether a device is a disk, and not a drive for media.
func isDisk(def domain.Disk) bool { return def.Device == "disk" || def.Device == "lun" }

// Close ends the connection to the domain's libvirt, if there is one.
func (s *Set) Close() error {
	if s == nil || s.domain == nil {
		return nil
	}
	return s.domain.Close()
}

// CheckOff refuses a guest whose files cannot be changed safely because it runs, or
// because its memory is saved.
func (s *Set) CheckOff() error {
	switch {
	case s.domain == nil && s.Running:
		return plan.Refuse(plan.InUse, s.Name, "%s is in use: a running QEMU or qemu-img holds its lock", s.Name)
	case s.Running:
		return plan.Refuse(plan.InUse, s.Disks[0].Path, "domain %s is %s: files inside it can only be changed while it is off", s.Name, s.status.State)
	case s.status.Saved:
		return plan.Refuse(plan.ManagedSave, s.Name, "domain %s has a managed save: a start would resume the saved guest, whose memory holds the old state of its files", s.Name)
	}
	return nil
}

// CheckWritable refuses disks, given by their indexes, that cannot be written to or
// that another domain uses as well.
func (s *Set) CheckWritable(ctx context.Context, indexes []int) error {
	for _, i := range indexes {
		d := s.Disks[i]
		if err := unix.Access(d.Path, unix.W_OK); err != nil {
			return fmt.Errorf("cannot write to %s: %w", d.Path, err)
		}
		if s.domain == nil {
			continue
		}
		if err := CheckChangeable(s.Name, d.Def); err != nil {
			return err
		}
		if err := CheckNotShared(ctx, s.domain, d.Path); err != nil {
			return err
		}
	}
	return nil
}

// Target returns the disk with that index as the target of a job.
func (s *Set) Target(i int) plan.Target { return s.Disks[i].target() }
