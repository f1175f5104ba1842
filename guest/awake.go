package guest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan/size"
)

// checkOthersNotHibernated refuses to change the disk of a domain that is off when
// one of its other disks holds the memory of a hibernated system: that system goes on
// with all of them as it remembers them. A disk that cannot be read here is noted.
func checkOthersNotHibernated(ctx context.Context, d *disk.Disk, o SessionOptions) error {
	if d.Domain == nil || d.Status.State != domain.Off {
		return nil
	}
	others := &disk.Set{Name: d.Domain.Name}
	for _, def := range d.Status.Disks {
		if def.Source == "" || image.SameFile(def.Source, d.Path) || def.Device != "disk" && def.Device != "lun" {
			continue
		}
		open := image.Options{Format: def.Format, Sector: size.Bytes(def.Sector), KeepSize: true, Access: block.Shared}
		other, err := image.Open(ctx, def.Source, open)
		if err != nil {
			d.Notes = append(d.Notes, fmt.Sprintf("%s was not looked at for the memory image of a hibernated system: %v", def.Target, err))
			continue
		}
		others.Disks = append(others.Disks, &disk.Disk{Image: other, Domain: d.Domain, Status: d.Status, Def: def})
	}
	if len(others.Disks) == 0 {
		return nil
	}
	return awake(ctx, others, o)
}

// awake boots an appliance for nothing but the question whether a system waits to be
// resumed from one of the disks.
func awake(ctx context.Context, g *disk.Set, o SessionOptions) (err error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, err := startVisit(ctx, dir, drivesOf(g), o, peekAt(g))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return in.awake(ctx)
}

// awake refuses disks from which a system waits to be resumed.
func (in *visit) awake(ctx context.Context) error {
	r, err := in.app.Hibernated(ctx)
	if r != nil {
		return r
	}
	return err
}
