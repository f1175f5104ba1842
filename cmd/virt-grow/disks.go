package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/plan"
)

// sizedDisk is one --disk: a disk's name, and its new size, whose text is "" if it has none.
type sizedDisk struct {
	name, text string
	size       plan.Amount
}

func disksFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "disk", Usage: "the domain's `DISK`: a target (vda) or the path of its source; required if there are several. DISK:SIZE instead of --size, for example vda:+10G; repeatable, for several disks in one outage"}
}

// readDisks reads --disk. Sizes in --size, too, and a disk given twice are usage errors.
func readDisks(c *cli.Context) ([]sizedDisk, error) {
	var disks []sizedDisk
	for _, text := range c.StringSlice("disk") {
		d, err := parseDisk(text)
		if err != nil {
			return nil, err
		}
		for _, other := range disks {
			if other.name == d.name {
				return nil, usage("--disk %s is given twice", d.name)
			}
		}
		disks = append(disks, d)
	}
	for _, d := range disks {
		if d.text != "" && c.IsSet("size") {
			return nil, usage("--disk %s:%s and --size cannot be used together", d.name, d.text)
		}
	}
	return disks, nil
}

// parseDisk reads DISK or DISK:SIZE. A source's path may contain colons.
func parseDisk(text string) (sizedDisk, error) {
	i := strings.LastIndex(text, ":")
	if i < 0 {
		return sizedDisk{name: text}, nil
	}
	amount, err := plan.ParseAmount(text[i+1:])
	switch {
	case err == nil && amount.Mode == plan.Share:
		return sizedDisk{}, usage("--disk %s: the size of a disk must not be a percentage", text)
	case err == nil && i > 0:
		return sizedDisk{text[:i], text[i+1:], amount}, nil
	case strings.Contains(text, "/"):
		return sizedDisk{name: text}, nil
	}
	return sizedDisk{}, usage("--disk %s: must be DISK or DISK:SIZE, for example vda:+10G", text)
}

// readSizes sets the sizes of the request.
func readSizes(c *cli.Context, r *plan.Request) error {
	disks, err := readDisks(c)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if d.text == "" && len(disks) > 1 {
			return usage("--disk %s has no size: of several disks, each needs its own, for example --disk %[1]s:+10G", d.name)
		}
	}
	if len(disks) > 0 && disks[0].text != "" {
		r.Size = disks[0].size
		for _, d := range disks[1:] {
			r.More = append(r.More, plan.DiskSize{Disk: d.name, Size: d.size})
		}
		return nil
	}
	text := c.String("size")
	if text == "" {
		return usage("%s: --size is missing (30G, +10G, or fill)", c.Command.Name)
	}
	if r.Size, err = plan.ParseAmount(text); err != nil {
		return usage("--size: %v", err)
	}
	return nil
}

// disksOf returns what --disk has, of a command that takes one disk or several; nil
// without the flag.
func disksOf(c *cli.Context) ([]sizedDisk, error) {
	if !c.IsSet("disk") {
		return nil, nil
	}
	disks, err := readDisks(c)
	if err == nil && len(disks) == 0 {
		return []sizedDisk{{name: c.String("disk")}}, nil
	}
	return disks, err
}
