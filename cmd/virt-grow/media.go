package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/domain"
)

// mediaCommands returns the group of the commands for a domain's CD-ROM drives.
func mediaCommands(p *program) group {
	return group{"media", "insert and eject media in a domain's CD-ROM drives",
		"Both the running guest and its persistent definition are changed.",
		[]command{mediaInsertCommand{p}, mediaEjectCommand{p}}}
}

func driveFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "target", Usage: "the `DRIVE` in the domain, for example hdb", DefaultText: "the only one, or the one that fits"},
		&cli.BoolFlag{Name: "force", Usage: "eject a medium even if the guest has locked the drive", DisableDefaultText: true},
	}, whereFlags()...)
}

// mediaInsertCommand is virt-grow media insert.
type mediaInsertCommand struct{ *program }

func (p mediaInsertCommand) command() *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.BoolFlag{Name: "virtio-win", Usage: "use the ISO with the virtio drivers for Windows, and show how to install them", DisableDefaultText: true},
		&cli.StringFlag{Name: "bus", Usage: "the `BUS` of a drive that is added: ide, sata, scsi or usb", DefaultText: "sata where there is one, else ide"},
	}, driveFlags(), changeFlags(false))
	return help(&cli.Command{
		Name: "insert", Usage: "insert an ISO image into a domain's drive",
		ArgsUsage: "DOMAIN [ISO]", Flags: flags, Action: p.action,
	}, "A domain without a drive gets one. A running guest gets it at once on scsi or usb,\n   and at its next start on other buses.",
		"virt-grow media insert dev7 /iso/debian-12.iso",
		"virt-grow media insert dev7 /iso/debian-12.iso --target hdb",
		"virt-grow media insert win7 --virtio-win")
}

func (p mediaInsertCommand) action(c *cli.Context) error {
	name, iso, err := p.medium(c)
	if err != nil {
		return err
	}
	r, err := driveRequest(c)
	if err != nil {
		return err
	}
	if r.Bus = c.String("bus"); r.Bus != "" && !slices.Contains([]string{"ide", "sata", "scsi", "usb"}, r.Bus) {
		return usage("--bus %s: must be one of ide, sata, scsi, usb", r.Bus)
	}
	r.ISO, r.Windows = iso, c.Bool("virtio-win")
	return p.onDevices(c, name, func(d *domain.Domain, o device.Options) (*guest.Outcome, error) {
		return device.Insert(c.Context, d, r, o)
	})
}

// medium reads the domain and the ISO from the command line.
func (p mediaInsertCommand) medium(c *cli.Context) (name, iso string, err error) {
	if !c.Bool("virtio-win") {
		given, err := operands(c, "DOMAIN", "ISO")
		if err != nil {
			return "", "", err
		}
		return given[0], given[1], nil
	}
	if name, err = operand(c, "DOMAIN"); err != nil {
		return "", "", err
	}
	iso, err = device.FindVirtioWin()
	return name, iso, err
}

func driveRequest(c *cli.Context) (device.MediaRequest, error) {
	r := device.MediaRequest{Target: c.String("target"), Force: c.Bool("force")}
	if r.Target != "" && !validTarget.MatchString(r.Target) {
		return r, usage("--target %s: must be a drive name, for example hdb or sda", r.Target)
	}
	var err error
	r.Scope, err = where(c)
	return r, err
}

// mediaEjectCommand is virt-grow media eject.
type mediaEjectCommand struct{ *program }

func (p mediaEjectCommand) command() *cli.Command {
	return help(&cli.Command{
		Name: "eject", Usage: "eject the medium from a domain's drive",
		ArgsUsage: "DOMAIN", Flags: append(driveFlags(), changeFlags(false)...), Action: p.action,
	}, "The drive itself is kept.",
		"virt-grow media eject dev7",
		"virt-grow media eject dev7 --target sda --force")
}

func (p mediaEjectCommand) action(c *cli.Context) error {
	name, err := operand(c, "DOMAIN")
	if err != nil {
		return err
	}
	r, err := driveRequest(c)
	if err != nil {
		return err
	}
	return p.onDevices(c, name, func(d *domain.Domain, o device.Options) (*guest.Outcome, error) {
		return device.Eject(c.Context, d, r, o)
	})
}
