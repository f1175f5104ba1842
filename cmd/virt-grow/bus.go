package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/bus"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// busCommand is virt-grow bus.
type busCommand struct{ *program }

// buses are the buses that a disk can be moved to.
var buses = []string{bus.Virtio, bus.SCSI, bus.SATA}

func (p busCommand) command() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "the new `BUS`: virtio, scsi (virtio-scsi) or sata"},
		&cli.BoolFlag{Name: "even-unbootable", Usage: "move the disk although the guest may not start from the new bus: the trial decides, and a guest that does not start goes back to the old bus", DisableDefaultText: true},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "change nothing, and write the plan to `FILE` for apply; - is standard output"},
		&cli.BoolFlag{Name: "force", Usage: "let -o replace a file that is not a plan", DisableDefaultText: true},
	}, requestFlags(), runFlags(), targetFlags(), domainFlags(), outageFlags())
	// A move always has a trial, with overlays of all disks. The image's format is in the
	// domain's definition.
	without := []string{"no-trial", "trial-boot", "trial-disks", "keep-overlay", "format"}
	flags = slices.DeleteFunc(flags, func(f cli.Flag) bool { return slices.Contains(without, f.Names()[0]) })
	return help(&cli.Command{
		Name: "bus", Usage: "move a disk to virtio, scsi or sata, with a trial and a way back",
		ArgsUsage: "DOMAIN", Flags: flags, Action: p.action,
	}, "It is checked before whether the guest has the driver of the new bus when it starts.\n   The guest is shut down, and started for a trial with the disk on the new bus and on an\n   overlay. If it does not pass its health check, it is started again on the old bus, and\n   definition and images are as before. The disk may grow in the same outage.",
		"virt-grow bus old7 --disk hda --to virtio",
		"virt-grow bus old7 --disk hda --to virtio --dry-run",
		"virt-grow bus old7 --disk hda --to scsi --size +20G --grow /",
		"virt-grow bus old7 --disk hda --disk hdb --to virtio",
		"virt-grow bus old7 --disk hda --to virtio --accept manual --window-end 04:00",
		"virt-grow bus old7 --disk hda --to virtio -o old7.plan.json")
}

func (p busCommand) action(c *cli.Context) error {
	to := c.String("to")
	if !slices.Contains(buses, to) {
		return usage("--to %s: must be virtio, scsi or sata", to)
	}
	r, err := busRequest(c, to)
	if err != nil {
		return err
	}
	output := c.String("output")
	t, err := p.target(c)
	if err != nil {
		return err
	}
	if t.domain == "" {
		return usage("%s is an image: only a domain's disk has a bus", t.path)
	}
	t.treat.Bus = to
	var o growth.Options
	if output != "" {
		err = planOutput(output, "", c.Bool("force")).check()
	} else if o, err = p.growthOptions(c); err == nil {
		err = outage(c, &o)
	}
	if err != nil {
		return err
	}
	img, err := t.image(c.Context)
	if err != nil {
		return err
	}
	defer img.Close()
	if r, err = growth.ForMove(r, img, t.treat.Names()); err != nil {
		return err
	}
	o.Session = p.session(t.keys)
	if output != "" {
		return p.planOnly(c, r, img, o, output)
	}
	return p.runGrowth(c, &o, func() (*guest.Outcome, error) {
		if isMoved(img, r) {
			text := fmt.Sprintf("%s of %s is on %s already", img.Def.Target, t.domain, to)
			return &guest.Outcome{State: journal.Cancelled, Messages: []string{text}}, nil
		}
		return growth.Grow(c.Context, img, r, o)
	})
}

// busRequest reads the request. Without a size, no disk grows.
func busRequest(c *cli.Context, to string) (plan.Request, error) {
	move := &plan.BusRequest{To: to, EvenUnbootable: c.Bool("even-unbootable")}
	disks, err := disksOf(c)
	if err != nil {
		return plan.Request{}, err
	}
	sized := c.IsSet("size") || slices.ContainsFunc(disks, func(d sizedDisk) bool { return d.text != "" })
	if sized {
		r, err := request(c)
		r.Bus = move
		return r, err
	}
	for _, flag := range []string{"grow", "delete", "partition-only", "even-unknown"} {
		if c.IsSet(flag) {
			return plan.Request{}, usage("--%s needs --size (30G, +10G, or fill)", flag)
		}
	}
	return plan.Request{Size: plan.Amount{Mode: plan.Keep}, Grow: []plan.GrowTarget{{Name: plan.GrowNone, Amount: plan.Amount{Mode: plan.Fill}}}, Bus: move}, nil
}

// isMoved reports whether the disk is on the bus already, and nothing is to grow.
func isMoved(d *disk.Disk, r plan.Request) bool {
	return len(d.Target.Guest.Moves) == 0 && r.Size.Mode == plan.Keep && len(r.More) == 0
}

// planOnly makes the plan, shows it, and writes it to a file.
func (p busCommand) planOnly(c *cli.Context, r plan.Request, img *disk.Disk, o growth.Options, output string) error {
	stop := p.looking("planning for " + img.Path)
	o.Timings, o.Cache = p.timings(), p.cache()
	made, err := growth.MakePlan(c.Context, img, r, o)
	stop()
	if err != nil {
		return err
	}
	return planCommand(p).showPlan(c, view.PlanText{Plan: made}, output)
}
