package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/online"
	"github.com/virt-grow/virt-grow/plan"
)

// onlineCommand is virt-grow online.
type onlineCommand struct{ *program }

func (p onlineCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "online", Usage: "grow a running guest's disk without an outage, and what is inside",
		ArgsUsage: "DOMAIN", Action: p.action,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "disk", Usage: "the domain's `DISK`: a target (vdb), the path of its source, or the alias of a drive that libvirt does not know; required if there are several"},
			&cli.StringFlag{Name: "size", Usage: "the disk's new `SIZE`: 30G, +10G, or fill (the disk has grown already: use the space)"},
			&cli.StringFlag{Name: "via", Value: "auto", Usage: "how the disk is resized in QEMU: `auto`, libvirt, qmp or hmp"},
			&cli.StringFlag{Name: "in-guest", Value: "auto", Usage: "how the content is grown: `auto`, agent, print (show the commands to type in the guest) or none"},
			&cli.StringFlag{Name: "grow", Usage: "what grows inside: `WHERE` is a mount point, a device, vg/lv or UUID=… as the guest names it, or a drive letter; none grows only the container", DefaultText: "the root or the only file system"},
			&cli.DurationFlag{Name: "guest-timeout", Value: online.Patience, Usage: "wait `TIME` for a command in the guest"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be sent to QEMU and the guest, and send nothing", DisableDefaultText: true},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation", DisableDefaultText: true},
		},
	}, "A disk that has grown while its guest runs cannot be shrunk again: there is no\n   rollback. If the run is interrupted, virt-grow resume finishes it.",
		"virt-grow online dev7 --disk vdb --size 30G",
		"virt-grow online dev7 --disk vdb --size +10G --dry-run",
		"virt-grow online dev7 --disk vda --size +10G --grow / --yes",
		"virt-grow online dev7 --disk drive-virtio-disk1 --size 30G --via hmp",
		"virt-grow online rhel9 --disk vdb --size 30G --in-guest print")
}

func (p onlineCommand) action(c *cli.Context) error {
	o, err := onlineOptions(c)
	if err != nil {
		return err
	}
	name, err := operand(c, "DOMAIN")
	if err != nil {
		return err
	}
	if !c.Bool("dry-run") {
		if err := p.readAgreed(c); err != nil {
			return err
		}
	}
	p.subject, o.Session, o.Cache = name, p.session(keyring{}), p.cache()
	p.offline = offlineCommand(name, o.Disk, c.String("size"))
	made, err := p.planOnline(c.Context, name, o)
	if err != nil {
		return err
	}
	defer made.Close()
	return p.growOnline(c, made)
}

// offlineCommand returns the command that grows the disk while the guest is off.
func offlineCommand(name, disk, size string) string {
	line := "virt-grow grow " + quoted(name)
	if disk != "" {
		line += " --disk " + quoted(disk)
	}
	return line + " --size " + quoted(size)
}

// onlineOptions reads the flags.
func onlineOptions(c *cli.Context) (online.Options, error) {
	o := online.Options{Disk: c.String("disk"), Grow: c.String("grow"), Patience: c.Duration("guest-timeout")}
	var err error
	if o.Size, err = diskSize(c); err != nil {
		return o, err
	}
	via, inside := c.String("via"), c.String("in-guest")
	if !slices.Contains([]string{"auto", "libvirt", "qmp", "hmp"}, via) {
		return o, usage("--via %s: must be auto, libvirt, qmp or hmp", via)
	}
	if !slices.Contains([]string{"auto", "agent", "print", "none"}, inside) {
		return o, usage("--in-guest %s: must be auto, agent, print or none", inside)
	}
	if o.Patience <= 0 {
		return o, usage("--guest-timeout %s: must be longer than zero", o.Patience)
	}
	if via != "auto" {
		o.Via = domain.Channel(via)
	}
	if inside != "auto" {
		o.InGuest = online.InGuest(inside)
	}
	return o, nil
}

// planOnline finds the domain and makes the plan. Closing the plan closes the connection.
func (p onlineCommand) planOnline(ctx context.Context, name string, o online.Options) (*online.Plan, error) {
	d, err := p.domainNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	stop := p.looking("inspecting " + name)
	made, err := online.MakePlan(ctx, d, o)
	stop()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return made, nil
}

// growOnline shows the plan, asks for confirmation, and carries the plan out.
func (p onlineCommand) growOnline(c *cli.Context, made *online.Plan) error {
	ask := !c.Bool("dry-run") && !p.agreed
	if p.json {
		p.events = p.newEvents()
		p.events.Online(onlineText(made))
	}
	if !p.json || ask {
		if err := view.OnlinePlan(p.human(), p.style(), onlineText(made)); err != nil {
			return err
		}
	}
	switch {
	case c.Bool("dry-run"):
		return p.nothingDone(view.Planned)
	case !made.Changes():
		return p.nothingDone(view.Unchanged)
	case ask:
		if err := p.ask(c.Context, "\nContinue? [y/N] ", "y", "yes"); err != nil {
			return err
		}
	}
	if !p.json {
		fmt.Fprintln(p.out)
	}
	var o job.Options
	return p.run(c, &o, func() (*guest.Outcome, error) { return online.Grow(c.Context, made, o) })
}

// nothingDone ends a run that changed nothing.
func (p onlineCommand) nothingDone(outcome view.Outcome) error {
	if p.json {
		p.events.Result(view.ResultEvent{Outcome: outcome})
		return nil
	}
	return view.Results(p.out, p.style(), view.Result{Outcome: outcome})
}

// onlineText returns the plan for the views.
func onlineText(made *online.Plan) view.Online {
	o := view.Online{
		Guest: made.Target.Guest.Name, Disk: made.Target.Guest.Disk, Path: made.Target.Path, Format: made.Target.Format,
		From: made.From, To: made.To, Via: made.Resize.Via, Sent: made.Sent, InGuest: made.InGuest, Notes: made.Notes,
	}
	switch made.InGuest {
	case online.ByAgent:
		o.Commands = made.Lines()
	case online.ByPerson:
		o.ManualSteps = made.ByHand()
	}
	return o
}

// diskSize reads --size.
func diskSize(c *cli.Context) (plan.Amount, error) {
	text := c.String("size")
	if text == "" {
		return plan.Amount{}, usage("%s: --size is missing (30G, +10G, or fill)", c.Command.Name)
	}
	a, err := plan.ParseAmount(text)
	if err == nil && a.Mode == plan.Share {
		err = fmt.Errorf("%q is a percentage; a disk's size must be given in bytes", text)
	}
	if err != nil {
		return a, usage("--size: %v", err)
	}
	return a, nil
}
