package guest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan/size"
)

// othersAwake refuses to change the disk of a domain that is off when one of its other
// disks holds the memory of a hibernated system: that system goes on with all of them as
// it remembers them. Of one that cannot be read here a note is made.
func (img *Image) othersAwake(ctx context.Context, o SessionOptions) error {
	if img.owner == nil || img.owner.survey.State != domain.Off {
		return nil
	}
	others := &Disks{domain: img.owner.domain, survey: img.owner.survey, Name: img.owner.domain.Name}
	for _, disk := range img.owner.survey.Disks {
		if disk.Source == "" || samePath(disk.Source, img.Path) || disk.Device != "disk" && disk.Device != "lun" {
			continue
		}
		open := OpenOptions{Format: disk.Format, Sector: size.Bytes(disk.Sector), keeps: true, access: block.Shared}
		other, err := Open(ctx, disk.Source, open)
		if err != nil {
			img.Notes = append(img.Notes, fmt.Sprintf("%s was not looked at for the memory image of a hibernated system: %v", disk.Target, err))
			continue
		}
		others.images, others.disks = append(others.images, other), append(others.disks, disk)
	}
	if len(others.images) == 0 {
		return nil
	}
	return others.awake(ctx, o)
}

// awake boots an appliance for nothing but the question whether a system waits to be
// resumed from one of the disks.
func (g *Disks) awake(ctx context.Context, o SessionOptions) (err error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, err := startVisit(ctx, dir, g.drives(), o, g.peek)
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
