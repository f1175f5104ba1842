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

func (p *program) diskAttachCommand() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "the image's `FORMAT`: qcow2 or raw (default: by the name's .qcow2 or .raw; never by content)"},
		&cli.BoolFlag{Name: "shareable", Usage: "let several guests have it, if it is raw", DisableDefaultText: true},
	}, placeFlags(), mountFlags(), windowsFlags(), whereFlags())
	return help(&cli.Command{
		Name: "attach", Usage: "give a domain a disk, running or not, and have it mounted",
		ArgsUsage: "DOMAIN PATH", Flags: flags, Action: p.diskAttach,
	}, "The disk goes into the running guest and its persistent definition. With an agent\n   it is waited for until the guest has it. --mount adds a line to the guest's\n   /etc/fstab by UUID, with nofail, and mounts it; of a guest that is off, the fstab\n   is edited on an overlay that is committed when it is proved.",
		"virt-grow disk attach dev7 /img/data.qcow2",
		"virt-grow disk attach dev7 /img/data.qcow2 --mount /data",
		"virt-grow disk attach dev7 /img/db.raw --target vdc --cache none --discard unmap",
		"virt-grow disk attach dev7 /img/data.qcow2 --bus scsi --config",
		"virt-grow disk attach win7 /img/d.qcow2 --initialise ntfs --label Data --drive E")
}

// placeFlags say where and how a domain gets a disk.
func placeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "target", Usage: "the disk's `TARGET` in the domain", DefaultText: "the next free one, as vdb"},
		&cli.StringFlag{Name: "bus", Usage: "the `BUS`: virtio, scsi, sata or ide", DefaultText: "by the target, else virtio"},
		&cli.StringFlag{Name: "serial", Usage: "the `SERIAL` number that the guest sees"},
		&cli.StringFlag{Name: "cache", Usage: "the cache `MODE`: " + strings.Join(caches, ", "), DefaultText: "QEMU's"},
		&cli.StringFlag{Name: "discard", Usage: "the discard `MODE`: ignore or unmap", DefaultText: "QEMU's"},
	}
}

// caches are libvirt's cache modes.
var caches = []string{"default", "none", "writethrough", "writeback", "directsync", "unsafe"}

func mountFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mount", Usage: "mount its file system at `FOLDER` in the guest, from now on"},
		&cli.StringFlag{Name: "fs-options", Usage: "mount it with `OPTIONS` instead of defaults; nofail is added"},
	}
}

func windowsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "initialise", Usage: "have Windows bring it online and, if it is empty, format it: `ntfs`"},
		&cli.StringFlag{Name: "label", Usage: "the `LABEL` of that"},
		&cli.StringFlag{Name: "drive", Usage: "the drive's `LETTER`", DefaultText: "the next free one"},
	}
}

// whereFlags say which of a domain's definitions is changed.
func whereFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "live", Usage: "change the running guest alone", DisableDefaultText: true},
		&cli.BoolFlag{Name: "config", Usage: "change the persistent definition alone", DisableDefaultText: true},
		&cli.BoolFlag{Name: "both", Usage: "change both, or neither (default: both, of a guest that runs)", DisableDefaultText: true},
	}
}

// where reads whereFlags.
func where(c *cli.Context) (device.Where, error) {
	var given []string
	for _, name := range []string{"live", "config", "both"} {
		if c.Bool(name) {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		return "", usage("--%s and --%s exclude each other", given[0], given[1])
	}
	return device.Where(strings.Join(given, "")), nil
}

func (p *program) diskAttach(c *cli.Context) error {
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
	return p.onDevices(c, given[0], func(d *domain.Domain, o guest.Options) (*guest.Outcome, error) {
		return device.Attach(c.Context, d, r, guest.DeviceOptions(o))
	})
}

// onDevices carries out a job on a domain's devices. What is run inside the guest is
// shown before.
func (p *program) onDevices(c *cli.Context, name string, work func(*domain.Domain, guest.Options) (*guest.Outcome, error)) error {
	p.subject = name
	d, err := p.domainNamed(c.Context, name)
	if err != nil {
		return err
	}
	defer d.Close()
	o := guest.Options{Session: p.session(keyring{})}
	return p.run(&o, func() (*guest.Outcome, error) {
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
	if r.Where, err = where(c); err != nil {
		return r, err
	}
	for _, flag := range []struct {
		name  string
		words []string
	}{{"bus", []string{"virtio", "scsi", "sata", "ide"}}, {"cache", caches}, {"discard", []string{"ignore", "unmap"}}} {
		if given := c.String(flag.name); given != "" && !slices.Contains(flag.words, given) {
			return r, usage("--%s %s: it is one of %s", flag.name, given, strings.Join(flag.words, ", "))
		}
	}
	switch {
	case r.Target != "" && !validTarget.MatchString(r.Target):
		return r, usage("--target %s: a target is as vdb, sdb or hdb", r.Target)
	case r.Serial != "" && !validSerial.MatchString(r.Serial):
		return r, usage("--serial %s: up to 36 letters, digits and _.+-", r.Serial)
	case r.Mount == "" && r.MountOptions != "":
		return r, usage("--fs-options wants --mount")
	case strings.ContainsAny(r.MountOptions, " \t\n"):
		return r, usage("--fs-options %q: options have commas between them, and no blank", r.MountOptions)
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
		return nil, noneOf(c, []string{"label", "drive"}, "is for --initialise")
	case kind != "ntfs":
		return nil, usage("--initialise %s: it is ntfs", kind)
	case c.IsSet("mount"):
		return nil, usage("--initialise is for Windows, --mount for Linux")
	case len(c.String("label")) > 32:
		return nil, usage("--label: NTFS has room for 32 characters")
	case letter != "" && (len(letter) != 1 || letter < "D" || letter > "Z"):
		return nil, usage("--drive %s: it is a letter from D to Z", c.String("drive"))
	case strings.ContainsFunc(c.String("label"), func(r rune) bool { return r < ' ' || strings.ContainsRune("\u2018\u2019\u201a\u201b\u007f", r) }):
		return nil, usage("--label %q has a character in it that a script cannot carry", c.String("label"))
	}
	return &plan.WindowsDisk{Label: c.String("label"), Letter: letter}, nil
}

func (p *program) diskAddCommand() *cli.Command {
	flags := slices.Concat(newDiskFlags(), []cli.Flag{
		&cli.StringFlag{Name: "path", Usage: "put the image at `PATH`", DefaultText: "DOMAIN-TARGET.FORMAT beside the domain's first disk"},
	}, placeFlags(), mountFlags(), whereFlags())
	return help(&cli.Command{
		Name: "add", Usage: "create, attach and mount a disk, in one job",
		ArgsUsage: "DOMAIN", Flags: flags, Action: p.diskAdd,
	}, "It is disk create, disk attach and --mount together: all of it is done, or\n   nothing. A rollback deletes the image again.",
		"virt-grow disk add dev7 --size 20G --fs xfs --mount /data",
		"virt-grow disk add dev7 --size 20G --fs ext4 --lvm vg1/data --mount /data",
		"virt-grow disk add dev7 --size 100G --path /img/db.raw --format raw --target vdc",
		"virt-grow disk add dev7 --size 20G --fs xfs --mount /data --fs-options noatime --json")
}

func (p *program) diskAdd(c *cli.Context) error {
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
		return usage("--mount wants --fs: an empty disk cannot be mounted")
	}
	return p.onDevices(c, name, func(d *domain.Domain, o guest.Options) (*guest.Outcome, error) {
		return device.Add(c.Context, d, n, r, guest.DeviceOptions(o))
	})
}
