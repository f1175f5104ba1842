package appliance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// probeExt reads the superblock of an ext2, ext3 or ext4. tune2fs fails for a file system
// with a feature that it does not know, so it shows whether e2fsprogs supports all.
func (a *Appliance) probeExt(ctx context.Context, name string, c *plan.Content) error {
	var facts map[string]string
	err := a.do(ctx, func() (e error) { facts, e = a.g.Tune2fs_l(a.path(name)); return })
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		c.Problem = a.judge(ctx, name, name, c.Type, err)
		return nil
	}
	e, err := a.extHead(ctx, name)
	if err != nil {
		return err
	}
	c.Files = e.Inodes
	c.Ext, c.Size, c.Used = e, e.Size(), size.Bytes((e.Blocks-e.FreeBlocks)*e.BlockSize)
	c.Max, c.MaxWhy = e.Max()
	if feature, why := e.CannotGrow(); feature != "" {
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "the %s on %s has the feature %s: %s", c.Type, name, feature, why)
		return nil
	}
	if err := a.askExt(ctx, name, e, c); err != nil || c.Problem != nil {
		return err
	}
	if !strings.Contains(facts["Filesystem state"], "clean") || strings.Contains(facts["Filesystem state"], "not clean") {
		c.Notes = append(c.Notes, "not cleanly unmounted: e2fsck runs first")
	}
	if strings.Contains(" "+facts["Filesystem features"]+" ", " needs_recovery ") {
		c.Notes = append(c.Notes, "not cleanly unmounted: its journal is replayed first, as at the next boot")
	}
	return nil
}

func (a *Appliance) extHead(ctx context.Context, name string) (*superblock.Ext, error) {
	head, err := a.block(ctx, name, superblock.ExtLen, superblock.ExtAt)
	if err != nil {
		return nil, err
	}
	e, err := superblock.ReadExt(head)
	if err != nil {
		return nil, fmt.Errorf("cannot read the superblock on %s: %w", name, err)
	}
	return e, nil
}

// fewGroups is how many headers of allocation groups a probe reads: each read takes some
// hundredths of a second. The check reads all of them if necessary.
const fewGroups = 64

func (a *Appliance) probeXFS(ctx context.Context, name string, c *plan.Content) error {
	// Mounting replays the log, as xfs_repair needs; with norecovery the counts would
	// be wrong.
	u, err := a.measure(ctx, name, c)
	if err != nil || c.Problem != nil {
		return err
	}
	x, _, err := a.xfsHead(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot read the superblock on %s: %w", name, err)
	}
	c.Size, c.Unit, c.Block = x.Size(), x.GroupSize(), size.Bytes(x.BlockSize)
	c.Used = c.Size - (u.total - u.used) // statvfs(2) leaves the log out
	if c.Problem, err = a.askWritable(ctx, name, c.Type, x.Unknown(a.kernelOf(ctx))); err != nil || c.Problem != nil {
		return err
	}
	if x.Groups > fewGroups {
		return nil
	}
	counts, err := a.xfsCounts(ctx, name, x)
	if err == nil && counts != x.Counts() {
		c.Notes = append(c.Notes, fmt.Sprintf("the XFS's superblock has %d blocks free and %d inodes, %d of them free; its groups have %d, %d and %d; the superblock is corrected, as after an unclean unmount",
			x.BlocksFree, x.Inodes, x.InodesFree, counts.BlocksFree, counts.Inodes, counts.InodesFree))
	}
	return ctx.Err()
}

