package growth

import (
	"context"
	"errors"
	"reflect"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// OpenPlanned opens the disks that a plan was made for. It refuses a plan whose disk or
// domain has changed since, as far as that is visible without an appliance. Closing the disk
// closes the connection to libvirt.
func OpenPlanned(ctx context.Context, p *plan.Plan, scratch string) (*disk.Disk, error) {
	d, err := openPlanned(ctx, p.Target, scratch)
	if err != nil {
		return nil, err
	}
	if err := checkPlanned(p, d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func openPlanned(ctx context.Context, t plan.Target, scratch string) (*disk.Disk, error) {
	if t.Guest == nil {
		return disk.OpenImage(ctx, t.Path, image.Options{Format: t.Format, Sector: t.SectorSize})
	}
	named, err := domain.Open(ctx, t.Guest.Connect, t.Guest.UUID)
	if err != nil {
		return nil, err
	}
	o := optionsOf(t)
	o.Scratch = scratch
	d, err := OpenDomain(ctx, named, o)
	if err != nil {
		return nil, errors.Join(err, named.Close())
	}
	return d, nil
}

// checkPlanned refuses a plan if the image's size or the domain has changed.
func checkPlanned(p *plan.Plan, d *disk.Disk) error {
	if d.Size != p.OldSize {
		return plan.Refuse(plan.StalePlan, d.Path, "%s has %d bytes; it had %d when the plan was made", d.Path, int64(d.Size), int64(p.OldSize))
	}
	if g := p.Target.Guest; g != nil && !reflect.DeepEqual(g, d.Target.Guest) {
		return plan.Refuse(plan.StalePlan, g.Name, "domain %s has changed since the plan was made: its state, its disks or its agent", g.Name)
	}
	return nil
}

// optionsOf returns the options a plan was made with.
func optionsOf(t plan.Target) DomainOptions {
	g := t.Guest
	o := DomainOptions{
		Disk: g.Disk, NoTrial: g.Running && !g.Trial, TrialBoot: !g.Running && g.Trial, Manual: g.Manual,
		HealthCommand: g.Health.Command, Sector: t.SectorSize,
		ShutdownTimeout: ShutdownTimeout, BootTimeout: BootTimeout, Settle: Settle,
		OnlyTarget: g.Trial && len(g.Disks) == len(t.Images()) && len(g.Unprotected) > 0,
		NoAgent:    (g.Running || g.Trial) && !g.Health.Agent,
	}
	if g.Health.Agent {
		o.BootTimeout = plan.Seconds(g.Health.Limit)
	} else {
		o.Settle = plan.Seconds(g.Health.Settle)
	}
	for _, d := range t.More {
		o.More = append(o.More, d.Disk)
	}
	for _, m := range g.Moves {
		o.Bus, o.Moves = m.To, append(o.Moves, m.Disk)
	}
	for _, attempt := range g.Shutdown {
		if attempt.Method == string(domain.ByForce) {
			o.ForceOff = true
			continue
		}
		o.ShutdownTimeout = plan.Seconds(attempt.Seconds)
	}
	return o
}
