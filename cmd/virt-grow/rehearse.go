package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// rehearseCommand is virt-grow rehearse.
type rehearseCommand struct{ *program }

func (p rehearseCommand) command() *cli.Command {
	flags := slices.Concat(requestFlags(), []cli.Flag{scratchFlag()}, rehearseFlags(), targetFlags(), domainFlags())
	return help(&cli.Command{
		Name: "rehearse", Usage: "try the whole edit on a snapshot of the disk, while the guest keeps running",
		ArgsUsage: "TARGET", Flags: flags, Action: p.action,
	}, "The edit is made on a temporary overlay on a snapshot of the disk. The result shows\n   whether the edit works, how long each step takes, and how long the outage will be.\n   Nothing is changed, and nothing is left behind.",
		"virt-grow rehearse dev7 --disk vda --size +10G",
		"virt-grow rehearse dev7 --size +10G --grow /data --quiesce yes",
		"virt-grow plan dev7 --size +10G --rehearse -o dev7.plan.json",
		"virt-grow rehearse web.qcow2 --size +10G")
}

// rehearseFlags returns the flags for the snapshot of a running guest.
func rehearseFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "quiesce", Value: "auto", Usage: "freeze the guest's file systems while the snapshot is taken: `auto` (if its agent can), yes or no"},
		&cli.StringFlag{Name: "max-scratch", Usage: "stop if the guest overwrites `SIZE` of the disk in the meantime", DefaultText: "half of the free space"},
	}
}

func (p rehearseCommand) action(c *cli.Context) error {
	return p.withRehearsal(c, func(o *growth.Options, work func() (*growth.Rehearsal, error)) error {
		o.Planned = func(made *plan.Plan) { p.showPlanned(o, made) }
		stop := p.watch(&o.Options)
		out, err := work()
		stop()
		if err != nil {
			return err
		}
		return p.rehearsed(out)
	})
}

// withRehearsal reads the command line, and calls run.
func (p *program) withRehearsal(c *cli.Context, run func(*growth.Options, func() (*growth.Rehearsal, error)) error) error {
	r, err := request(c)
	if err != nil {
		return err
	}
	q, err := p.rehearseOptions(c)
	if err != nil {
		return err
	}
	t, err := p.target(c)
	if err != nil {
		return err
	}
	o := growth.Options{Options: job.Options{Store: p.store(), Timings: p.timings(), Fault: faults()}, Cache: p.cache()}
	if o.Scratch, err = scratchDir(c); err != nil {
		return err
	}
	img, err := t.image(c.Context)
	if err != nil {
		return err
	}
	defer img.Close()
	o.Session = p.session(t.keys)
	return run(&o, func() (*growth.Rehearsal, error) {
		return growth.WithGroup(c.Context, img, t.treat, o.Session, func(d *disk.Disk) (*growth.Rehearsal, error) {
			return growth.Rehearse(c.Context, d, growth.ByTarget(r, d), o, q)
		})
	})
}

func (p *program) rehearseOptions(c *cli.Context) (growth.RehearseOptions, error) {
	q := growth.RehearseOptions{Quiesce: c.String("quiesce"), Guard: guardFrozen}
	if !slices.Contains([]string{"auto", "yes", "no"}, q.Quiesce) {
		return q, usage("--quiesce %s: must be auto, yes or no", q.Quiesce)
	}
	if text := c.String("max-scratch"); text != "" {
		var err error
		if q.MaxScratch, err = size.Parse(text); err != nil {
			return q, usage("--max-scratch: %v", err)
		}
	}
	return q, nil
}

// rehearsed shows the result.
func (p rehearseCommand) rehearsed(out *growth.Rehearsal) error {
	if p.json {
		p.events.Rehearsed(p.rehearsalEvent(out))
		return nil
	}
	fmt.Fprintln(p.out)
	return view.Rehearsal(p.out, p.style(), p.rehearsalEvent(out), out.Plan)
}

func (p *program) rehearsalEvent(out *growth.Rehearsal) view.RehearsalEvent {
	e := view.RehearsalEvent{Job: p.job, Outcome: view.Rehearsed, Seconds: out.Took.Seconds(), Frozen: out.Frozen.Seconds(),
		FromSnapshot: out.FromSnapshot, Scratch: out.Scratch, LeftOut: out.LeftOut}
	if !out.Plan.Changes() {
		e.Outcome = view.Unchanged
		return e
	}
	e.Edit, e.Outage, e.Reserve = out.Plan.EditTime().Seconds(), out.Plan.Outage().Seconds(), out.Plan.Reserve().Seconds()
	return e
}

// thawCommand is virt-grow thaw.
type thawCommand struct{ *program }

// thawCommand returns the hidden command that guardFrozen starts.
func (p thawCommand) command() *cli.Command {
	return &cli.Command{Name: thaw, Hidden: true, ArgsUsage: "DOMAIN", Action: p.action}
}

const thaw = "thaw-unless-told"

// guardFrozen starts a second process of this program, which thaws the guest's file
// systems when this process dies: a guest must not stay frozen, even after kill -9. end
// ends the second process; with thawed false, that process thaws the guest first.
func guardFrozen(uri, uuid string) (end func(thawed bool), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "--connect", uri, thaw, uuid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not end it
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func(thawed bool) {
		if thawed {
			_, _ = io.WriteString(in, "thawed\n")
		}
		_ = in.Close()
		_ = cmd.Wait()
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		end(true)
		return nil, fmt.Errorf("cannot start the process that would thaw the guest: %w", err)
	}
	return end, nil
}

// action thaws a guest when standard input ends without a line. It prints a line
// when it has connected to libvirt.
func (p thawCommand) action(c *cli.Context) error {
	name, err := operand(c, "DOMAIN")
	if err != nil {
		return err
	}
	d, err := p.domainNamed(c.Context, name)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.out, "ready")
	if _, err := bufio.NewReader(p.in).ReadString('\n'); err == nil {
		return d.Close()
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context), time.Minute)
	defer stop()
	for {
		if err = d.Thaw(ctx); err == nil || domain.Sleep(ctx, time.Second) != nil {
			return errors.Join(err, d.Close())
		}
	}
}