func (a *Appliance) probeBtrfs(ctx context.Context, name string, c *plan.Content) error {
	var devices []string
	err := a.do(ctx, func() (e error) { devices, e = a.g.Btrfs_filesystem_show(a.path(name)); return })
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		c.Problem = a.judge(ctx, name, name, c.Type, err)
		return nil
	}
	if len(devices) != 1 {
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "the btrfs on %s spans %d devices", name, len(devices))
		return nil
	}
	if _, err = a.measure(ctx, name, c); err != nil || c.Problem != nil {
		return err
	}
	s, err := a.btrfsHead(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot read the superblock on %s: %w", name, err)
	}
	c.Size, c.Block = s.Size, s.Sector
	switch {
	case s.Devices > 1:
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "the btrfs on %s spans %d devices", name, s.Devices)
	case s.Seeding():
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "the btrfs on %s is a seed, which is read-only", name)
	case s.DeviceID != 1:
		// libguestfs's btrfs_filesystem_resize has no parameter for the device's number.
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "%s is device %d of its btrfs, and offline only device 1 can be grown; --partition-only makes room, and in the guest it is then: btrfs filesystem resize %d:max MOUNTPOINT", name, s.DeviceID, s.DeviceID)
	default:
		c.Problem, err = a.askWritable(ctx, name, c.Type, s.Unknown(a.kernelOf(ctx)))
	}
	return err
}

// ntfs-3g.probe(8)'s exit codes.
const (
	ntfsOK         = 0
	ntfsHibernated = 14
	ntfsUnclean    = 15
)

// askNTFSProbe asks ntfs-3g whether it would mount the volume for writing.
func (a *Appliance) askNTFSProbe(ctx context.Context, name string, c *plan.Content) error {
	var code int
	err := a.do(ctx, func() (e error) { code, e = a.g.Ntfs_3g_probe(true, a.path(name)); return })
	if err != nil && ctx.Err() == nil && a.lacks(ctx, c.Type) != "" {
		c.Problem = a.judge(ctx, name, name, c.Type, err)
		return nil
	}
	if err != nil {
		return err
	}
	switch code {
	case ntfsOK:
	case ntfsHibernated:
		c.Problem = plan.Refuse(plan.NTFSHibernated, name, "Windows on %s is hibernated, or was shut down with fast startup", name)
	case ntfsUnclean:
		c.Problem = plan.Refuse(plan.NTFSDirty, name, "the NTFS on %s was not cleanly unmounted: its journal has unwritten changes", name)
	default:
		c.Problem = plan.Refuse(plan.FSDamaged, name, "ntfs-3g cannot mount the NTFS on %s (ntfs-3g.probe exits with status %d)", name, code)
	}
	return nil
}

func (a *Appliance) probeNTFS(ctx context.Context, name string, c *plan.Content) error {
	if err := a.askNTFSProbe(ctx, name, c); err != nil || c.Problem != nil && (c.Problem.Reason == plan.FSDamaged || c.Problem.Reason == plan.NoDriver) {
		return err
	}
	u, err := a.measure(ctx, name, c)
	if err != nil {
		return err
	}
	c.Role = windowsRole(u.names)
	if c.Problem == nil {
		device, err := a.deviceSize(ctx, name)
		if err != nil {
			return err
		}
		boot, err := a.block(ctx, name, 512, 0)
		if err != nil {
			return err
		}
		a.ntfsCluster[name], c.Block = u.block, u.block
		c.SectorSize = size.Bytes(binary.LittleEndian.Uint16(boot[0x0b:]))
		if err := a.askNTFSResize(ctx, name, c, sameNTFSSize(u.total, u.block, device)); err != nil {
			return err
		}
	}
	// A volume in use is dirty until Windows has shut down; bad clusters remain.
	if c.Problem != nil && c.Problem.Reason != plan.NTFSDirty {
		return nil
	}
	return a.askBadClusters(ctx, name, c)
}

// windowsRole recognises Windows' own volumes by the names in their top directory.
func windowsRole(names []string) plan.Role {
	has := func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	switch {
	case has("Windows"):
		return plan.RoleWindowsBoot
	case has("bootmgr"), has("Boot"):
		return plan.RoleWindowsSystem
	case has("Recovery"):
		return plan.RoleWindowsRecovery
	}
	return ""
}

