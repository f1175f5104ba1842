package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// inspectCommand is virt-grow inspect.
type inspectCommand struct{ *program }

func (p inspectCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "inspect", Usage: "show what is on the disk, and what prevents it from growing",
		ArgsUsage: "TARGET", Flags: append(targetFlags(), diskFlag()), Action: p.action,
	}, "The image is only read.",
		"virt-grow inspect web.qcow2",
		"virt-grow inspect dev7 --disk vda",
		"virt-grow inspect data.img --format raw --json",
		"virt-grow inspect safe.qcow2 --key sda2:file:/root/safe.key")
}

func (p inspectCommand) action(c *cli.Context) error {
	t, err := p.target(c)
	if err != nil {
		return err
	}
	img, err := t.image(c.Context)
	if err != nil {
		return err
	}
	defer img.Close()
	stop := p.looking("inspecting " + img.Path)
	layout, err := session.Look(c.Context, []session.Source{{Image: img.Image}}, p.session(t.keys), p.cache(), session.Always, nil)
	stop()
	if err != nil {
		return err
	}
	in := view.Inspection{Target: img.Target, Layout: layout, Notes: img.Notes, Hint: p.hintFor}
	in.Growth, in.Default = prospects(layout, img.Target)
	if p.json {
		return view.InspectJSON(p.out, in)
	}
	return view.Inspect(p.out, p.style(), in)
}

// prospects asks the planner for every file system whether it could grow on a disk that
// is 1 GiB larger, and which one would grow without --grow.
func prospects(l *plan.Layout, t plan.Target) (growth []view.Growth, chosen string) {
	t.Block = false // plan as if the block device had been grown already
	more := plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: size.GiB}}
	for _, d := range l.Devices {
		if !d.Content.Growable() {
			continue
		}
		r := more
		r.Grow = []plan.GrowTarget{{Name: d.Name, Amount: plan.Amount{Mode: plan.Fill}}}
		g := view.Growth{Device: d.Name, Content: d.Content.Type, Mounted: d.Content.Mounted}
		p, err := plan.Build(l, t, r)
		if err == nil {
			g.Moves = p.Moves()
		}
		g.Blocked, _ = plan.IsRefusal(err)
		if g.Blocked == nil && err != nil {
			g.Blocked = plan.Refuse(plan.UnsupportedLayout, d.Name, "%v", err)
		}
		growth = append(growth, g)
	}
	if p, err := plan.Build(l, t, more); err == nil {
		chosen = p.Grows
	}
	return growth, chosen
}
