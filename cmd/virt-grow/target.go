package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// target is a TARGET and what the user says of it.
type target struct {
	path string
	open guest.OpenOptions
	keys keyring
}

func targetFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "the image's `FORMAT`: qcow2 or raw (default: by the name's .qcow2 or .raw; never by content)"},
		&cli.StringFlag{Name: "sector-size", Usage: "the `BYTES` of a sector as the guest sees it: 512 or 4096 (default: by the partition table)"},
	}, keyFlags()...)
}

// target reads the TARGET and its flags.
func (p *program) target(c *cli.Context) (target, error) {
	path, err := operand(c, "TARGET")
	if err != nil {
		return target{}, err
	}
	t := target{path: path, open: guest.OpenOptions{Format: c.String("format")}}
	if t.open.Format != "" && t.open.Format != "qcow2" && t.open.Format != "raw" {
		return t, usage("--format %s: it is qcow2 or raw", t.open.Format)
	}
	if t.open.Sector, err = sectorSize(c.String("sector-size")); err != nil {
		return t, err
	}
	p.subject = path
	if err := isImage(path); err != nil {
		return t, err
	}
	t.keys, err = p.readKeys(c)
	return t, err
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
	return 0, usage("--sector-size %s: it is 512 or 4096", text)
}

// isImage refuses names of domains: a name without a slash that is no file.
func isImage(path string) error {
	if strings.Contains(path, "/") {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return plan.Refuse(plan.NotFound, path, "%s is no image here, and domains are not supported yet: give the image's path", path)
	}
	return nil
}

func (t target) image(ctx context.Context) (*guest.Image, error) {
	return guest.Open(ctx, t.path, t.open)
}

// session is how the appliance is started for this run.
func (p *program) session(keys keyring) guest.SessionOptions {
	return guest.SessionOptions{Accel: p.accel, Keys: p.finder(keys)}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
