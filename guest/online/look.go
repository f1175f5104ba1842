package online

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

// agent returns the running guest, for calls through its agent.
func (p *Plan) agent() *inside.Guest { return inside.New(p.domain.Name, p.domain) }

// lookInside finds out which commands the guest has to run, by probing the guest or, if that is
// not possible, by reading the disk. It refuses what cannot be grown, before anything is sent to
// QEMU.
func (p *Plan) lookInside(ctx context.Context, s domain.Status, o Options) error {
	if p.InGuest == ByNobody {
		return nil
	}
	if s.Agent {
		p.Before, _ = p.domain.FileSystems(ctx) // if the agent cannot list them, the sizes are not checked later
		p.Windows = p.agent().IsWindows(ctx, p.Before)
	}
	look := p.readImage
	switch {
	case p.afterRestart(): // the guest's fstab determines how it will use the disk
	case s.Exec && p.Windows:
		look = p.askWindows
	case s.Exec:
		look = p.ask
	}
	if err := look(ctx, o); err != nil {
		return err
	}
	if p.afterRestart() {
		p.InGuest, p.Commands = ByPerson, nil
	}
	return nil
}

// readImage reads the image of a guest that cannot be probed.
func (p *Plan) readImage(ctx context.Context, o Options) error {
	r := plan.Request{}
	if p.Grow != "" {
		r.Grow = []plan.GrowTarget{{Name: strings.TrimSuffix(p.Grow, `\`)}}
	}
	look := o.look
	if look == nil {
		look = o.lookInAppliance
	}
	layout, err := look(ctx, p.image, r)
	if err != nil {
		return fmt.Errorf("cannot read the content of the disk: %w", err)
	}
	if p.Windows = p.Windows || looksLikeWindows(layout); p.Windows {
		return p.computeWindows([]live.WindowsDisk{live.WindowsFromLayout(layout)})
	}
	return p.compute(live.FromLayout(layout, p.Target.Guest.Disk), "/dev/"+p.Target.Guest.Disk)
}

func (o Options) lookInAppliance(ctx context.Context, img *image.Image, r plan.Request) (*plan.Layout, error) {
	return session.Look(ctx, []session.Source{{Image: img}}, o.Session, o.Cache, session.For(r), nil)
}

// looksLikeWindows reports whether a disk belongs to a Windows: by its operating system, or
// because it only contains NTFS.
func looksLikeWindows(l *plan.Layout) bool {
	if l.OS != nil {
		return l.OS.Type == "windows"
	}
	ntfs := false
	for _, d := range l.Devices {
		if d.Content.Growable() && d.Content.Type != "ntfs" {
			return false
		}
		ntfs = ntfs || d.Content.Type == "ntfs"
	}
	return ntfs
}

// askWindows probes the disk with PowerShell.
func (p *Plan) askWindows(ctx context.Context, _ Options) error {
	all, err := p.agent().WindowsDisks(ctx)
	if err != nil {
		return err
	}
	disks := live.WindowsDisks(all, p.From, p.Disk)
	if len(disks) == 0 {
		return p.noSuchDisk()
	}
	return p.computeWindows(disks)
}

// computeWindows makes the script. If several disks have the size, the script must be
// possible on each of them.
func (p *Plan) computeWindows(disks []live.WindowsDisk) error {
	letter := ""
	for _, disk := range disks {
		part, err := disk.Target(p.Grow, p.To)
		if err != nil {
			return oneOf(err, len(disks))
		}
		letter = part.Letter
	}
	if len(disks) == 1 && letter != live.Unknown {
		p.Letter = letter
	}
	p.noteSeveral(len(disks))
	p.Commands = []live.Command{{What: "fs", Argv: plan.PowerShell(live.WindowsScript(p.To, p.Letter))}}
	return nil
}

// oneOf adds to a refusal that the disk is one of several with the same size.
func oneOf(err error, n int) error {
	r, refused := plan.IsRefusal(err)
	if n < 2 || !refused {
		return err
	}
	return plan.Refuse(r.Reason, r.Subject, "%s (on one of the %d disks of this size in the guest)", r.Text, n)
}

func (p *Plan) noteSeveral(n int) {
	if n > 1 {
		p.Notes = append(p.Notes, fmt.Sprintf("the guest has %d disks of this size: the right one is found when it grows", n))
	}
}

func (p *Plan) noSuchDisk() error {
	return plan.Refuse(plan.NotFound, p.domain.Name, "the guest has no disk of %d bytes, as QEMU has", int64(p.From))
}

// afterRestart reports whether the guest sees the new size only after a restart.
func (p *Plan) afterRestart() bool {
	return p.Sent != "" && live.RebootOnly(p.Target.Guest.Bus)
}

// ask probes the guest. If several disks have the size, the right one is only found when it
// grows, so the growth must be possible on each of them.
func (p *Plan) ask(ctx context.Context, _ Options) error {
	var err error
	if p.Seen, err = p.agent().Probe(ctx); err != nil {
		return err
	}
	disks := p.Seen.Disks(p.From, p.Disk)
	if len(disks) == 0 {
		return p.noSuchDisk()
	}
	for _, disk := range disks {
		if err := p.compute(p.Seen, disk.Path); err != nil {
			return oneOf(err, len(disks))
		}
	}
	if len(disks) > 1 {
		p.Disk.Path, p.Top, p.Commands = "", live.Device{}, nil
	}
	p.noteSeveral(len(disks))
	return nil
}

// compute makes the commands.
func (p *Plan) compute(g live.Guest, disk string) error {
	stack, err := g.Stack(disk, p.Grow)
	if err != nil {
		return err
	}
	p.Disk.Path, p.Top = disk, stack[len(stack)-1]
	p.Commands, err = g.Commands(stack, p.To)
	return err
}

// mounted finds a file system in the agent's list.
func mounted(all []domain.FS, at string) (domain.FS, bool) {
	i := slices.IndexFunc(all, func(f domain.FS) bool { return f.MountPoint == at })
	if i < 0 || at == "" {
		return domain.FS{}, false
	}
	return all[i], true
}
