package inside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

// Disks lists the guest's disks; where the agent is too old for that, by lsblk(8).
func (g *Guest) Disks(ctx context.Context) ([]domain.GuestDisk, error) {
	if disks, err := g.agent.GuestDisks(ctx); err == nil {
		return disks, nil
	}
	blocks, err := g.Blocks(ctx, "")
	var disks []domain.GuestDisk
	for _, b := range blocks {
		if d := (domain.GuestDisk{Name: b.Path, Identity: live.Identity{Serial: b.Serial}}); b.Kind == "disk" && d.IsWhole() {
			disks = append(disks, d)
		}
	}
	return disks, err
}

// AwaitDisk waits until the guest has a disk that was plugged in, and returns what the
// guest calls it. before are the names of the disks that the guest had.
func (g *Guest) AwaitDisk(ctx context.Context, before []string, plugged domain.Device) (string, error) {
	var name string
	var why error
	err := poll.Until(ctx, poll.Wait{For: "the guest to see " + plugged.Target, Every: g.waits.every, Limit: g.waits.disk}, func() (bool, error) {
		disks, err := g.Disks(ctx)
		why = err
		var found bool
		name, found = newDisk(disks, before, plugged)
		return found, nil
	})
	if errors.Is(err, poll.ErrTimeout) {
		if why == nil {
			why = errors.New("no new disk has appeared")
		}
		return "", fmt.Errorf("the guest does not see %s within %s: %w", plugged.Target, g.waits.disk, why)
	}
	return name, err
}

// newDisk finds a domain's disk among those that the guest did not have before: by its
// serial number or its address, else it is the only new one.
func newDisk(disks []domain.GuestDisk, before []string, plugged domain.Device) (string, bool) {
	fresh := slices.DeleteFunc(slices.Clone(disks), func(d domain.GuestDisk) bool { return slices.Contains(before, d.Name) })
	if d, err := domain.MatchDisk(plugged.Disk, fresh); err == nil {
		return d.Name, true
	}
	if len(fresh) == 1 {
		return fresh[0].Name, true
	}
	return "", false
}

// Use is what a running guest does with one of its disks.
type Use struct {
	// Disk is what the guest calls the disk.
	Disk string
	// Mounts are the mount points on it; live.Swap for swap.
	Mounts []string
	// Blocks are the disk and what lies on it; nil where they are not known.
	Blocks []live.Device
}

// UseOf finds out what the guest does with a disk of its domain. exec reports that the
// agent runs programs.
func (g *Guest) UseOf(ctx context.Context, d domain.Device, exec bool) (Use, error) {
	disks, err := g.Disks(ctx)
	if err != nil {
		return Use{}, err
	}
	disk, err := domain.MatchDisk(d.Disk, disks)
	if err != nil {
		return Use{}, err
	}
	u := Use{Disk: disk.Name}
	if u.Mounts, err = g.agent.MountsOn(ctx, disk); err != nil {
		return u, err
	}
	if !exec || !strings.HasPrefix(u.Disk, "/dev/") {
		return u, nil
	}
	u.Blocks, err = g.Blocks(ctx, u.Disk)
	for _, m := range mountsOf(u.Blocks) {
		if !slices.Contains(u.Mounts, m.at) {
			u.Mounts = append(u.Mounts, m.at)
		}
	}
	return u, err
}

// Blocks lists the block devices of a Linux guest, each once; with a device, that one
// and all that lie on it, with what blkid(8) finds where udev has not looked.
func (g *Guest) Blocks(ctx context.Context, device string) ([]live.Device, error) {
	text, err := g.output(ctx, live.Lsblk(device)...)
	if err != nil {
		return nil, err
	}
	mounts, err := g.output(ctx, "cat", live.Mounts)
	if err != nil {
		return nil, err
	}
	all, err := live.ReadLsblk(string(text), string(mounts))
	if err != nil {
		return nil, err
	}
	if device != "" {
		g.identify(ctx, all)
	}
	return unique(all), nil
}

func unique(devices []live.Device) []live.Device {
	var all []live.Device
	for _, d := range devices {
		if !slices.ContainsFunc(all, func(o live.Device) bool { return o.Path == d.Path }) {
			all = append(all, d)
		}
	}
	return all
}

// isLeaf reports whether nothing lies on a device.
func isLeaf(d live.Device, all []live.Device) bool {
	return !slices.ContainsFunc(all, func(o live.Device) bool { return o.Parent == d.Path })
}

// identify asks blkid(8) about devices for which lsblk prints no UUID.
func (g *Guest) identify(ctx context.Context, devices []live.Device) {
	for i := range devices {
		d := &devices[i]
		if d.UUID != "" || !isLeaf(*d, devices) {
			continue
		}
		out, _ := g.output(ctx, "blkid", "-o", "export", d.Path) // fails where there is nothing
		for line := range strings.Lines(string(out)) {
			switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
			case "TYPE":
				d.FS = value
			case "UUID":
				d.UUID = value
			}
		}
	}
}

// probeLimit is how long a guest may take to list its block devices.
const probeLimit = time.Minute

// Probe reads the state of a Linux guest that matters for growing a disk.
func (g *Guest) Probe(ctx context.Context) (live.Guest, error) {
	ctx, stop := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("the guest did not list its block devices within %s", probeLimit))
	defer stop()
	ran, err := g.agent.Run(ctx, live.Probe(), "")
	if err != nil {
		return live.Guest{}, fmt.Errorf("cannot list the guest's block devices: %w", err)
	}
	if ran.Status != 0 {
		return live.Guest{}, fmt.Errorf("lsblk in the guest ended with status %d: %s", ran.Status, domain.FirstLine(ran.Err))
	}
	return live.ReadProbe(string(ran.Out))
}

// WindowsDisks lists the disks of a Windows guest with PowerShell.
func (g *Guest) WindowsDisks(ctx context.Context) ([]live.WindowsDisk, error) {
	ctx, stop := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("the guest did not list its disks within %s", probeLimit))
	defer stop()
	ran, err := g.agent.Run(ctx, plan.PowerShell(live.WindowsProbe()), "")
	if err != nil {
		return nil, fmt.Errorf("cannot list the guest's disks: %w", err)
	}
	if ran.Status != 0 {
		return nil, plan.Refuse(plan.ToolMissing, "PowerShell", "PowerShell in %s cannot list the disks: %s", g.name, domain.FirstLine(ran.Err, ran.Out))
	}
	return live.ReadWindowsProbe(string(ran.Out))
}

// IsWindows reports whether the guest runs Windows. mounted are its file systems: drive
// letters tell as well as the agent, whose word is asked for only without them.
func (g *Guest) IsWindows(ctx context.Context, mounted []domain.FS) bool {
	if len(mounted) > 0 {
		return slices.ContainsFunc(mounted, func(f domain.FS) bool { return strings.Contains(f.MountPoint, `:\`) })
	}
	return g.agent.OS(ctx) == "mswindows"
}
