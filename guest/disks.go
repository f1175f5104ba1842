package guest

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Disks are all disks of one guest: its file tree is spread over them. An image by
// itself is a guest with one disk.
type Disks struct {
	// Name is the domain's, or the image's path; UUID is the domain's.
	Name, UUID string
	// Running says that the guest writes to them at the same time: what is read
	// is of that moment.
	Running bool
	// Notes are what a person should know.
	Notes []string

	images []*Image
	disks  []domain.Disk // of a domain, in the order of images
	domain *domain.Domain
	survey domain.Survey
}

// OpenImageDisks takes an image for the only disk of a guest. One that a QEMU has
// open can be read, not changed.
func OpenImageDisks(ctx context.Context, path string, o OpenOptions) (*Disks, error) {
	o.keeps = true
	img, err := Open(ctx, path, o)
	if r, ok := plan.IsRefusal(err); ok && r.Reason == plan.InUse {
		o.access = block.Shared
		if img, err = Open(ctx, path, o); err != nil {
			return nil, r
		}
	}
	if err != nil {
		return nil, err
	}
	return &Disks{Name: img.Path, Running: o.access == block.Shared, images: []*Image{img}}, nil
}

// OpenDomainDisks finds the disks of a domain, running or not. Disks keeps the
// connection: Close ends it.
func OpenDomainDisks(ctx context.Context, d *domain.Domain, sector size.Bytes) (*Disks, error) {
	survey, err := d.Survey(ctx, false)
	if err != nil {
		return nil, err
	}
	g := &Disks{Name: d.Name, UUID: d.UUID, Running: survey.State != domain.Off, domain: d, survey: survey}
	disks := survey.Disks
	if g.Running {
		live, err := d.Live(ctx)
		if err != nil {
			return nil, err
		}
		disks = live.Disks
	}
	for _, disk := range disks {
		if err := g.add(ctx, disk, sector); err != nil {
			return nil, fmt.Errorf("disk %s of %s: %w", disk.Target, d.Name, err)
		}
	}
	if len(g.images) == 0 {
		return nil, plan.Refuse(plan.NotFound, d.Name, "domain %s has no disk that can be read here", d.Name)
	}
	return g, nil
}

// add opens one disk. What is no disk is left out, and one that is not on this host.
func (g *Disks) add(ctx context.Context, disk domain.Disk, sector size.Bytes) error {
	switch {
	case disk.Kind == "" || disk.Device != "disk" && disk.Device != "lun":
		return nil
	case disk.Why != "":
		g.Notes = append(g.Notes, fmt.Sprintf("disk %s is left out: %s", disk.Target, disk.Why))
		return nil
	case disk.Kind != "file" && disk.Kind != "block":
		g.Notes = append(g.Notes, fmt.Sprintf("disk %s is left out: it is of type %q", disk.Target, disk.Kind))
		return nil
	case disk.Format == "":
		return plan.Refuse(plan.FormatMissing, g.Name, "disk %s of %s (%s) has no format in its definition: its <disk> lacks <driver name='qemu' type='qcow2'/>, or type='raw' (virsh edit %s)", disk.Target, g.Name, disk.Source, g.Name)
	}
	o := OpenOptions{Format: disk.Format, Sector: size.Bytes(disk.Sector), keeps: true}
	if o.Sector == 0 {
		o.Sector = sector
	}
	if g.Running {
		o.access = block.Shared
	}
	img, err := Open(ctx, disk.Source, o)
	if err != nil {
		return err
	}
	img.owner = &owner{domain: g.domain, survey: g.survey}
	g.images, g.disks = append(g.images, img), append(g.disks, disk)
	return nil
}

// Close ends the connection to the domain's libvirt, if there is one.
func (g *Disks) Close() error {
	if g == nil || g.domain == nil {
		return nil
	}
	return g.domain.Close()
}

// drive is one of the disks, as a job keeps it.
type drive struct {
	// Target is its name in the domain; "" for an image by itself.
	Target string     `json:"target,omitempty"`
	Path   string     `json:"path"`
	Format string     `json:"format"`
	Block  bool       `json:"block,omitempty"`
	Sector size.Bytes `json:"sector"`
	Size   size.Bytes `json:"size"`
	Stamp  Stamp      `json:"stamp"`
}

func (g *Disks) drives() []drive {
	var all []drive
	for i, img := range g.images {
		d := drive{Path: img.Path, Format: img.Format, Block: img.Block, Sector: img.SectorSize, Size: img.Size, Stamp: img.Stamp}
		if g.disks != nil {
			d.Target = g.disks[i].Target
		}
		all = append(all, d)
	}
	return all
}

// MayChange refuses what could not be changed safely: the guest has to be off.
func (g *Disks) MayChange() error {
	switch {
	case g.domain == nil && g.Running:
		return plan.Refuse(plan.InUse, g.Name, "%s is in use: a running QEMU or qemu-img holds its lock", g.Name)
	case g.Running:
		return plan.Refuse(plan.InUse, g.images[0].Path, "domain %s is %s: files inside it can only be changed while it is off", g.Name, g.survey.State)
	case g.survey.Saved:
		return plan.Refuse(plan.ManagedSave, g.Name, "domain %s has a managed save: a start would resume the saved guest, which knows its files as they were", g.Name)
	}
	return nil
}

// mayWrite refuses disks that are not the guest's alone to write to.
func (g *Disks) mayWrite(ctx context.Context, disks []int) error {
	for _, i := range disks {
		img := g.images[i]
		if err := unix.Access(img.Path, unix.W_OK); err != nil {
			return fmt.Errorf("cannot write to %s: %w", img.Path, err)
		}
		if g.domain == nil {
			continue
		}
		if err := judgeDisk(g.domain, g.disks[i]); err != nil {
			return err
		}
		if err := img.nobodyElses(ctx); err != nil {
			return err
		}
	}
	return nil
}

// target is the disk that a job is filed under.
func (g *Disks) target(i int) plan.Target {
	t := g.images[i].Target
	if g.domain != nil {
		t.Guest = &plan.Guest{Connect: g.domain.URI(), Name: g.Name, UUID: g.UUID, Disk: g.disks[i].Target, Bus: g.disks[i].Bus, Pool: g.disks[i].Volume.Pool}
	}
	return t
}
