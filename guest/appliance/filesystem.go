package appliance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// probeExt reads an ext2, ext3 or ext4's own numbers. tune2fs opens what it
// knows all features of, so its refusal names those it does not.
func (a *Appliance) probeExt(ctx context.Context, name string, c *plan.Content) error {
	var facts map[string]string
	err := a.do(ctx, func() (e error) { facts, e = a.g.Tune2fs_l(path(name)); return })
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		c.Problem = newerOrDamaged(name, c.Type, err)
		return nil
	}
	number := func(key string) size.Bytes {
		n, _ := strconv.ParseInt(facts[key], 10, 64)
		return size.Bytes(n)
	}
	unit := number("Block size")
	c.Size = number("Block count") * unit
	c.Used = (number("Block count") - number("Free blocks")) * unit
	features := " " + facts["Filesystem features"] + " "
	if !strings.Contains(features, " 64bit ") {
		// Block numbers of 32 bits: 16 TiB with blocks of 4 KiB.
		c.Max = (1<<32 - 1) * unit
	}
	if !strings.Contains(facts["Filesystem state"], "clean") || strings.Contains(facts["Filesystem state"], "not clean") {
		c.Notes = append(c.Notes, "not cleanly unmounted: e2fsck runs first")
	}
	if strings.Contains(features, " needs_recovery ") {
		c.Notes = append(c.Notes, "not cleanly unmounted: its journal is replayed first, as at the next boot")
	}
	return nil
}

// newerOrDamaged tells a file system that the appliance is too old for from
// one that is broken, by the words of e2fsprogs, xfsprogs and the kernel.
func newerOrDamaged(name, fs string, err error) *plan.Refusal {
	text := err.Error()
	for _, words := range []string{"unsupported feature", "unknown incompat", "unknown compat", "unknown feature", "unsupported features", "unknown read-only"} {
		if strings.Contains(strings.ToLower(text), words) {
			return plan.Refuse(plan.NewerFeature, name, "the %s on %s has a feature that this appliance's tools do not know: %v", fs, name, err)
		}
	}
	return plan.Refuse(plan.FSDamaged, name, "the %s on %s is damaged: %v", fs, name, err)
}

func (a *Appliance) probeXFS(ctx context.Context, name string, c *plan.Content) error {
	// Mounting replays the log, which xfs_repair needs; norecovery would
	// count wrong.
	u, err := a.measure(ctx, name, c)
	if err != nil || c.Problem != nil {
		return err
	}
	sb, err := a.xfsSuperblock(ctx, name)
	if err != nil {
		return err
	}
	c.Size, c.Unit = sb.size(), sb.groupSize()
	c.Used = c.Size - (u.total - u.used) // statvfs(2) leaves the log out
	return nil
}

// xfsSuperblock are the first numbers of an XFS's superblock (xfs_format.h, struct
// xfs_dsb; big-endian). xfs_info(8) takes fifty times as long to print them.
type xfsSuperblock struct {
	Magic       uint32 // "XFSB"
	BlockSize   uint32 // bytes
	Blocks      uint64 // in the data section, the log included
	_           [68]byte
	GroupBlocks uint32 // in an allocation group
}

const xfsMagic = 0x58465342

func (sb xfsSuperblock) size() size.Bytes { return size.Bytes(sb.Blocks) * size.Bytes(sb.BlockSize) }

func (sb xfsSuperblock) groupSize() size.Bytes {
	return size.Bytes(sb.GroupBlocks) * size.Bytes(sb.BlockSize)
}

// xfsSuperblock reads it. What was mounted has to be unmounted before: a mounted
// XFS keeps it in memory.
func (a *Appliance) xfsSuperblock(ctx context.Context, name string) (sb xfsSuperblock, err error) {
	var head []byte
	err = a.do(ctx, func() (e error) { head, e = a.g.Pread_device(path(name), 512, 0); return })
	if err != nil {
		return sb, err
	}
	if _, err := binary.Decode(head, binary.BigEndian, &sb); err != nil || sb.Magic != xfsMagic {
		return sb, fmt.Errorf("there is no XFS superblock on %s any more", name)
	}
	return sb, nil
}

