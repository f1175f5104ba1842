package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/growth"
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
	o := growth.DomainOptions{
		NoTrial: c.Bool("no-trial"), TrialBoot: c.Bool("trial-boot"),
		ForceOff: c.Bool("force-off"), NoAgent: c.Bool("no-agent"), HealthCommand: c.String("health-cmd"),
		ShutdownTimeout: c.Duration("shutdown-timeout"), BootTimeout: c.Duration("boot-timeout"), Settle: c.Duration("settle"),
		Manual: c.String("accept") == "manual", OnlyTarget: c.String("trial-disks") == "target",
	}
	for i, d := range disks {
		if i == 0 {
			o.Disk = d.name
		} else {
			o.More = append(o.More, d.name)
		}
	}
	for name, words := range choices {
		if given := c.String(name); given != "" && given != words[0] && given != words[1] {
			return o, usage("--%s %s: must be %s or %s", name, given, words[0], words[1])
		}
	}
	for _, name := range []string{"shutdown-timeout", "boot-timeout", "settle"} {
		if c.Duration(name) < 0 {
			return o, usage("--%s %s: must not be negative", name, c.Duration(name))
		}
	}
	switch {
	case o.NoTrial && o.TrialBoot:
		return o, usage("--no-trial and --trial-boot cannot be used together")
	case o.NoTrial && o.Manual:
		return o, usage("--accept manual needs the trial: it cannot be used with --no-trial")
	}
	return o, nil
}

var choices = map[string][2]string{"accept": {"auto", "manual"}, "trial-disks": {"all", "target"}}

// outage reads the window and the hooks.
func outage(c *cli.Context, o *growth.Options) error {
	o.Hooks = growth.Hooks{Pre: c.String("pre"), Post: c.String("post"), OnFailure: c.String("on-failure")}
	if o.Window.Max = c.Duration("max-outage"); o.Window.Max < 0 {
		return usage("--max-outage %s: must not be negative", o.Window.Max)
	}
	var err error
	o.Window.End, err = windowEnd(c.String("window-end"), now())
	return err
}

// windowEnd reads a time of day, which means its next occurrence, or a full time stamp.
func windowEnd(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if end, err := time.Parse(time.RFC3339, text); err == nil {
		return end, nil
	}
	clock, err := time.ParseInLocation("15:04", text, now.Location())
	if err != nil {
		return time.Time{}, usage("--window-end %s: must be a time of day (04:00) or a time stamp (2026-01-31T04:00:00Z)", text)
	}
	end := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
	if !end.After(now) {
		end = end.AddDate(0, 0, 1)
	}
	return end, nil
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
	conn, err := domain.Connect(p.connect)
	if err != nil {
		return nil, err
	}
	d, err := conn.Find(ctx, name)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d, nil
}
