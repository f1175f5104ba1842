package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Inspection decides how closely to look at a disk, from what was found on it so
// far.
type Inspection func(*plan.Layout) plan.Closeness

// Always looks at the system of every disk.
func Always(*plan.Layout) plan.Closeness { return plan.LookAtSystem }

// For returns an inspection that is close enough to plan the request.
func For(r plan.Request) Inspection {
	return func(l *plan.Layout) plan.Closeness { return plan.Look(l, r) }
}

// Read reads what is on the first drives, disks of those sizes.
func (s *Session) Read(ctx context.Context, inspect Inspection, disks ...size.Bytes) (*plan.Layout, error) {
	layout, err := s.vm.Probe(ctx, disks...)
	if err != nil {
		return nil, err
	}
	switch inspect(layout) {
	case plan.LookAtSystem:
		err = s.vm.Inspect(ctx, layout)
	case plan.LookAtFstab:
		err = s.vm.ReadFstabs(ctx, layout)
	}
	return layout, err
}

// ReadAtRest is Read for disks that no guest writes to: it also looks for the
// memory image of a hibernated system.
func (s *Session) ReadAtRest(ctx context.Context, inspect Inspection, disks ...size.Bytes) (*plan.Layout, error) {
	layout, err := s.Read(ctx, inspect, disks...)
	if err != nil {
		return nil, err
	}
	return layout, s.vm.FindMemoryImage(ctx, layout)
}

// readImages attaches the images to the first drives and reads them. What is on a single
// image is kept in the cache.
func (s *Session) readImages(ctx context.Context, sources []Source, inspect Inspection, c *Cache) (*plan.Layout, error) {
	img, at := sources[0].Image, time.Now()
	stamps := image.Stamps(img.Path, img.Backing)
	var sizes []size.Bytes
	for i, src := range sources {
		if err := s.AttachReadOnly(ctx, i, src.Image); err != nil {
			return nil, err
		}
		sizes = append(sizes, src.Size)
	}
	read := s.ReadAtRest
	if img.Access == block.Shared {
		read = s.Read
	}
	layout, err := read(ctx, inspect, sizes...)
	if err == nil && len(sources) == 1 {
		c.Save(stamps, layout, at)
	}
	return layout, err
}

// Look reads the layout of the images of one guest, in a new appliance. then, if not nil, may
// continue in the same appliance.
func Look(ctx context.Context, sources []Source, o Options, c *Cache, inspect Inspection, then func(context.Context, *plan.Layout, *appliance.Appliance) error) (_ *plan.Layout, err error) {
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := Start(ctx, dir, drivesOf(sources), o, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	layout, err := s.readImages(ctx, sources, inspect, c)
	if err == nil && sources[0].Access == block.Shared {
		IgnoreUnclean(layout)
	}
	if err == nil && then != nil {
		err = then(ctx, layout, s.Appliance)
	}
	return layout, err
}

// IgnoreUnclean removes from a layout the damage that the disk of a running guest
// always shows, because the guest is in the middle of its writes. The file system
// is checked after the shutdown.
func IgnoreUnclean(l *plan.Layout) {
	for i := range l.Devices {
		content := &l.Devices[i].Content
		if p := content.Problem; p != nil && (p.Reason == plan.NTFSDirty || p.Reason == plan.FSDamaged || p.Way == plan.WayUnmount) {
			content.Problem = nil
		}
	}
}

// Looked is what a look at one of several images found.
type Looked struct {
	Layout *plan.Layout
	At     time.Time
	Err    error
}

// LookAll looks at several images of one domain, in one appliance for each sector
// size. The error of an image that cannot be read is its own; it does not keep the
// others from being read.
func LookAll(ctx context.Context, images []*image.Image, o Options, c *Cache) (_ []Looked, err error) {
	looks := make([]Looked, len(images))
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return looks, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, sector := range []size.Bytes{512, 4096} {
		if err := lookAll(ctx, dir, images, sector, o, c, looks); err != nil {
			return looks, err
		}
	}
	return looks, nil
}

// lookAll looks at the images of one sector size. A session that cannot detach an
// image is replaced by another one.
func lookAll(ctx context.Context, dir string, images []*image.Image, sector size.Bytes, o Options, c *Cache, looks []Looked) error {
	drive := Drive{Size: largest(images, sector), Sector: sector}
	var s *Session
	defer func() { _ = s.Close() }()
	for i, img := range images {
		if img.SectorSize != sector {
			continue
		}
		if s == nil {
			var err error
			if s, err = Start(ctx, dir, []Drive{drive}, o, nil); err != nil {
				return err
			}
		}
		looks[i] = s.lookAt(ctx, img, c)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.Detach(ctx) != nil {
			_ = s.Close()
			s = nil
		}
	}
	return nil
}

func (s *Session) lookAt(ctx context.Context, img *image.Image, c *Cache) Looked {
	look := Looked{At: time.Now()}
	if look.Layout, look.Err = s.readImages(ctx, []Source{{Image: img}}, Always, c); look.Err != nil {
		if _, refused := plan.IsRefusal(look.Err); !refused {
			look.Err = fmt.Errorf("cannot read %s: %w", img.Path, look.Err)
		}
	}
	return look
}

// largest returns the size of the largest of the images with that sector size.
func largest(images []*image.Image, sector size.Bytes) (most size.Bytes) {
	for _, img := range images {
		if img.SectorSize == sector {
			most = max(most, img.Size)
		}
	}
	return most
}
