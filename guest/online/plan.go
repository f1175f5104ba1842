// Package online grows the disk of a running guest, and makes the guest use the new space. A
// disk in use cannot be shrunk, so the job cannot be undone once the disk has grown.
package online

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Kind names the kind of job.
const Kind = "online"

// Options say how a running guest's disk is grown.
type Options struct {
	// Disk is a target ("vdb"), a source path, or the alias of a drive that libvirt
	// does not know; "" if there is only one.
	Disk string
	Size plan.Amount
	// Via is the channel to QEMU; "" uses libvirt if libvirt knows the disk.
	Via domain.Channel
	// InGuest says who grows the content; "" is the agent if possible, else the user.
	InGuest InGuest
	// Grow names what grows inside; "" is the root or the only file system, "none" the
	// container only.
	Grow string
	// Patience is how long the guest may take for one command.
	Patience time.Duration
	// Session has the options for reading the image if the guest cannot be probed.
	Session session.Options
	// Cache is the inspection cache; may be nil.
	Cache *session.Cache
	// look reads as much of an image as the request needs; nil uses an appliance. Tests
	// replace it.
	look func(context.Context, *image.Image, plan.Request) (*plan.Layout, error)
}

// InGuest says who grows the content of a running guest's disk.
type InGuest string

// The values of InGuest.
const (
	ByAgent  InGuest = "agent"
	ByPerson InGuest = "print" // the commands are shown
	ByNobody InGuest = "none"
)

// Patience is the default of Options.Patience.
const Patience = 10 * time.Minute

// Plan is the plan for growing a running guest's disk.
type Plan struct {
	Target plan.Target   `json:"target"`
	From   size.Bytes    `json:"old_size"`
	To     size.Bytes    `json:"new_size"`
	Resize domain.Resize `json:"resize"`
	// Sent is the command for QEMU; "" if the disk has its size already.
	Sent    string  `json:"sent,omitempty"`
	InGuest InGuest `json:"in_guest"`
	// Windows says that its commands are a script, for the drive of that letter.
	Windows bool   `json:"windows,omitempty"`
	Letter  string `json:"letter,omitempty"`
	Grow    string `json:"grow,omitempty"`
	// Commands are the commands for the guest, as far as they are known beforehand.
	Commands []live.Command `json:"commands,omitempty"`
	// Top is the file system that grows, and where it is mounted.
	Top   live.Device `json:"top,omitzero"`
	Notes []string    `json:"notes,omitempty"`
	// Seconds is how long one command may take.
	Seconds float64 `json:"seconds"`

	// Seen is the guest before the growth, Before its file systems, Disk what identifies
	// the disk there.
	Seen   live.Guest  `json:"seen"`
	Before []domain.FS `json:"before,omitempty"`
	Disk   live.Disk   `json:"disk"`

	domain vm
	image  *image.Image
}

// MakePlan reads the disk and the guest, and refuses what would fail. Closing the plan closes
// the connection.
func MakePlan(ctx context.Context, d *domain.Domain, o Options) (*Plan, error) {
	return makePlan(ctx, vmOf(d), o)
}

func makePlan(ctx context.Context, d vm, o Options) (*Plan, error) {
	if o.Grow == plan.GrowNone {
		o.Grow, o.InGuest = "", ByNobody
	}
	survey, err := d.Status(ctx, o.InGuest != ByNobody)
	if err != nil {
		return nil, err
	}
	if err := checkDomain(d.Name, survey); err != nil {
		return nil, err
	}
	p := &Plan{domain: d, Grow: o.Grow, Seconds: o.Patience.Seconds()}
	if err := p.findDisk(ctx, o); err != nil {
		return nil, err
	}
	if err := p.measure(ctx, o.Size); err != nil {
		return nil, err
	}
	if err := p.chooseInGuest(survey, o.InGuest); err != nil {
		return nil, err
	}
	return p, p.lookInside(ctx, survey, o)
}

// Close ends the connection to libvirt.
func (p *Plan) Close() error { return p.domain.Close() }

// Changes reports whether there is anything to do.
func (p *Plan) Changes() bool { return p.Sent != "" || p.InGuest != ByNobody }

// checkDomain refuses domains whose disks cannot be resized now.
func checkDomain(name string, s domain.Status) error {
	if s.State != domain.Running {
		return plan.Refuse(plan.DomainState, name, "domain %s is not running (%s): use virt-grow grow", name, s.State)
	}
	return disk.CheckResizable(name, s)
}

