package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// Probe finds out what is on the disk, whose guest-visible size is disk: the
// gate may be bigger already. It opens LUKS containers that there is a key for
// and activates volume groups. A file system with an unclean journal gets it
// replayed, as at the next boot; so Probe wants an overlay below.
func (a *Appliance) Probe(ctx context.Context, disk size.Bytes) (*plan.Layout, error) {
	l := &plan.Layout{Size: disk, Sector: a.sector}
	t, err := table.Read(a.reader(ctx), disk, a.sector)
	switch {
	case errors.Is(err, table.ErrNoTable):
		a.disk = disk
		l.Devices = []plan.Device{{Name: "sda", Kind: plan.Disk, Size: disk}}
		if err := a.probeEnds(ctx, l); err != nil {
			return nil, err
		}
		if err := a.probeContent(ctx, l, "sda"); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	default:
		l.Table, a.table, a.disk = t, t, disk
		if err := a.probePartitions(ctx, l); err != nil {
			return nil, err
		}
	}
	if err := a.probeGroups(ctx, l); err != nil {
		return nil, err
	}
	return l, a.probeHeld(ctx, l)
}

// ProbeAgain is Probe for a disk that was probed a moment ago, when its guest
// still ran. The table and the volume groups are read again; of what the
// devices hold it is taken for granted that it is still there and of the same
// size: the steps that check and grow it find out otherwise. What a guest's end
// may have changed is looked at on the devices named.
func (a *Appliance) ProbeAgain(ctx context.Context, was *plan.Layout, devices []string) (*plan.Layout, error) {
	a.known, a.closer = was, devices
	defer func() { a.known, a.closer = nil, nil }()
	return a.Probe(ctx, was.Size)
}

// recall is probeContent for a device that is known.
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

func (a *Appliance) probePartitions(ctx context.Context, l *plan.Layout) error {
	l.Devices = append(l.Devices, plan.Device{Name: "sda", Kind: plan.Disk, Size: l.Size})
	for _, p := range l.Table.Partitions {
		l.Devices = append(l.Devices, plan.Device{
			Name: fmt.Sprintf("sda%d", p.Number), Kind: plan.Partition, Parent: "sda",
			Number: p.Number, Start: p.Start, Size: p.Size,
			Type:     table.TypeName(l.Table.Kind, p.Type),
			Extended: p.Role == table.Extended,
		})
	}
	if slices.ContainsFunc(l.Table.Problems, func(p table.Problem) bool { return p.Fatal }) {
		return nil // the kernel may see other partitions than the table says
	}
	if err := a.probeEnds(ctx, l); err != nil {
		return err
	}
	for _, p := range l.Table.Partitions {
		name := fmt.Sprintf("sda%d", p.Number)
		if problem := byType(name, l.Table.Kind, p.Type); problem != nil {
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

// empty are partition types that hold nothing a probe could find.
var empty = map[string]bool{
	table.GPTMSR: true, table.GPTBIOSBoot: true, table.GPTPReP: true, table.MBRPReP: true,
}

// byType refuses what the partition's type says is part of something that only
// Windows can grow.
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

// probeContent fills in what a device holds. It is called once a device; the
// layout's slice may grow while it runs.
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

// identify asks blkid what is there.
func (a *Appliance) identify(ctx context.Context, name string) (plan.Content, error) {
	var tags map[string]string
	err := a.do(ctx, func() (e error) { tags, e = a.g.Blkid(path(name)); return })
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
		// blkid exits with 8 when it finds more than one signature
		// (blkid(8)): nobody can say what it is.
		c := plan.Content{Type: plan.ContentUnknown}
		c.Problem, err = a.ambiguous(ctx, name, err)
		return c, err
	}
	return a.identifyByBytes(ctx, name)
}

func bitLocker(name string) *plan.Refusal {
	return plan.Refuse(plan.BitLocker, name, "%s is encrypted with BitLocker", name)
}

// identifyByBytes tells nothing from something unknown.
func (a *Appliance) identifyByBytes(ctx context.Context, name string) (plan.Content, error) {
	var head []byte
	err := a.do(ctx, func() (e error) { head, e = a.g.Pread_device(path(name), 64<<10, 0); return })
	if err != nil {
		return plan.Content{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if len(bytes.TrimLeft(head, "\x00")) == 0 {
		return plan.Content{}, nil
	}
	c := plan.Content{Type: plan.ContentUnknown}
	if len(head) > 516 && string(head[512:516]) == "\x57\x45\x56\x82" {
		c.Type = "bsd" // blkid's word for it
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

// probes look closer at what blkid named.
var probes = map[string]func(*Appliance, context.Context, string, *plan.Content) error{
	"ext2": (*Appliance).probeExt, "ext3": (*Appliance).probeExt, "ext4": (*Appliance).probeExt,
	"xfs": (*Appliance).probeXFS, "btrfs": (*Appliance).probeBtrfs, "ntfs": (*Appliance).probeNTFS,
}

// probeCrypt opens the container when there is a key, and looks inside.
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

// nameOf turns the appliance's path of a device into our name for it.
func nameOf(devicePath string) string {
	devicePath = strings.TrimPrefix(devicePath, "/dev/mapper/")
	return strings.TrimPrefix(devicePath, "/dev/")
}
