package main

import (
	"cmp"
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan/size"
)

// target is a TARGET with its flags.
type target struct {
	program *program
	// path is the path of an image, or domain is the name of a domain.
	path, domain string
	open         image.Options
	treat        growth.DomainOptions
	keys         keyring
	// mount is the file system to use as /; "" uses the guest's fstab.
	mount string
}

func targetFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "the image's `FORMAT`: qcow2 or raw (default: by the name's ending, .qcow2 or .raw; never by content)"},
		&cli.StringFlag{Name: "sector-size", Usage: "the `BYTES` of a sector as the guest sees it: 512 or 4096 (default: taken from the partition table)"},
	}, keyFlags()...)
}

// target reads the TARGET and its flags.
func (p *program) target(c *cli.Context) (target, error) {
	name, err := operand(c, "TARGET")
	if err != nil {
		return target{}, err
	}
	t, err := p.targetOf(c, name)
	if err != nil {
		return t, err
	}
	t.keys, err = p.readKeys(c)
	return t, err
}

// targetOf reads a TARGET and its flags, except the keys.
func (p *program) targetOf(c *cli.Context, name string) (target, error) {
	var err error
	t := target{program: p, open: image.Options{Format: c.String("format")}}
	if t.open.Format != "" && t.open.Format != "qcow2" && t.open.Format != "raw" {
		return t, usage("--format %s: must be qcow2 or raw", t.open.Format)
	}
	if t.open.Sector, err = sectorSize(c.String("sector-size")); err != nil {
		return t, err
	}
	p.subject = name
	if isImage(name) {
		t.path = name
		err = noneOf(c, onlyForDomains, "is only for domains; "+name+" is an image")
	} else {
		t.domain = name
		p.atRunTime = onlineLine(c, name)
		if t.treat, err = domainOptions(c); err == nil {
			err = noneOf(c, []string{"format", "keep-overlay"}, "is only for images; "+name+" is a domain's name (the path of an image contains a /)")
		}
	}
	return t, err
}

// onlineLine returns the online command that corresponds to this command line.
func onlineLine(c *cli.Context, name string) string {
	line := []string{"virt-grow online", quoted(name)}
	disk, size := "", c.String("size")
	if disks, err := disksOf(c); err == nil && len(disks) > 0 {
		disk, size = disks[0].name, cmp.Or(disks[0].text, size)
	}
	for _, flag := range [][2]string{{"--disk", disk}, {"--size", size}} {
		if flag[1] != "" {
			line = append(line, flag[0], quoted(flag[1]))
		}
	}
	for _, where := range c.StringSlice("grow") {
		line = append(line, "--grow", quoted(where))
	}
	return strings.Join(line, " ")
}

// noneOf refuses flags that cannot be used here.
func noneOf(c *cli.Context, names []string, why string) error {
	for _, name := range names {
		if c.IsSet(name) {
			return usage("--%s %s", name, why)
		}
	}
	return nil
}

func sectorSize(text string) (size.Bytes, error) {
	switch text {
	case "":
		return 0, nil
	case "512":
		return 512, nil
	case "4096":
		return 4096, nil
	}
	return 0, usage("--sector-size %s: must be 512 or 4096", text)
}

// isImage reports whether a name is an image's path, not a domain's name: it contains a
// slash, or a file has this name. A directory is no image: one that happens to have a
// domain's name does not hide the domain.
func isImage(name string) bool {
	if strings.Contains(name, "/") {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.IsDir()
}

// image opens the TARGET; the caller must call Disk.Close.
func (t target) image(ctx context.Context) (*disk.Disk, error) {
	if t.domain != "" {
		return t.program.openDomain(ctx, t.domain, t.treat)
	}
	return disk.OpenImage(ctx, t.path, t.open)
}

// session returns the options with which this run starts the appliance.
func (p *program) session(keys keyring) session.Options {
	return session.Options{Accel: p.accel, LaunchTimeout: p.launchTimeout, Keys: p.finder(keys)}
}

// cache has the results of earlier inspections.
func (p *program) cache() *session.Cache { return session.OpenCache(p.state) }

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