// findDisk finds the disk in the running definition, or else in QEMU, and its name for the
// channel.
func (p *Plan) findDisk(ctx context.Context, o Options) error {
	def, err := p.domain.Live(ctx)
	if err != nil {
		return err
	}
	chosen, err := disk.Choose(p.domain.Name, def.Disks, o.Disk)
	if r, refused := plan.IsRefusal(err); refused && r.Reason == plan.NotFound && o.Disk != "" && o.Via != domain.ViaLibvirt {
		return p.foreign(ctx, o, r)
	}
	if err != nil {
		return err
	}
	if err := disk.CheckChangeable(p.domain.Name, chosen); err != nil {
		return err
	}
	if chosen.Volume == (domain.Volume{}) {
		// After a trial, the running definition has the path, the persistent one the
		// volume.
		defined, err := p.domain.Read(ctx)
		if err != nil {
			return err
		}
		if same, ok := disk.ByTarget(defined.Disks, chosen.Target); ok && image.SameFile(same.Source, chosen.Source) {
			chosen.Volume = same.Volume
		}
	}
	p.Disk = live.Disk{Serial: chosen.Serial, Address: chosen.Place}
	if p.Resize.Via = o.Via; o.Via == "" {
		p.Resize.Via = domain.ViaLibvirt
	}
	p.Resize.Target = chosen.Target
	if err := p.open(ctx, chosen); err != nil {
		return err
	}
	if p.Resize.Via == domain.ViaLibvirt {
		return nil
	}
	drives, err := p.domain.Drives(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(drives, func(v domain.Drive) bool {
		return image.SameFile(v.File, chosen.Source) || isDevice(v.Device, chosen.Alias)
	})
	if i < 0 {
		return fmt.Errorf("QEMU has no drive with %s", chosen.Source)
	}
	p.Resize.Node = drives[i].Node
	return p.named(ctx, o.Via)
}

// isDevice compares QEMU's path of a device with libvirt's alias for it.
func isDevice(path, alias string) bool {
	return alias != "" && slices.Contains(strings.Split(path, "/"), alias)
}

// foreign finds a disk that libvirt does not know (qemu:commandline).
func (p *Plan) foreign(ctx context.Context, o Options, unknown error) error {
	drives, err := p.domain.Drives(ctx)
	if err != nil {
		return errors.Join(unknown, err)
	}
	i := slices.IndexFunc(drives, func(v domain.Drive) bool { return v.Alias == o.Disk || image.SameFile(v.File, o.Disk) })
	if i < 0 {
		return unknown
	}
	v := drives[i]
	name := v.Alias
	if name == "" {
		name = v.Node
	}
	def := domain.Disk{Target: name, Device: "disk", Kind: "file", Source: v.File, Format: v.Format, Fixed: v.ReadOnly}
	if err := disk.CheckChangeable(p.domain.Name, def); err != nil {
		return err
	}
	if p.Resize.Via = o.Via; o.Via == "" {
		p.Resize.Via = domain.ViaQMP
	}
	p.Resize.Target, p.Resize.Node = name, v.Node
	if err := p.open(ctx, def); err != nil {
		return err
	}
	return p.named(ctx, o.Via)
}

// named finds HMP's name of the disk, by its file.
func (p *Plan) named(ctx context.Context, via domain.Channel) error {
	if via != domain.ViaHMP {
		return nil
	}
	drives, err := p.domain.HMPDrives(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(drives, func(v domain.Drive) bool { return image.SameFile(v.File, p.image.Path) })
	if i < 0 {
		return plan.Refuse(plan.HMPUnnamed, p.image.Path, "the monitor's info block lists no drive with %s", p.image.Path)
	}
	if drives[i].Alias == "" {
		return plan.Refuse(plan.HMPUnnamed, p.image.Path, "HMP cannot name %s of %s: it was made with -blockdev (node %s), which HMP's block_resize does not find", p.Resize.Target, p.domain.Name, drives[i].Node)
	}
	p.Resize.Alias = drives[i].Alias
	return nil
}

// open opens the image, which the guest uses.
func (p *Plan) open(ctx context.Context, def domain.Disk) error {
	img, err := image.Open(ctx, def.Source, image.Options{Format: def.Format, Sector: size.Bytes(def.Sector), Access: block.Shared})
	if err != nil {
		return err
	}
	if err := img.CheckBitmaps(ctx, p.domain); err != nil {
		return err
	}
	img.Target.Guest = &plan.Guest{Connect: p.domain.URI(), Name: p.domain.Name, UUID: p.domain.UUID, Disk: def.Target, Bus: def.Bus, Pool: def.Volume.Pool, Running: true}
	p.image, p.Target = img, img.Target
	return disk.CheckNotShared(ctx, p.domain, img.Path)
}

// measure sets the old and the new size of the disk. A block device must already have its new
// size.
func (p *Plan) measure(ctx context.Context, amount plan.Amount) error {
	now, err := p.domain.SizeSeen(ctx, p.Resize)
	if err != nil {
		return err
	}
	p.From = now
	if p.To, err = (plan.Request{Size: amount}).NewSize(now); err != nil {
		return err
	}
	if p.image.Block {
		if amount.Mode != plan.Fill {
			return plan.Refuse(plan.DiskUnsupported, p.image.Path, "%s is a block device (%s): grow it first, and then use --size fill", p.image.Path, p.image.Size)
		}
		p.To = max(now, p.image.Size)
	}
	if err := p.image.CheckSize(ctx, p.To); err != nil {
		return err
	}
	p.Resize.To = p.To
	if p.To > p.From {
		p.Sent = p.Resize.Sent()
	}
	return nil
}

// chooseInGuest decides who grows the content.
func (p *Plan) chooseInGuest(s domain.Status, asked InGuest) error {
	why := ""
	switch {
	case !s.Channel:
		why = fmt.Sprintf("%s has no channel for a guest agent", p.domain.Name)
	case !s.Agent:
		why = fmt.Sprintf("the guest agent of %s does not answer", p.domain.Name)
	case !s.Exec:
		why = fmt.Sprintf("the guest agent of %s may not run programs", p.domain.Name)
	}
	switch {
	case asked == ByAgent && why != "":
		return plan.Refuse(plan.NoAgent, p.domain.Name, "--in-guest agent: %s", why)
	case asked != "":
		p.InGuest = asked
	case why != "":
		p.InGuest = ByPerson
		p.Notes = append(p.Notes, why+": what is inside is left to you")
	default:
		p.InGuest = ByAgent
	}
	return nil
}
