package appliance

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/memory"
)

// held is a device and its content, by blkid's name.
type held struct{ device, kind string }

// FindMemoryImage looks for the memory of a hibernated system on the disk, and adds it to
// the layout. It is not called for the disk of a running guest.
func (a *Appliance) FindMemoryImage(ctx context.Context, l *plan.Layout) error {
	var devices []held
	for _, d := range l.Devices {
		if p := d.Content.Problem; d.Content.Type == "ntfs" && p != nil && p.Reason == plan.NTFSHibernated {
			l.Hibernated = p
			return nil
		}
		// Probe has checked NTFS. What Probe could not mount is not mounted here either.
		p := d.Content.Problem
		if d.Content.Type != "ntfs" && (p == nil || p.Reason != plan.FSDamaged && p.Reason != plan.NewerFeature) {
			devices = append(devices, held{d.Name, d.Content.Type})
		}
	}
	var err error
	l.Hibernated, err = a.memoryImage(ctx, devices)
	return err
}

// Hibernated returns a refusal if one of the appliance's disks has a system that waits to
// be resumed. Nothing stays mounted.
func (a *Appliance) Hibernated(ctx context.Context) (*plan.Refusal, error) {
	if _, _, err := a.openAll(ctx); err != nil {
		return nil, err
	}
	var all map[string]string
	if err := a.do(ctx, func() (e error) { all, e = a.g.List_filesystems(); return }); err != nil {
		return nil, err
	}
	var devices []held
	for _, mountable := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(mountable, subvolume) {
			devices = append(devices, held{a.nameOf(mountable), all[mountable]})
		}
	}
	for _, o := range a.open {
		if o.crypt == "" || slices.ContainsFunc(devices, func(h held) bool { return h.device == o.crypt }) {
			continue
		}
		if kind, err := a.fsType(ctx, a.path(o.crypt)); err == nil {
			devices = append(devices, held{o.crypt, kind})
		}
	}
	return a.memoryImage(ctx, devices)
}

