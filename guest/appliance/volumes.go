package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/memory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// FileSystem is one file system of a guest, with how full it is.
type FileSystem struct {
	// Device is its name by the names of the guest's disks: "vda2", "vg/root".
	Device string `json:"device"`
	Type   string `json:"type"`
	Label  string `json:"label,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	// Size is the size of the file system, from statvfs(2).
	Size size.Bytes `json:"size"`
	// Used is how much of it is in use.
	Used size.Bytes `json:"used"`
	// Free is the space that users other than root can still use: Used plus Free may be
	// less than Size.
	Free size.Bytes `json:"free"`
	// Mounted is where the guest mounts it, if requested: "/", "C:".
	Mounted []string `json:"mounted,omitempty"`
	// Problem is why the sizes are not known.
	Problem *plan.Refusal `json:"problem,omitempty"`
}

// volume is a file system or a LUKS container. Its mountable, as libguestfs calls it, is a
// device or a btrfs subvolume; name is its device's name for people.
type volume struct{ mountable, kind, name string }

// openAll opens the LUKS containers for which there are keys, and activates the volume
// groups, however they are stacked. It returns what can be mounted, and the containers that
// stay locked.
func (a *Appliance) openAll(ctx context.Context) ([]volume, map[string]*plan.Refusal, error) {
	locked := map[string]*plan.Refusal{}
	if err := a.openGroups(ctx, false); err != nil {
		return nil, nil, err
	}
	for {
		found, err := a.volumes(ctx)
		if err != nil {
			return nil, nil, err
		}
		opened := false
		for _, v := range found {
			name := v.name
			if v.kind != plan.ContentLUKS || a.isOpen(name) || locked[name] != nil {
				continue
			}
			if locked[name], err = a.unlock(ctx, name); err != nil {
				return nil, nil, err
			}
			opened = opened || locked[name] == nil
		}
		if !opened {
			return found, locked, nil
		}
		if err := a.openGroups(ctx, true); err != nil {
			return nil, nil, err
		}
	}
}

func (a *Appliance) unlock(ctx context.Context, name string) (*plan.Refusal, error) {
	var uuid string
	_ = a.do(ctx, func() (e error) { uuid, e = a.g.Vfs_uuid(a.path(name)); return })
	return a.openCrypt(ctx, name, uuid)
}

func (a *Appliance) isOpen(device string) bool {
	return slices.ContainsFunc(a.open, func(o opened) bool { return o.crypt != "" && o.device == device })
}

// openGroups activates the volume groups; anew looks for groups in containers that were
// just opened. If a group that belongs to another system makes LVM's scan fail, that
// group's PVs are hidden from LVM.
func (a *Appliance) openGroups(ctx context.Context, anew bool) error {
	var names []string
	if !anew {
		if err := a.do(ctx, func() (e error) { names, e = a.g.Pvs(); return }); err != nil || len(names) == 0 {
			return err
		}
	}
	failed := a.openLVM(ctx)
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	if err := a.do(ctx, func() (e error) { names, e = a.g.Pvs(); return }); err != nil {
		return err
	}
	var devices []string
	for _, name := range names {
		if strings.HasPrefix(name, "/dev/") { // for a missing PV, LVM prints a word in brackets
			devices = append(devices, a.nameOf(name))
		}
	}
	pvs, err := a.readPVs(ctx, devices)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(pvs, func(p pv) bool { return p.problem != nil }) {
		return failed
	}
	return a.openGroupsOf(ctx, pvs)
}

// volumes lists the file systems and LUKS containers, by name.
func (a *Appliance) volumes(ctx context.Context) ([]volume, error) {
	var all map[string]string
	if err := a.do(ctx, func() (e error) { all, e = a.g.List_filesystems(); return }); err != nil {
		return nil, err
	}
	var found []volume
	for _, mountable := range slices.Sorted(maps.Keys(all)) {
		if kind := all[mountable]; kind != "" && kind != "unknown" && kind != "swap" && kind != memory.Type {
			found = append(found, volume{mountable, kind, a.deviceOf(mountable)})
		}
	}
	containers, err := a.containers(ctx, all)
	return append(found, containers...), err
}

// containers lists the LUKS containers. List_filesystems lists all devices, even those with
// unknown content, except LUKS containers and PVs: so they are among the others.
func (a *Appliance) containers(ctx context.Context, listed map[string]string) ([]volume, error) {
	var found []volume
	for _, list := range []func() ([]string, error){a.g.List_devices, a.g.List_partitions, a.g.Lvs} {
		var devices []string
		if err := a.do(ctx, func() (e error) { devices, e = list(); return }); err != nil {
			return nil, err
		}
		for _, device := range devices {
			if _, ok := listed[device]; ok {
				continue
			}
			kind, err := a.fsType(ctx, device)
			if ctx.Err() != nil {
				return nil, err
			}
			if kind == plan.ContentLUKS {
				found = append(found, volume{device, kind, a.nameOf(device)})
			}
		}
	}
	return found, nil
}

// Usage returns how full every file system is. where adds the mount points, which requires
// an inspection and takes longer.
func (a *Appliance) Usage(ctx context.Context, where bool) ([]FileSystem, error) {
	found, locked, err := a.openAll(ctx)
	if err != nil {
		return nil, err
	}
	mounts := map[string][]string{}
	if where {
		if mounts, err = a.guestMounts(ctx); err != nil {
			return nil, err
		}
	}
	var all []FileSystem
	for _, v := range found {
		if strings.HasPrefix(v.mountable, subvolume) || a.isOpen(v.name) {
			continue // it is counted with its file system
		}
		fs, err := a.howFull(ctx, v, locked[v.name])
		if err != nil {
			return nil, err
		}
		fs.Mounted = mounts[v.name]
		all = append(all, fs)
	}
	return all, nil
}

// subvolume is the prefix of libguestfs's name for a btrfs subvolume.
const subvolume = "btrfsvol:"

func (a *Appliance) howFull(ctx context.Context, v volume, locked *plan.Refusal) (FileSystem, error) {
	fs := FileSystem{Device: v.name, Type: v.kind, Problem: locked}
	var tags map[string]string
	_ = a.do(ctx, func() (e error) { tags, e = a.g.Blkid(a.path(v.name)); return })
	fs.Label, fs.UUID = tags["LABEL"], tags["UUID"]
	if locked != nil {
		return fs, nil
	}
	err := a.do(ctx, func() error { return a.g.Mount_ro(v.mountable, "/") })
	if err == nil {
		var stat *guestfs.StatVFS
		err = a.do(ctx, func() (e error) { stat, e = a.g.Statvfs("/"); return })
		if err == nil {
			unit := size.Bytes(stat.Frsize)
			fs.Size, fs.Free = size.Bytes(stat.Blocks)*unit, size.Bytes(stat.Bavail)*unit
			fs.Used = size.Bytes(stat.Blocks-stat.Bfree) * unit
		}
		err = errors.Join(err, a.do(ctx, a.g.Umount_all))
	}
	if ctx.Err() != nil {
		return fs, context.Cause(ctx)
	}
	if err != nil {
		fs.Problem = a.judge(ctx, v.name, fs.Device, v.kind, err)
	}
	return fs, nil
}

// guestMounts returns where the guest's systems mount each device.
func (a *Appliance) guestMounts(ctx context.Context) (map[string][]string, error) {
	roots, err := a.systems(ctx)
	if err != nil {
		return nil, err
	}
	where := map[string][]string{}
	for _, root := range roots {
		s, err := a.system(ctx, root)
		if err != nil {
			return nil, err
		}
		for point, mountable := range s.mounts {
			if s.windows {
				point = point + ":"
			}
			name := a.deviceOf(mountable)
			where[name] = append(where[name], point)
		}
	}
	for name := range where {
		slices.Sort(where[name])
	}
	return where, nil
}

// systems returns the roots of the operating systems on the disks; none if inspection
// fails.
func (a *Appliance) systems(ctx context.Context) ([]string, error) {
	var roots []string
	_ = a.do(ctx, func() (e error) { roots, e = a.g.Inspect_os(); return })
	slices.Sort(roots)
	if err := a.do(ctx, a.g.Umount_all); err != nil {
		return nil, err
	}
	return a.guestRoots(ctx, roots)
}

// system is one operating system, with its mount points or drive letters.
type system struct {
	windows bool
	mounts  map[string]string
}

func (a *Appliance) system(ctx context.Context, root string) (system, error) {
	var s system
	var kind string
	err := a.do(ctx, func() (e error) { kind, e = a.g.Inspect_get_type(root); return })
	if err != nil {
		return s, err
	}
	get := a.g.Inspect_get_mountpoints
	if s.windows = kind == "windows"; s.windows {
		get = a.g.Inspect_get_drive_mappings
	}
	err = a.do(ctx, func() (e error) { s.mounts, e = get(root); return })
	if s.windows {
		letters := map[string]string{}
		for letter, mountable := range s.mounts {
			letters[strings.ToUpper(letter)] = mountable
		}
		s.mounts = letters
	}
	return s, err
}

// find finds a file system by its device's name for people, or by UUID=… or LABEL=….
func (a *Appliance) find(ctx context.Context, all []volume, name string) (volume, error) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "/dev/mapper/"), "/dev/")
	for _, v := range all {
		if strings.HasPrefix(v.mountable, subvolume) {
			continue
		}
		if v.name == name {
			return v, nil
		}
		if key, value, ok := strings.Cut(name, "="); ok {
			var tags map[string]string
			_ = a.do(ctx, func() (e error) { tags, e = a.g.Blkid(a.path(v.name)); return })
			if value != "" && strings.EqualFold(tags[strings.ToUpper(key)], value) {
				return v, nil
			}
		}
	}
	return volume{}, plan.Refuse(plan.NotFound, name, "there is no file system %s; the file systems are %s", name, a.list(all))
}

// list returns the names of file systems, for a message.
func (a *Appliance) list(all []volume) string {
	var words []string
	for _, v := range all {
		if !strings.HasPrefix(v.mountable, subvolume) {
			words = append(words, fmt.Sprintf("%s (%s)", v.name, v.kind))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
