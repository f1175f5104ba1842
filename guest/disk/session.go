package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan/size"
)

// StartSession starts an appliance on temporary overlays of all disks.
func (s *Set) StartSession(ctx context.Context, o session.Options) (*session.Session, error) {
	var sources []session.Source
	for _, d := range s.Disks {
		sources = append(sources, session.Source{Name: d.Def.Target, Image: d.Image})
	}
	return session.StartReadOnly(ctx, sources, o)
}

// Sources returns the disk and those that are changed with it. A single disk has no name.
func (d *Disk) Sources() []session.Source {
	var sources []session.Source
	for i, img := range d.Target.Images() {
		sources = append(sources, session.Source{Name: img.Disk, Image: d.All()[i].Image})
	}
	return sources
}

// StartWithOthers starts an appliance on temporary overlays of the disk and of all other
// disks of its domain that can be read, and returns their sizes. The session is nil if
// there are no others.
func (d *Disk) StartWithOthers(ctx context.Context, o session.Options) (*session.Session, []size.Bytes, error) {
	all := d.openOthers(ctx, func(domain.Disk, error) {})
	if len(all.Disks) == 0 {
		return nil, nil, nil
	}
	all.Disks = append(d.All(), all.Disks...)
	var sizes []size.Bytes
	for _, each := range all.Disks {
		sizes = append(sizes, each.Size)
	}
	s, err := all.StartSession(ctx, o)
	return s, sizes, err
}

// CheckOthersNotHibernated refuses to change the disk of a domain that is off when
// another of its disks holds the memory of a hibernated system: that system would
// resume with all disks as it remembers them. A disk that cannot be read here is
// noted.
func (d *Disk) CheckOthersNotHibernated(ctx context.Context, o session.Options) (err error) {
	if d.Domain == nil || d.Status.State != domain.Off {
		return nil
	}
	others := d.openOthers(ctx, func(def domain.Disk, err error) {
		d.Notes = append(d.Notes, fmt.Sprintf("%s was not checked for a hibernated system: %v", def.Target, err))
	})
	if len(others.Disks) == 0 {
		return nil
	}
	s, err := others.StartSession(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.CheckNotHibernated(ctx)
}

// openOthers opens the other disks of the domain, and notes those that cannot be
// opened.
func (d *Disk) openOthers(ctx context.Context, unreadable func(domain.Disk, error)) *Set {
	others := &Set{Name: d.Domain.Name}
	for _, def := range d.Status.Disks {
		if def.Source == "" || !isDisk(def) || d.Edits(def.Target) || image.SameFile(def.Source, d.Path) {
			continue
		}
		img, err := image.Open(ctx, def.Source, image.Options{Format: def.Format, Sector: sectorOf(def, 0), KeepSize: true, Access: block.Shared})
		if err != nil {
			unreadable(def, err)
			continue
		}
		others.Disks = append(others.Disks, &Disk{Image: img, Domain: d.Domain, Status: d.Status, Def: def})
	}
	return others
}