// probeNTFSAgain reads what Windows may have changed on the volume at its shutdown:
// hibernation, and the dirty flag.
func (a *Appliance) probeNTFSAgain(ctx context.Context, name string, c *plan.Content, device size.Bytes) error {
	if err := a.askNTFSProbe(ctx, name, c); err != nil || c.Problem != nil {
		return err
	}
	return a.askNTFSResize(ctx, name, c, sameNTFSSize(c.Size, a.ntfsCluster[name], device))
}

// askNTFSResize runs ntfsresize with the size that the volume has: ntfsresize checks the
// dirty flag first, and then has nothing to do. It does not set the flag that makes
// Windows run chkdsk.
func (a *Appliance) askNTFSResize(ctx context.Context, name string, c *plan.Content, same size.Bytes) error {
	err := a.do(ctx, func() error { return a.g.Ntfsresize_size(a.path(name), int64(same)) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	c.Problem = ntfsRefusal(name, err)
	return nil
}

// sameNTFSSize returns a size that ntfsresize considers equal to the volume's. ntfsresize
// subtracts a sector for the copy of the boot sector and rounds down to clusters
// (ntfsresize.c: new_size = (bytes - sector_size) / cluster_size); so the size must exceed
// the volume's by at least a sector, and by less than a sector and a cluster. Sectors have
// 512 or 4096 bytes, a cluster has at least one sector.
func sameNTFSSize(volume, cluster, device size.Bytes) size.Bytes {
	if cluster >= 4096 && volume+4096 <= device {
		return volume + 4096
	}
	return volume + 512
}

func ntfsRefusal(name string, err error) *plan.Refusal {
	if strings.Contains(err.Error(), "scheduled for check") {
		return plan.Refuse(plan.NTFSDirty, name, "the NTFS on %s is marked for a check", name)
	}
	return plan.Refuse(plan.FSDamaged, name, "ntfsresize refuses the NTFS on %s: %v", name, err)
}

// measure stores the file system's size and used space in the content.
func (a *Appliance) measure(ctx context.Context, name string, c *plan.Content) (usage, error) {
	u, err := a.statfs(ctx, name)
	if ctx.Err() != nil {
		return u, err
	}
	if err != nil {
		if c.Problem == nil {
			c.Problem = a.judge(ctx, name, name, c.Type, err)
		}
		return u, nil
	}
	c.Size, c.Used, c.Files = u.total, u.used, u.files
	return u, nil
}

// checkFS runs the file system's own checker. Journals were replayed by Probe.
func (a *Appliance) checkFS(ctx context.Context, device, content string) error {
	switch content {
	case "ext2", "ext3", "ext4":
		// -p replays the journal and makes safe repairs; any other damage is an
		// error.
		return a.do(ctx, func() error {
			return a.g.E2fsck(a.path(device), &guestfs.OptargsE2fsck{Correct_is_set: true, Correct: true})
		})
	case "xfs":
		return a.xfsCheck(ctx, device)
	case "ntfs":
		var code int
		err := a.do(ctx, func() (e error) { code, e = a.g.Ntfs_3g_probe(true, a.path(device)); return })
		if err == nil && code != ntfsOK {
			err = fmt.Errorf("ntfs-3g.probe exits with status %d", code)
		}
		return err
	case "btrfs":
		return a.do(ctx, func() error { return a.g.Btrfs_fsck(a.path(device), nil) })
	}
	return fmt.Errorf("no checker for %s", content)
}

var errXFS = errors.New("xfs_repair -n reports damage")

func (a *Appliance) xfsRepairDry(ctx context.Context, device string) error {
	var code int
	err := a.do(ctx, func() (e error) {
		code, e = a.g.Xfs_repair(a.path(device), &guestfs.OptargsXfs_repair{Nomodify_is_set: true, Nomodify: true})
		return
	})
	if err == nil && code != 0 {
		err = errXFS
	}
	return err
}
