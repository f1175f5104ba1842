package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Probe reads the layout of the disks. sizes are the sizes that the guest sees, one for
// each disk: a gate may be larger already. Probe opens LUKS containers for which there is a
// key, and activates volume groups. It replays unclean journals, as the next boot would, so
// the gates must export overlays.
func (a *Appliance) Probe(ctx context.Context, sizes ...size.Bytes) (*plan.Layout, error) {
	l := &plan.Layout{}
	for range len(sizes) - 1 {
		l.More = append(l.More, plan.DiskLayout{})
	}
	for i, disk := range l.Disks() {
		*disk = plan.DiskLayout{Size: sizes[i], Sector: a.drives[i].Sector}
		if len(sizes) > 1 {
			disk.Disk = a.driveName(i)
		}
		if err := a.probeDisk(ctx, l, &a.drives[i], disk); err != nil {
			return nil, err
		}
	}
	if err := a.probeGroups(ctx, l); err != nil {
		return nil, err
	}
	return l, a.probeHeld(ctx, l)
}

// probeDisk adds one disk to the layout, with its partitions and their content.
func (a *Appliance) probeDisk(ctx context.Context, l *plan.Layout, d *drive, disk *plan.DiskLayout) error {
	d.size = disk.Size
	t, err := table.Read(d.reader(ctx), disk.Size, d.Sector)
	l.Devices = append(l.Devices, plan.Device{Name: disk.Name(), Kind: plan.Disk, Size: disk.Size})
	switch {
	case errors.Is(err, table.ErrNoTable):
		if err := a.probeEnds(ctx, l, d, disk); err != nil {
			return err
		}
		return a.probeContent(ctx, l, disk.Name())
	case err != nil:
		return fmt.Errorf("cannot read the partition table: %w", err)
	}
	disk.Table, d.table = t, t
	return a.probePartitions(ctx, l, d, disk)
}

// ProbeAgain is Probe for disks that were probed a moment ago, while their guest still ran.
// It reads the tables and the volume groups again. It assumes that the devices have the
// same content and sizes as before: the steps that check and grow them detect a change. On
// the named devices it checks what a shutdown may have changed.
func (a *Appliance) ProbeAgain(ctx context.Context, was *plan.Layout, devices []string) (*plan.Layout, error) {
	a.known, a.closer = was, devices
	defer func() { a.known, a.closer = nil, nil }()
	var sizes []size.Bytes
	for _, d := range was.Disks() {
		sizes = append(sizes, d.Size)
	}
	return a.Probe(ctx, sizes...)
}

// recall returns the content of a device that is known from the earlier probe.
func (a *Appliance) recall(ctx context.Context, name string) (c plan.Content, known bool, err error) {
	if a.known == nil {
		return c, false, nil
	}
	d, ok := a.known.Find(name)
	if !ok || d.Content.Type == plan.ContentLUKS {
		return c, false, nil
	}
	c = d.Content
	if c.Type == "ntfs" && slices.Contains(a.closer, name) {
		err = a.probeNTFSAgain(ctx, name, &c, d.Size)
	}
	return c, true, err
}

func (a *Appliance) probePartitions(ctx context.Context, l *plan.Layout, d *drive, disk *plan.DiskLayout) error {
	for _, p := range disk.Table.Partitions {
		l.Devices = append(l.Devices, plan.Device{
			Name: disk.Partition(p.Number), Kind: plan.Partition, Parent: disk.Name(),
			Number: p.Number, Start: p.Start, Size: p.Size,
			Type:     table.TypeName(disk.Table.Kind, p.Type),
			Extended: p.Role == table.Extended,
		})
	}
	if slices.ContainsFunc(disk.Table.Problems, func(p table.Problem) bool { return p.Fatal }) {
		return nil // the kernel may find other partitions than the table has
	}
	if err := a.probeEnds(ctx, l, d, disk); err != nil {
		return err
	}
	for _, p := range disk.Table.Partitions {
		name := disk.Partition(p.Number)
		if problem := byType(name, disk.Table.Kind, p.Type); problem != nil {
			d, _ := l.Find(name)
			d.Content = plan.Content{Type: plan.ContentUnknown, Problem: problem}
			continue
		}
		if p.Role == table.Extended || empty[p.Type] {
			continue
		}
		if err := a.probeContent(ctx, l, name); err != nil {
			return err
		}
	}
	return nil
}

// empty has the partition types without content that can be probed.
var empty = map[string]bool{
	table.GPTMSR: true, table.GPTBIOSBoot: true, table.GPTPReP: true, table.MBRPReP: true,
}