// memoryImage checks each device: its header, its hiberfil.sys, and the swap files in its
// file system.
func (a *Appliance) memoryImage(ctx context.Context, devices []held) (*plan.Refusal, error) {
	// A boot loader names the offset of a swap file, but not its file system: so the
	// offset is checked on every file system.
	var offsets []int64
	var mounted []string
	for _, d := range devices {
		switch d.kind {
		case memory.Type:
			return a.asleep(d.device, "the swap"), nil
		case "ntfs":
			var code int
			err := a.do(ctx, func() (e error) { code, e = a.g.Ntfs_3g_probe(true, a.path(d.device)); return })
			if err == nil && code == ntfsHibernated {
				return plan.Refuse(plan.Hibernated, d.device, "Windows on %s is hibernated, or was shut down with fast startup", d.device), nil
			}
		case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs":
			at, file, err := a.suspendedFile(ctx, d.device)
			if err != nil {
				return nil, err
			}
			if file != "" {
				return a.asleep(d.device, file+", a swap file"), nil
			}
			offsets, mounted = append(offsets, at...), append(mounted, d.device)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	slices.Sort(offsets)
	offsets = slices.Compact(offsets)
	for _, device := range mounted {
		for _, page := range offsets[:min(len(offsets), maxOffsets)] {
			if a.suspendedAt(ctx, device, page) {
				return a.asleep(device, "the swap file that the boot loader names"), nil
			}
		}
	}
	return nil, ctx.Err()
}

func (a *Appliance) asleep(device, where string) *plan.Refusal {
	return plan.Refuse(plan.Hibernated, device, "a hibernated system waits to be resumed: %s on %s holds the image of its memory", where, device)
}

// The usual places of swap files, and the configuration files that name others, in the
// top directory of a file system or of a usual subvolume.
const (
	subvolumes  = "/{,@/,@rootfs/,root/,@swap/,swap/}"
	customFiles = subvolumes + "{swapfile*,swap.img*,swap,*.swap,swap/swapfile*,swap/*.swap,var/swap,var/swapfile*,var/swap/swapfile*,var/cache/swap/*}"
	fstabs      = subvolumes + "etc/fstab"
	units       = subvolumes + "etc/systemd/system/*.swap"
	loaders     = subvolumes + "{,boot/}{etc/default/grub,etc/kernel/cmdline,grub/grub.cfg,grub2/grub.cfg,grub2/grubenv,loader/entries/*.conf,extlinux/extlinux.conf}"
)

// suspendedFile looks for a swap file with a memory image in one file system, and for
// offsets of others in the configuration of its boot loader. A file system that cannot be
// mounted is skipped: the steps that need it report why.
func (a *Appliance) suspendedFile(ctx context.Context, device string) (offsets []int64, file string, err error) {
	if err := a.do(ctx, func() error { return a.g.Mount_ro(a.path(device), "/") }); err != nil {
		return nil, "", ctx.Err()
	}
	defer func() {
		if e := a.do(ctx, a.g.Umount_all); err == nil {
			err = e
		}
	}()
	files := a.glob(ctx, customFiles)
	for _, name := range a.glob(ctx, fstabs) {
		files = append(files, anywhere(memory.SwapFiles(a.text(ctx, name)), name)...)
	}
	for _, name := range a.glob(ctx, units) {
		files = append(files, anywhere([]string{memory.UnitFile(string(a.text(ctx, name)))}, name)...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	for _, name := range files[:min(len(files), maxFiles)] {
		if memory.Suspended(a.head(ctx, name, memory.HeaderSize)) {
			return nil, name, ctx.Err()
		}
	}
	for _, name := range a.glob(ctx, loaders) {
		offsets = append(offsets, memory.ResumeOffsets(string(a.text(ctx, name)))...)
	}
	return offsets, "", ctx.Err()
}

// anywhere returns the places in one file system where a file of the guest's tree may be:
// below the subvolume of the file that names it, and with every possible mount point cut
// off its path.
func anywhere(files []string, namedBy string) []string {
	top, _, _ := strings.Cut(namedBy, "/etc/")
	var all []string
	for _, file := range files {
		if file == "" {
			continue
		}
		all = append(all, filepath.Join("/", top, file))
		for rest := file; rest != ""; {
			all = append(all, rest)
			i := strings.IndexByte(rest[1:], '/')
			if i < 0 {
				break
			}
			rest = rest[1+i:]
		}
	}
	return all
}

// glob returns the files that match; none after an error.
func (a *Appliance) glob(ctx context.Context, pattern string) []string {
	var names []string
	_ = a.do(ctx, func() (e error) { names, e = a.g.Glob_expand(pattern, nil); return })
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "/") })
}

// Limits for reading a guest's configuration, which is not trusted.
const (
	maxText    = 256 << 10
	maxFiles   = 300
	maxOffsets = 32
)

func (a *Appliance) text(ctx context.Context, name string) []byte { return a.head(ctx, name, maxText) }

// head returns the beginning of a plain file; nothing for other types of file.
func (a *Appliance) head(ctx context.Context, name string, n int) []byte {
	var plain bool
	if err := a.do(ctx, func() (e error) { plain, e = a.g.Is_file(name, nil); return }); err != nil || !plain {
		return nil
	}
	var head []byte
	_ = a.do(ctx, func() (e error) { head, e = a.g.Pread(name, n, 0); return })
	return head
}

// suspendedAt checks a page of a device, for each possible page size: a kernel counts
// resume_offset in its own pages.
func (a *Appliance) suspendedAt(ctx context.Context, device string, page int64) bool {
	for _, bytes := range []int64{4 << 10, 16 << 10, 64 << 10} {
		var head []byte
		err := a.do(ctx, func() (e error) {
			head, e = a.g.Pread_device(a.path(device), int(bytes), page*bytes)
			return
		})
		if err == nil && memory.Suspended(head) {
			return true
		}
	}
	return false
}