func (a *Appliance) probeBtrfs(ctx context.Context, name string, c *plan.Content) error {
	var devices []string
	err := a.do(ctx, func() (e error) { devices, e = a.g.Btrfs_filesystem_show(path(name)); return })
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		c.Problem = newerOrDamaged(name, c.Type, err)
		return nil
	}
	if len(devices) != 1 {
		c.Problem = plan.Refuse(plan.UnsupportedLayout, name, "the btrfs on %s spans %d devices", name, len(devices))
		return nil
	}
	_, err = a.measure(ctx, name, c)
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
	err := a.do(ctx, func() (e error) { code, e = a.g.Ntfs_3g_probe(true, path(name)); return })
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
		c.Problem = plan.Refuse(plan.FSDamaged, name, "ntfs-3g cannot mount the NTFS on %s (ntfs-3g.probe says %d)", name, code)
	}
	return nil
}

func (a *Appliance) probeNTFS(ctx context.Context, name string, c *plan.Content) error {
	if err := a.askNTFSProbe(ctx, name, c); err != nil || c.Problem != nil && c.Problem.Reason == plan.FSDamaged {
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
		a.ntfsCluster[name] = u.block
		if err := a.askNTFSResize(ctx, name, c, sameNTFSSize(u.total, u.block, device)); err != nil {
			return err
		}
	}
	// A volume in use is dirty until Windows has shut down; bad clusters stay.
	if c.Problem != nil && c.Problem.Reason != plan.NTFSDirty {
		return nil
	}
	return a.askBadClusters(ctx, name, c)
}

// windowsRole tells Windows' own volumes by their top folder.
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

// probeNTFSAgain looks at what Windows does to its volume when it shuts down:
// hibernation, and the dirty flag.
func (a *Appliance) probeNTFSAgain(ctx context.Context, name string, c *plan.Content, device size.Bytes) error {
	if err := a.askNTFSProbe(ctx, name, c); err != nil || c.Problem != nil {
		return err
	}
	return a.askNTFSResize(ctx, name, c, sameNTFSSize(c.Size, a.ntfsCluster[name], device))
}

// askNTFSResize asks ntfsresize for the very size the volume has: it looks at
// the dirty flag first, and then finds nothing to do. A flag it would pass on
// to Windows is not set by that.
func (a *Appliance) askNTFSResize(ctx context.Context, name string, c *plan.Content, same size.Bytes) error {
	err := a.do(ctx, func() error { return a.g.Ntfsresize_size(path(name), int64(same)) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	c.Problem = ntfsRefusal(name, err)
	return nil
}

// sameNTFSSize is a size that ntfsresize takes for the one a volume of whole
// clusters has. It leaves a sector for the copy of the boot sector and rounds
// the rest down to clusters (ntfsresize.c: new_size = (bytes - sector_size) /
// cluster_size); so what is added has to be at least a sector, and less than
// a sector and a cluster. Sectors are 512 or 4096 bytes, a cluster is at least
// a sector.
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
	return plan.Refuse(plan.FSDamaged, name, "ntfsresize will not touch the NTFS on %s: %v", name, err)
}

// measure notes down the mounted file system's size and used space.
func (a *Appliance) measure(ctx context.Context, name string, c *plan.Content) (usage, error) {
	u, err := a.statfs(ctx, name)
	if ctx.Err() != nil {
		return u, err
	}
	if err != nil {
		if c.Problem == nil {
			c.Problem = newerOrDamaged(name, c.Type, err)
		}
		return u, nil
	}
	c.Size, c.Used = u.total, u.used
	return u, nil
}

// checkFS runs the file system's own checker. Journals were replayed by Probe.
func (a *Appliance) checkFS(ctx context.Context, device, content string) error {
	switch content {
	case "ext2", "ext3", "ext4":
		// -p replays the journal and mends what is safe to; anything else
		// is an error.
		return a.do(ctx, func() error {
			return a.g.E2fsck(path(device), &guestfs.OptargsE2fsck{Correct_is_set: true, Correct: true})
		})
	case "xfs":
		return a.xfsRepairDry(ctx, device)
	case "ntfs":
		var code int
		err := a.do(ctx, func() (e error) { code, e = a.g.Ntfs_3g_probe(true, path(device)); return })
		if err == nil && code != ntfsOK {
			err = fmt.Errorf("ntfs-3g.probe says %d", code)
		}
		return err
	case "btrfs":
		return a.do(ctx, func() error { return a.g.Btrfs_fsck(path(device), nil) })
	}
	return fmt.Errorf("no checker for %s", content)
}

var errXFS = errors.New("xfs_repair -n finds damage")

func (a *Appliance) xfsRepairDry(ctx context.Context, device string) error {
	var code int
	err := a.do(ctx, func() (e error) {
		code, e = a.g.Xfs_repair(path(device), &guestfs.OptargsXfs_repair{Nomodify_is_set: true, Nomodify: true})
		return
	})
	if err == nil && code != 0 {
		err = errXFS
	}
	return err
}