// byType refuses a partition whose type says that only Windows can grow its content.
func byType(name string, kind table.Kind, partType string) *plan.Refusal {
	switch {
	case partType == table.GPTLDMMetadata, partType == table.GPTLDMData,
		kind == table.MBR && partType == table.MBRLDM:
		return plan.Refuse(plan.DynamicDisk, name, "%s belongs to a Windows dynamic disk", name)
	case partType == table.GPTStorageSpaces:
		return plan.Refuse(plan.StorageSpaces, name, "%s belongs to a Windows storage pool (Storage Spaces)", name)
	}
	return nil
}

// probeContent adds a device's content to the layout. It is called once for each device;
// the layout's slice may grow meanwhile.
func (a *Appliance) probeContent(ctx context.Context, l *plan.Layout, name string) error {
	content, known, err := a.recall(ctx, name)
	if !known && err == nil {
		content, err = a.identify(ctx, name)
	}
	if err != nil {
		return err
	}
	if !known && content.Problem == nil {
		if look, ok := probes[content.Type]; ok {
			if err := look(a, ctx, name, &content); err != nil {
				return err
			}
		}
	}
	d, _ := l.Find(name)
	d.Content = content
	if content.Type == plan.ContentLUKS {
		return a.probeCrypt(ctx, l, name)
	}
	return nil
}

// identify returns a device's content according to blkid.
func (a *Appliance) identify(ctx context.Context, name string) (plan.Content, error) {
	var tags map[string]string
	err := a.do(ctx, func() (e error) { tags, e = a.g.Blkid(a.path(name)); return })
	if ctx.Err() != nil {
		return plan.Content{}, err
	}
	if err == nil && tags["TYPE"] != "" {
		c := plan.Content{Type: tags["TYPE"], UUID: tags["UUID"]}
		if c.Label, err = a.label(ctx, name, tags["LABEL"]); err != nil {
			return c, err
		}
		if c.Type == "BitLocker" {
			c.Problem = bitLocker(name)
		}
		return c, nil
	}
	if err != nil && tags == nil {
		// blkid exits with 8 if it finds more than one signature (blkid(8)).
		c := plan.Content{Type: plan.ContentUnknown}
		c.Problem, err = a.ambiguous(ctx, name, err)
		return c, err
	}
	return a.identifyByBytes(ctx, name)
}

func bitLocker(name string) *plan.Refusal {
	return plan.Refuse(plan.BitLocker, name, "%s is encrypted with BitLocker", name)
}

// identifyByBytes distinguishes an empty device from unknown content.
func (a *Appliance) identifyByBytes(ctx context.Context, name string) (plan.Content, error) {
	var head []byte
	err := a.do(ctx, func() (e error) { head, e = a.g.Pread_device(a.path(name), 64<<10, 0); return })
	if err != nil {
		return plan.Content{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if len(bytes.TrimLeft(head, "\x00")) == 0 {
		return plan.Content{}, nil
	}
	c := plan.Content{Type: plan.ContentUnknown}
	if len(head) > 516 && string(head[512:516]) == "\x57\x45\x56\x82" {
		c.Type = "bsd" // blkid's name
		c.Problem = plan.Refuse(plan.UnknownContent, name, "%s holds a BSD label with partitions of its own", name)
		return c, nil
	}
	if len(head) > 11 && string(head[3:11]) == "-FVE-FS-" {
		c.Type, c.Problem = "BitLocker", bitLocker(name)
	} else {
		c.Problem = plan.Refuse(plan.UnknownContent, name, "the content of %s is not recognised", name)
	}
	return c, nil
}

// probes has the probes for the types that need more than blkid.
var probes = map[string]func(*Appliance, context.Context, string, *plan.Content) error{
	"ext2": (*Appliance).probeExt, "ext3": (*Appliance).probeExt, "ext4": (*Appliance).probeExt,
	"xfs": (*Appliance).probeXFS, "btrfs": (*Appliance).probeBtrfs, "ntfs": (*Appliance).probeNTFS,
}

// probeCrypt opens the container if there is a key, and probes its content.
func (a *Appliance) probeCrypt(ctx context.Context, l *plan.Layout, name string) error {
	d, _ := l.Find(name)
	problem, err := a.openCrypt(ctx, name, d.Content.UUID)
	if err != nil {
		return err
	}
	if problem != nil {
		d.Content.Problem = problem
		return nil
	}
	inner := cryptName(name)
	n, err := a.deviceSize(ctx, inner)
	if err != nil {
		return err
	}
	d.Content.Size, d.Content.Offset = n, d.Size-n
	l.Devices = append(l.Devices, plan.Device{Name: inner, Kind: plan.Crypt, Parent: name, Size: n})
	return a.probeContent(ctx, l, inner)
}
