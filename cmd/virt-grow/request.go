package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

func requestFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "the disk's new `SIZE`: 30G, +10G, or fill; rounded up to 1 MiB"},
		&cli.StringSliceFlag{Name: "grow", Usage: "what grows inside: `WHERE[=SIZE]`, where WHERE is /data, C:, sda3, vg/lv, UUID=…, LABEL=…, PARTUUID=…, PARTLABEL=… or none; repeatable; those without SIZE share the remaining space; SIZE may be a percentage of it: 60%"},
		&cli.StringSliceFlag{Name: "delete", Usage: "delete `PARTITION` (for example sda4) with everything on it, instead of moving it"},
		&cli.BoolFlag{Name: "no-move", Usage: "refuse if partitions behind the target would have to move", DisableDefaultText: true},
		&cli.StringFlag{Name: "ntfs", Value: string(plan.NTFSOffline), Usage: "how an NTFS is grown: `offline` by ntfsresize, or guest (by Windows itself after its start)"},
		&cli.StringFlag{Name: "check", Value: string(plan.CheckAuto), Usage: "how closely file systems are checked: `auto` (in full before they grow, and afterwards those that a tool has grown), full (both times) or quick (only where growing needs it)"},
		&cli.BoolFlag{Name: "partition-only", Usage: "grow the partition, but not its content", DisableDefaultText: true},
		&cli.BoolFlag{Name: "even-unknown", Usage: "with --partition-only: also if the content is unknown and may keep data at the end of the partition", DisableDefaultText: true},
	}
}

// shares returns the sum of all shares, in percent.
func shares(r plan.Request) int {
	total := 0
	for _, w := range r.Grow {
		total += w.Amount.Percent
	}
	return total
}

// request reads requestFlags.
func request(c *cli.Context) (plan.Request, error) {
	var r plan.Request
	if err := readSizes(c, &r); err != nil {
		return r, err
	}
	for _, text := range c.StringSlice("grow") {
		w, err := plan.ParseGrowTarget(text)
		if err != nil {
			return r, usage("--grow: %v", err)
		}
		r.Grow = append(r.Grow, w)
	}
	if r.Size.Mode == plan.Share || shares(r) > 100 {
		return r, usage("--size must not be a percentage: percentages are for --grow, where 100%% is all of the remaining space")
	}
	r.Delete = c.StringSlice("delete")
	if len(r.Delete) > 0 && (len(r.Grow) == 0 || r.ContainerOnly()) {
		return r, usage("--delete needs --grow to name what gets the space, for example --grow C:")
	}
	r.PartitionOnly, r.EvenUnknown = c.Bool("partition-only"), c.Bool("even-unknown")
	if r.EvenUnknown && !r.PartitionOnly {
		return r, usage("--even-unknown needs --partition-only")
	}
	if r.PartitionOnly && len(r.Grow) == 0 {
		return r, usage("--partition-only needs --grow to name the partition, for example --grow sda3")
	}
	t := inventory.Treatment{Check: plan.CheckMode(c.String("check")), NTFS: plan.NTFSWay(c.String("ntfs")), NoMove: c.Bool("no-move")}
	t.Ask(&r)
	switch {
	case !slices.Contains([]plan.CheckMode{plan.CheckAuto, plan.CheckFull, plan.CheckQuick}, t.Check):
		return r, usage("--check must be %s, %s or %s, not %q", plan.CheckAuto, plan.CheckFull, plan.CheckQuick, t.Check)
	case t.NTFS != plan.NTFSOffline && t.NTFS != plan.NTFSGuest:
		return r, usage("--ntfs must be %s or %s, not %q", plan.NTFSOffline, plan.NTFSGuest, t.NTFS)
	case t.NTFS == plan.NTFSGuest && (r.PartitionOnly || r.ContainerOnly()):
		return r, usage("--ntfs guest cannot be used with --partition-only or --grow none")
	}
	return r, nil
}
