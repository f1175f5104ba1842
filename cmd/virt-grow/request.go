package main

import (
	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/plan"
)

func requestFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "the disk's new `SIZE`: 30G, +10G, or fill; rounded up to 1 MiB"},
		&cli.StringSliceFlag{Name: "grow", Usage: "what grows inside: `WHERE[=SIZE]`, as /data, C:, sda3, vg/lv, UUID=…, LABEL=…, PARTUUID=…, PARTLABEL=…, or none; may be repeated, several without a size share what is left; SIZE may be a share of it: 60%"},
		&cli.StringSliceFlag{Name: "delete", Usage: "drop `PARTITION`, as sda4, with all that is on it, instead of moving it"},
		&cli.BoolFlag{Name: "no-move", Usage: "refuse where partitions behind the target would have to move", DisableDefaultText: true},
		&cli.StringFlag{Name: "ntfs", Value: string(plan.NTFSOffline), Usage: "who grows an NTFS: `offline`, by ntfsresize, or guest, by Windows itself after its start"},
		&cli.BoolFlag{Name: "partition-only", Usage: "grow the partition and leave what it holds", DisableDefaultText: true},
		&cli.BoolFlag{Name: "even-unknown", Usage: "with --partition-only: also where nobody knows whether the content keeps something at the partition's end", DisableDefaultText: true},
	}
}

// shares are all shares together, in percent.
func shares(r plan.Request) int {
	total := 0
	for _, w := range r.Grow {
		total += w.Amount.Percent
	}
	return total
}

// request reads what is to become how big.
func request(c *cli.Context) (plan.Request, error) {
	var r plan.Request
	text := c.String("size")
	if text == "" {
		return r, usage("%s: --size is missing (30G, +10G, or fill)", c.Command.Name)
	}
	var err error
	if r.Size, err = plan.ParseAmount(text); err != nil {
		return r, usage("--size: %v", err)
	}
	for _, text := range c.StringSlice("grow") {
		w, err := plan.ParseWhere(text)
		if err != nil {
			return r, usage("--grow: %v", err)
		}
		r.Grow = append(r.Grow, w)
	}
	if r.Size.Mode == plan.Share || shares(r) > 100 {
		return r, usage("shares are of what is left for --grow, and 100%% is all of it")
	}
	r.Delete = c.StringSlice("delete")
	if len(r.Delete) > 0 && (len(r.Grow) == 0 || r.ContainerOnly()) {
		return r, usage("--delete wants --grow with what is to have the room, as --grow C:")
	}
	r.PartitionOnly, r.NoMove, r.EvenUnknown = c.Bool("partition-only"), c.Bool("no-move"), c.Bool("even-unknown")
	if r.EvenUnknown && !r.PartitionOnly {
		return r, usage("--even-unknown is for --partition-only")
	}
	if r.PartitionOnly && len(r.Grow) == 0 {
		return r, usage("--partition-only wants --grow with the partition, as --grow sda3")
	}
	switch way := plan.NTFSWay(c.String("ntfs")); way {
	case plan.NTFSOffline:
	case plan.NTFSGuest:
		r.NTFS = way
		if r.PartitionOnly || r.ContainerOnly() {
			return r, usage("--ntfs guest has Windows extend the volume: not together with --partition-only or --grow none")
		}
	default:
		return r, usage("--ntfs is %s or %s, not %q", plan.NTFSOffline, plan.NTFSGuest, way)
	}
	return r, nil
}
