package appliance

import (
	"context"
	"errors"
	"slices"
	"strings"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// judge returns why a file system could not be mounted, or read by its tool: the host
// lacks a driver or tool, the file system has newer features or spans other disks, or it
// is damaged. shown is the device's name for people.
func (a *Appliance) judge(ctx context.Context, device, shown, kind string, failure error) *plan.Refusal {
	if missing := a.lacks(ctx, kind); missing != "" {
		return plan.Refuse(plan.NoDriver, kind, "this host's appliance has no %s, so %s cannot be read: %s is missing", kind, shown, missing)
	}
	var found *plan.Refusal
	switch kind {
	case "ext2", "ext3", "ext4":
		found = a.judgeExt(ctx, device, shown, kind)
	case "xfs":
		found = a.judgeXFS(ctx, device, shown)
	case "btrfs":
		found = a.judgeBtrfs(ctx, device, shown)
	}
	if found != nil {
		return found
	}
	return plan.Refuse(plan.FSDamaged, shown, "the %s on %s is damaged: %v", kind, shown, failure)
}

// lacks returns what the appliance is missing for a kind of file system; "" if nothing is
// missing, or that cannot be found out.
func (a *Appliance) lacks(ctx context.Context, kind string) string {
	if kind == "" || strings.Contains(kind, " ") {
		return ""
	}
	for _, f := range featureOf {
		var there bool
		if f.content != kind {
			continue
		}
		err := a.do(ctx, func() (e error) { there, e = a.g.Feature_available([]string{f.group}); return })
		if err == nil && !there {
			return "libguestfs's feature " + f.group
		}
	}
	if kind == "ntfs" {
		return "" // ntfs-3g needs no file system in the kernel
	}
	var there bool
	err := a.do(ctx, func() (e error) { there, e = a.g.Filesystem_available(kind); return })
	if err == nil && !there {
		return "the kernel's module " + kind
	}
	return ""
}

// kernelOf returns the release of the appliance's kernel.
func (a *Appliance) kernelOf(ctx context.Context) string {
	if a.kernelRelease == "" {
		var name *guestfs.UTSName
		if err := a.do(ctx, func() (e error) { name, e = a.g.Utsname(); return }); err == nil {
			a.kernelRelease = name.Uts_release
		}
	}
	return a.kernelRelease
}

// block reads a part of a device.
func (a *Appliance) block(ctx context.Context, device string, n, at int) (data []byte, err error) {
	err = a.do(ctx, func() (e error) { data, e = a.g.Pread_device(a.path(device), n, int64(at)); return })
	return data, err
}

func newer(kind, shown, by string, found []superblock.Unknown) *plan.Refusal {
	if len(found) == 0 {
		return nil
	}
	var names []string
	for _, u := range found {
		names = append(names, u.String())
	}
	return plan.Refuse(plan.NewerFeature, shown, "the %s on %s has features that %s does not support: %s", kind, shown, by, strings.Join(names, "; "))
}

func (a *Appliance) judgeExt(ctx context.Context, device, shown, kind string) *plan.Refusal {
	head, err := a.block(ctx, device, superblock.ExtLen, superblock.ExtAt)
	if err != nil {
		return nil
	}
	e, err := superblock.ReadExt(head)
	if err != nil || !e.Sound(head) {
		return nil
	}
	if feature, why := e.CannotGrow(); feature != "" {
		return plan.Refuse(plan.UnsupportedLayout, shown, "the %s on %s has the feature %s: %s", kind, shown, feature, why)
	}
	return newer(kind, shown, "this host's appliance", e.Newer())
}

func (a *Appliance) judgeXFS(ctx context.Context, device, shown string) *plan.Refusal {
	x, sector, err := a.xfsHead(ctx, device)
	if err != nil || !x.Sound(sector) || x.NeedsRepair() {
		return nil
	}
	if r := newer("xfs", shown, "the kernel "+a.kernelOf(ctx)+" of this host's appliance", x.Unknown(a.kernelOf(ctx))); r != nil && a.blamesFeatures(ctx, device, "xfs") {
		return r
	}
	switch {
	case x.ExternalLog():
		return plan.Refuse(plan.UnsupportedLayout, shown, "the xfs on %s has its log on another device", shown)
	case x.Realtime():
		return plan.Refuse(plan.UnsupportedLayout, shown, "the xfs on %s has a realtime section on another device", shown)
	}
	return nil
}

func (a *Appliance) judgeBtrfs(ctx context.Context, device, shown string) *plan.Refusal {
	s, err := a.btrfsHead(ctx, device)
	if err != nil || !s.Sound() {
		return nil
	}
	if r := newer("btrfs", shown, "the kernel "+a.kernelOf(ctx)+" of this host's appliance", s.Unknown(a.kernelOf(ctx))); r != nil && a.blamesFeatures(ctx, device, "btrfs") {
		return r
	}
	if s.Devices > 1 {
		return plan.Refuse(plan.UnsupportedLayout, shown, "the btrfs on %s spans %d devices", shown, s.Devices)
	}
	return nil
}

// blamesFeatures reports whether the kernel names features as the reason for not mounting
// the device. The kernel of a distribution may support more features than its release
// suggests; what it does not mount is then damaged.
func (a *Appliance) blamesFeatures(ctx context.Context, device, kind string) bool {
	if _, err := a.statfs(ctx, device); err == nil {
		return true // it can be mounted; only a tool failed
	}
	return a.loggedFeatures(ctx, kind)
}

// loggedFeatures reports whether the kernel's messages blame features. It returns true if
// the messages cannot be read.
func (a *Appliance) loggedFeatures(ctx context.Context, kind string) bool {
	var log string
	err := a.do(ctx, func() (e error) { log, e = a.g.Dmesg(); return })
	return err != nil || superblock.BlamesFeatures(kind, log)
}

// askWritable refuses a file system with features that allow only a read-only mount: it
// tries to mount the file system for writing.
func (a *Appliance) askWritable(ctx context.Context, device, kind string, maybe []superblock.Unknown) (*plan.Refusal, error) {
	if len(maybe) == 0 {
		return nil, nil
	}
	err := a.mounted(ctx, device, func() error { return nil })
	if err == nil || ctx.Err() != nil {
		return nil, err
	}
	return newer(kind, device, "the kernel "+a.kernelOf(ctx)+" of this host's appliance", maybe), nil
}

// xfsHead reads an XFS's superblock, and returns it with its sector. The XFS must not be
// mounted: a mounted XFS keeps the superblock in memory.
func (a *Appliance) xfsHead(ctx context.Context, device string) (*superblock.XFS, []byte, error) {
	sector, err := a.block(ctx, device, 32<<10, 0)
	if err != nil {
		return nil, nil, err
	}
	x, err := superblock.ReadXFS(sector)
	if err != nil {
		return nil, nil, err
	}
	return x, sector[:min(int(x.SectorSize), len(sector))], nil
}

func (a *Appliance) btrfsHead(ctx context.Context, device string) (*superblock.Btrfs, error) {
	b, err := a.block(ctx, device, superblock.BtrfsLen, superblock.BtrfsAt)
	if err != nil {
		return nil, err
	}
	return superblock.ReadBtrfs(b)
}

// xfsCounts adds up the headers of the allocation groups.
func (a *Appliance) xfsCounts(ctx context.Context, device string, x *superblock.XFS) (c superblock.XFSCounts, err error) {
	for g := range x.Groups {
		headers, err := a.block(ctx, device, int(4*x.SectorSize), int(g*int64(x.GroupSize())))
		if err != nil {
			return c, err
		}
		if !c.Add(x, g, headers) {
			return c, errXFS
		}
	}
	return c, nil
}

// xfsCheck runs xfs_repair -n, which treats counters in the superblock that are off by a
// few as damage. XFS in Linux 3.10 left such counters, and the kernel corrects them only
// after an unclean unmount. So if the groups' headers add up to other counters, xfsCheck
// writes those, as the kernel would, and repeats the check.
func (a *Appliance) xfsCheck(ctx context.Context, device string) error {
	failed := a.xfsRepairDry(ctx, device)
	if !errors.Is(failed, errXFS) {
		return failed
	}
	x, sector, err := a.xfsHead(ctx, device)
	if err != nil || !x.Sound(sector) {
		return failed
	}
	c, err := a.xfsCounts(ctx, device, x)
	if ctx.Err() != nil {
		return err
	}
	if err != nil || c == x.Counts() {
		return failed
	}
	if _, err := a.writeBlock(ctx, device, x.WithCounts(sector, c)); err != nil {
		return err
	}
	return a.xfsRepairDry(ctx, device)
}

func (a *Appliance) writeBlock(ctx context.Context, device string, data []byte) (n int, err error) {
	err = a.do(ctx, func() (e error) { n, e = a.g.Pwrite_device(a.path(device), slices.Clone(data), 0); return })
	if err == nil && n != len(data) {
		err = errShort
	}
	return n, err
}
