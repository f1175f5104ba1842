package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
)

// diskAttachCommand is virt-grow disk attach.
type diskAttachCommand struct{ *program }

func (p diskAttachCommand) command() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "the image's `FORMAT`: qcow2 or raw (default: by the name's ending, .qcow2 or .raw; never by content)"},
		&cli.BoolFlag{Name: "shareable", Usage: "let several guests use it, if it is raw", DisableDefaultText: true},
	}, placeFlags(), mountFlags(), windowsFlags(), whereFlags(), changeFlags(false))
	return help(&cli.Command{
		Name: "attach", Usage: "attach a disk to a domain, running or not, and mount it if asked",
		ArgsUsage: "DOMAIN PATH", Flags: flags, Action: p.action,
	}, "The disk is attached to the running guest and added to its persistent definition.\n   If the guest has an agent, the command waits until the guest sees the disk. --mount\n   adds a line to the guest's /etc/fstab (by UUID, with nofail) and mounts the disk. If\n   the guest is off, its fstab is edited on an overlay and committed once verified.",
		"virt-grow disk attach dev7 /img/data.qcow2",
		"virt-grow disk attach dev7 /img/data.qcow2 --mount /data",
		"virt-grow disk attach dev7 /img/db.raw --target vdc --cache none --discard unmap",
		"virt-grow disk attach dev7 /img/data.qcow2 --bus scsi --config",
		"virt-grow disk attach win7 /img/d.qcow2 --initialise ntfs --label Data --drive E")
}

// placeFlags returns the flags for a disk's target, bus and driver in a domain.
func placeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "target", Usage: "the disk's `TARGET` in the domain", DefaultText: "the next free one, for example vdb"},
		&cli.StringFlag{Name: "bus", Usage: "the `BUS`: virtio, scsi, sata or ide", DefaultText: "the one that fits the target, else virtio"},
		&cli.StringFlag{Name: "serial", Usage: "the `SERIAL` number that the guest sees"},
		&cli.StringFlag{Name: "cache", Usage: "the cache `MODE`: " + strings.Join(caches, ", "), DefaultText: "QEMU's"},
		&cli.StringFlag{Name: "discard", Usage: "the discard `MODE`: ignore or unmap", DefaultText: "QEMU's"},
	}
}

// caches are libvirt's cache modes.
var caches = []string{"default", "none", "writethrough", "writeback", "directsync", "unsafe"}

func mountFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mount", Usage: "mount its file system at `DIRECTORY` in the guest, permanently"},
		&cli.StringFlag{Name: "fs-options", Usage: "mount it with `OPTIONS` instead of defaults; nofail is added"},
	}
}

func windowsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "initialise", Usage: "have Windows bring the disk online and, if it is empty, format it: `ntfs`"},
		&cli.StringFlag{Name: "label", Usage: "the `LABEL` of the new file system"},
		&cli.StringFlag{Name: "drive", Usage: "the drive's `LETTER`", DefaultText: "the next free one"},
	}
}

// whereFlags returns the flags that choose which of a domain's definitions is changed.
func whereFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "live", Usage: "change only the running guest", DisableDefaultText: true},
		&cli.BoolFlag{Name: "config", Usage: "change only the persistent definition", DisableDefaultText: true},
		&cli.BoolFlag{Name: "both", Usage: "change both or neither (the default for a running guest)", DisableDefaultText: true},
	}
}

