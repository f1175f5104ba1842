package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// domainFlags returns the flags for domains that become part of a plan.
func domainFlags() []cli.Flag {
	return []cli.Flag{
		disksFlag(),
		&cli.StringFlag{Name: "accept", Value: "auto", Usage: "who decides after a passed health check: `auto`, or manual (virt-grow accept)"},
		&cli.BoolFlag{Name: "no-trial", Usage: "commit while the guest is off, without a trial; no rollback is possible once it has started", DisableDefaultText: true},
		&cli.BoolFlag{Name: "trial-boot", Usage: "run a trial for a guest that is off, too", DisableDefaultText: true},
		&cli.StringFlag{Name: "trial-disks", Value: "all", Usage: "which disks get an overlay during the trial: `all` writable disks, or target (only the disk that grows)"},
		&cli.DurationFlag{Name: "shutdown-timeout", Value: growth.ShutdownTimeout, Usage: "wait `TIME` for the guest to stop, for each shutdown method"},
		&cli.DurationFlag{Name: "boot-timeout", Value: growth.BootTimeout, Usage: "wait `TIME` for the guest agent after the start"},
		&cli.DurationFlag{Name: "settle", Value: growth.Settle, Usage: "watch a guest without an agent for `TIME` after the start"},
		&cli.BoolFlag{Name: "force-off", Usage: "power the guest off (virsh destroy) if it does not shut down in time", DisableDefaultText: true},
		&cli.BoolFlag{Name: "no-agent", Usage: "do not use the guest agent", DisableDefaultText: true},
		&cli.StringFlag{Name: "health-cmd", Usage: "run `COMMAND` on this host as part of the health check; it must succeed"},
	}
}

func diskFlag() cli.Flag {
	return &cli.StringFlag{Name: "disk", Usage: "the domain's `DISK`: a target (vda) or the path of its source; required if there are several"}
}

// outageFlags returns the flags for domains that hold for one run.
func outageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "window-end", Usage: "the guest must be back by `TIME`: 04:00, or 2026-01-31T04:00:00Z"},
		&cli.DurationFlag{Name: "max-outage", Usage: "the outage may last `TIME` at most, for example 10m", DefaultText: "no limit"},
		&cli.StringFlag{Name: "pre", Usage: "run `COMMAND` before the outage; if it fails, the guest is not shut down"},
		&cli.StringFlag{Name: "post", Usage: "run `COMMAND` after success"},
		&cli.StringFlag{Name: "on-failure", Usage: "run `COMMAND` after a failure, once everything is undone"},
	}
}

// onlyForDomains are the flags that cannot be used for an image without a domain.
var onlyForDomains = []string{"disk", "accept", "no-trial", "trial-boot", "trial-disks", "shutdown-timeout",
	"boot-timeout", "settle", "force-off", "no-agent", "health-cmd", "window-end", "max-outage", "pre", "post", "on-failure", "quiesce", "max-scratch"}

// domainOptions reads domainFlags.
func domainOptions(c *cli.Context) (growth.DomainOptions, error) {
	disks, err := disksOf(c)
	if err != nil {
		return growth.DomainOptions{}, err
	}
	t, err := treatment(c)
	if err != nil {
		return growth.DomainOptions{}, err
	}
	var names []string
	for _, d := range disks {
		names = append(names, d.name)
	}
	o := growth.ForDomain(t, names...)
	switch {
	case o.NoTrial && o.TrialBoot:
		return o, usage("--no-trial and --trial-boot cannot be used together")
	case o.NoTrial && o.Manual:
		return o, usage("--accept manual needs the trial: it cannot be used with --no-trial")
	}
	return o, nil
}

// treatment reads the flags that an inventory has as keys, too.
func treatment(c *cli.Context) (inventory.Treatment, error) {
	t := inventory.Treatment{
		Accept: c.String("accept"), Check: plan.CheckMode(c.String("check")), NTFS: plan.NTFSWay(c.String("ntfs")),
		Trial: !c.Bool("no-trial"), TrialBoot: c.Bool("trial-boot"), TrialDisks: c.String("trial-disks"),
		NoMove: c.Bool("no-move"), NoAgent: c.Bool("no-agent"), ForceOff: c.Bool("force-off"), HealthCommand: c.String("health-cmd"),
		Hooks: inventory.Hooks{Pre: c.String("pre"), Post: c.String("post"), OnFailure: c.String("on-failure")},
	}
	for name, words := range choices {
		if given := c.String(name); given != "" && given != words[0] && given != words[1] {
			return t, usage("--%s %s: must be %s or %s", name, given, words[0], words[1])
		}
	}
	for name, to := range map[string]*inventory.Duration{
		"shutdown-timeout": &t.ShutdownTimeout, "boot-timeout": &t.BootTimeout, "settle": &t.Settle,
		"max-outage": &t.MaxOutage, "check-timeout": &t.CheckTimeout,
	} {
		given := c.Duration(name)
		if given < 0 {
			return t, usage("--%s %s: must not be negative", name, given)
		}
		*to = inventory.Duration(given)
	}
	var err error
	if t.ScratchDir, err = scratchDir(c); err != nil {
		return t, err
	}
	t.SectorSize, err = sectorSize(c.String("sector-size"))
	return t, err
}

var choices = map[string][2]string{"accept": {"auto", "manual"}, "trial-disks": {"all", "target"}}

// outage reads the window and the hooks.
func outage(c *cli.Context, o *growth.Options) error {
	t, err := treatment(c)
	if err != nil {
		return err
	}
	o.Treat(t)
	o.Window.End, err = windowEnd(c.String("window-end"), now())
	return err
}

// windowEnd reads a time of day, which means its next occurrence, or a full time stamp.
func windowEnd(text string, now time.Time) (time.Time, error) {
	end, err := inventory.At(text, now)
	if err != nil {
		err = usage("--window-end %v", err)
	}
	return end, err
}

// openDomain finds a domain's disk. Closing the disk closes the connection.
func (p *program) openDomain(ctx context.Context, name string, o growth.DomainOptions) (*disk.Disk, error) {
	d, err := p.domainNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	img, err := growth.OpenDomain(ctx, d, o)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return img, nil
}

// domainNamed connects to libvirt and finds a domain. Closing the domain closes the
// connection.
func (p *program) domainNamed(ctx context.Context, name string) (*domain.Domain, error) {
	return domain.Open(ctx, p.connect, name)
}