// where reads whereFlags.
func where(c *cli.Context) (device.Scope, error) {
	var given []string
	for _, name := range []string{"live", "config", "both"} {
		if c.Bool(name) {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		return "", usage("--%s and --%s cannot be used together", given[0], given[1])
	}
	return device.Scope(strings.Join(given, "")), nil
}

func (p diskAttachCommand) action(c *cli.Context) error {
	given, err := operands(c, "DOMAIN", "PATH")
	if err != nil {
		return err
	}
	r, err := attachRequest(c)
	if err != nil {
		return err
	}
	r.Path, r.Format, r.Shareable = given[1], c.String("format"), c.Bool("shareable")
	if r.Windows, err = windowsDisk(c); err != nil {
		return err
	}
	return p.onDevices(c, given[0], func(d *domain.Domain, o device.Options) (*guest.Outcome, error) {
		return device.Attach(c.Context, d, r, o)
	})
}

// onDevices runs a job on a domain's devices. It shows beforehand which scripts run
// inside the guest.
func (p *program) onDevices(c *cli.Context, name string, work func(*domain.Domain, device.Options) (*guest.Outcome, error)) error {
	p.subject = name
	d, err := p.domainNamed(c.Context, name)
	if err != nil {
		return err
	}
	defer d.Close()
	var o device.Options
	o.Session, o.Cache = p.session(keyring{}), p.cache()
	return p.run(c, &o.Options.Options, func() (*guest.Outcome, error) {
		listed := o.Listed
		o.Listed = func(steps []plan.Step) {
			_ = view.Scripts(p.human(), p.style(), steps)
			listed(steps)
		}
		return work(d, o)
	})
}

var (
	validTarget = regexp.MustCompile(`^(vd|sd|hd)[a-z]{1,2}$`)
	validSerial = regexp.MustCompile(`^[A-Za-z0-9_.+-]{1,36}$`)
)

// attachRequest reads placeFlags, mountFlags and whereFlags.
func attachRequest(c *cli.Context) (device.AttachRequest, error) {
	r := device.AttachRequest{Target: c.String("target"), Bus: c.String("bus"), Serial: c.String("serial"),
		Cache: c.String("cache"), Discard: c.String("discard"), Mount: c.String("mount"), MountOptions: c.String("fs-options")}
	var err error
	if r.Scope, err = where(c); err != nil {
		return r, err
	}
	for _, flag := range []struct {
		name  string
		words []string
	}{{"bus", []string{"virtio", "scsi", "sata", "ide"}}, {"cache", caches}, {"discard", []string{"ignore", "unmap"}}} {
		if given := c.String(flag.name); given != "" && !slices.Contains(flag.words, given) {
			return r, usage("--%s %s: must be one of %s", flag.name, given, strings.Join(flag.words, ", "))
		}
	}
	switch {
	case r.Target != "" && !validTarget.MatchString(r.Target):
		return r, usage("--target %s: must be a target name, for example vdb, sdb or hdb", r.Target)
	case r.Serial != "" && !validSerial.MatchString(r.Serial):
		return r, usage("--serial %s: must be at most 36 letters, digits and _.+-", r.Serial)
	case r.Mount == "" && r.MountOptions != "":
		return r, usage("--fs-options needs --mount")
	case strings.ContainsAny(r.MountOptions, " \t\n"):
		return r, usage("--fs-options %q: must be options separated by commas, without spaces", r.MountOptions)
	case r.Mount != "":
		if err := device.CheckMountPoint(r.Mount); err != nil {
			return r, usage("--mount: %v", err)
		}
	}
	return r, nil
}

// windowsDisk reads windowsFlags.
func windowsDisk(c *cli.Context) (*plan.WindowsDisk, error) {
	kind, letter := c.String("initialise"), strings.ToUpper(strings.TrimSuffix(c.String("drive"), ":"))
	switch {
	case kind == "":
		return nil, noneOf(c, []string{"label", "drive"}, "needs --initialise")
	case kind != "ntfs":
		return nil, usage("--initialise %s: must be ntfs", kind)
	case c.IsSet("mount"):
		return nil, usage("--initialise is for Windows, --mount for Linux")
	case len(c.String("label")) > 32:
		return nil, usage("--label: an NTFS label has at most 32 characters")
	case letter != "" && (len(letter) != 1 || letter < "D" || letter > "Z"):
		return nil, usage("--drive %s: must be a letter from D to Z", c.String("drive"))
	case strings.ContainsFunc(c.String("label"), func(r rune) bool { return r < ' ' || strings.ContainsRune("\u2018\u2019\u201a\u201b\u007f", r) }):
		return nil, usage("--label %q contains a character that cannot be passed to Windows", c.String("label"))
	}
	return &plan.WindowsDisk{Label: c.String("label"), Letter: letter}, nil
}

// diskAddCommand is virt-grow disk add.
type diskAddCommand struct{ *program }

func (p diskAddCommand) command() *cli.Command {
	flags := slices.Concat(newDiskFlags(), []cli.Flag{
		&cli.StringFlag{Name: "path", Usage: "put the image at `PATH`", DefaultText: "DOMAIN-TARGET.FORMAT in the directory of the domain's first disk"},
	}, placeFlags(), mountFlags(), whereFlags(), changeFlags(false))
	return help(&cli.Command{
		Name: "add", Usage: "create, attach and mount a disk, in one job",
		ArgsUsage: "DOMAIN", Flags: flags, Action: p.action,
	}, "This is disk create, disk attach and --mount in one job: all of it is done, or\n   nothing. A rollback deletes the image again.",
		"virt-grow disk add dev7 --size 20G --fs xfs --mount /data",
		"virt-grow disk add dev7 --size 20G --fs ext4 --lvm vg1/data --mount /data",
		"virt-grow disk add dev7 --size 100G --path /img/db.raw --format raw --target vdc",
		"virt-grow disk add dev7 --size 20G --fs xfs --mount /data --fs-options noatime --json")
}

func (p diskAddCommand) action(c *cli.Context) error {
	name, err := operand(c, "DOMAIN")
	if err != nil {
		return err
	}
	n, err := newDisk(c, c.String("path"))
	if err != nil {
		return err
	}
	r, err := attachRequest(c)
	if err != nil {
		return err
	}
	if r.Mount != "" && n.FS == "" {
		return usage("--mount needs --fs: an empty disk cannot be mounted")
	}
	return p.onDevices(c, name, func(d *domain.Domain, o device.Options) (*guest.Outcome, error) {
		return device.Add(c.Context, d, n, r, o)
	})
}
