package appliance

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/bus"
)

// LookForBus finds what has to be known before disks of the guest move to another bus. The
// disks are the appliance's drives, in their order; Probe has opened what is on them. It only
// reads.
func (a *Appliance) LookForBus(ctx context.Context, disks []bus.Disk) (*bus.Findings, error) {
	if len(disks) > len(a.drives) {
		return nil, fmt.Errorf("the appliance has %d drives, and %d disks were named", len(a.drives), len(disks))
	}
	found := &bus.Findings{Disks: slices.Clone(disks)}
	defer func() { _ = silently(a.g, a.g.Umount_all) }()
	devices, err := a.guestDevices(ctx, found.Disks)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.Type == "BitLocker" {
			found.BitLocker = append(found.BitLocker, plan.PartitionName(d.Disk, strconv.Itoa(d.Number)))
		}
	}
	roots, err := a.systems(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(roots) == 0:
		found.Unclear = "no operating system was found on its disks"
		return found, nil
	case len(roots) > 1:
		found.Unclear = fmt.Sprintf("%d operating systems are installed, on %s", len(roots), a.namesOf(roots))
		return found, nil
	}
	return found, a.lookAtSystem(ctx, roots[0], devices, found)
}

// lookAtSystem looks at the only system of the guest.
func (a *Appliance) lookAtSystem(ctx context.Context, root string, devices []bus.Device, found *bus.Findings) error {
	err := a.do(ctx, func() (e error) { found.Product, e = a.g.Inspect_get_product_name(root); return })
	if err == nil {
		err = a.do(ctx, func() (e error) { found.System, e = a.g.Inspect_get_type(root); return })
	}
	if err != nil {
		return err
	}
	s, err := a.system(ctx, root)
	if err != nil {
		return err
	}
	tree := &Tree{a: a}
	switch {
	case s.windows:
		if err := tree.mount(ctx, map[string]string{"/": root}); err != nil {
			return err
		}
		return a.lookAtWindows(ctx, root, found)
	case found.System == "linux":
		if err := tree.mount(ctx, s.mounts); err != nil {
			return err
		}
		for point, why := range tree.failed {
			if within(point, "/boot") || within(point, "/usr") || within(point, "/etc") || within(point, "/efi") {
				found.Unclear = fmt.Sprintf("%s cannot be mounted: %v", point, why)
			}
		}
		a.markData(s.mounts, devices, found.Disks)
		found.Linux, err = bus.LookAtLinux(ctx, busFiles{tree}, devices)
		return err
	}
	found.Unclear = fmt.Sprintf("the system is %s", cmp.Or(found.Product, found.System))
	return nil
}

// busFiles is a file tree for package bus.
type busFiles struct{ *Tree }

// Names implements bus.Files.
func (f busFiles) Names(ctx context.Context, dir string) ([]string, error) {
	real, e, err := f.stat(ctx, dir)
	if err != nil {
		return nil, absent(err)
	}
	if !e.IsDir() {
		return nil, fs.ErrNotExist
	}
	var names []string
	err = f.a.do(ctx, func() (e error) { names, e = f.a.g.Ls(real); return })
	return names, err
}

// Read implements bus.Files.
func (f busFiles) Read(ctx context.Context, path string, w io.Writer) error {
	return absent(f.Tree.Read(ctx, path, w))
}

// absent turns the refusal of a file that does not exist, or is no file, into fs.ErrNotExist.
func absent(err error) error {
	if r, refused := plan.IsRefusal(err); refused && (r.Reason == plan.NotFound || r.Reason == plan.NotAFile) {
		return fs.ErrNotExist
	}
	return err
}

// guestDevices returns the disks and partitions, by the names that the guest gives them.
func (a *Appliance) guestDevices(ctx context.Context, disks []bus.Disk) ([]bus.Device, error) {
	var partitions []string
	if err := a.do(ctx, func() (e error) { partitions, e = a.g.List_partitions(); return }); err != nil {
		return nil, err
	}
	called := bus.GuestNames(disks)
	var all []bus.Device
	for i, d := range disks {
		all = append(all, a.busDevice(ctx, "/dev/"+diskName(i), bus.Device{Names: called[i], Disk: d.Target}))
		for _, path := range partitions {
			m := ofDisk.FindStringSubmatch(strings.TrimPrefix(path, "/dev/"))
			if m == nil || m[1] != diskName(i) {
				continue
			}
			p := bus.Device{Disk: d.Target}
			p.Number, _ = strconv.Atoi(m[2])
			for _, name := range called[i] {
				p.Names = append(p.Names, name+m[2])
			}
			all = append(all, a.busDevice(ctx, path, p))
		}
	}
	return all, context.Cause(ctx)
}

// busDevice adds blkid's values, as far as there are any.
func (a *Appliance) busDevice(ctx context.Context, path string, d bus.Device) bus.Device {
	var tags map[string]string
	_ = a.do(ctx, func() (e error) { tags, e = a.g.Blkid(path); return })
	d.Type, d.UUID, d.PartUUID = tags["TYPE"], tags["UUID"], tags["PART_ENTRY_UUID"]
	return d
}

// markData marks the disks that the system starts without. A volume may lie on every disk
// that has a part of an LVM, a LUKS or an array.
func (a *Appliance) markData(mounts map[string]string, devices []bus.Device, disks []bus.Disk) {
	for i := range disks {
		disks[i].Data = true
		for _, d := range devices {
			if d.Disk == disks[i].Target && slices.Contains([]string{plan.ContentPV, plan.ContentLUKS, "linux_raid_member"}, d.Type) {
				disks[i].Data = false
			}
		}
	}
	for point, mountable := range mounts {
		if point != "/" && point != "/usr" && !within(point, "/boot") {
			continue
		}
		device := a.path(a.deviceHere(mountable))
		for i := range disks {
			if m := ofDisk.FindStringSubmatch(strings.TrimPrefix(device, "/dev/")); m != nil && m[1] == diskName(i) {
				disks[i].Data = false
			}
		}
	}
}

// lookAtWindows looks at the Windows that is mounted at /.
func (a *Appliance) lookAtWindows(ctx context.Context, root string, found *bus.Findings) (err error) {
	var systemRoot, arch, software, system string
	var major, minor int
	for _, call := range []func() error{
		func() (e error) { systemRoot, e = a.g.Inspect_get_windows_systemroot(root); return },
		func() (e error) { arch, e = a.g.Inspect_get_arch(root); return },
		func() (e error) { major, e = a.g.Inspect_get_major_version(root); return },
		func() (e error) { minor, e = a.g.Inspect_get_minor_version(root); return },
		func() (e error) { software, e = a.g.Inspect_get_windows_software_hive(root); return },
		func() (e error) { system, e = a.g.Inspect_get_windows_system_hive(root); return },
	} {
		if err := a.do(ctx, call); err != nil {
			return err
		}
	}
	var build string
	err = a.withHive(ctx, software, func(h *hive) (err error) {
		build, err = h.text(ctx, `Microsoft\Windows NT\CurrentVersion`, "CurrentBuildNumber")
		return err
	})
	if err == nil {
		err = a.withHive(ctx, system, func(h *hive) (err error) {
			found.Windows, found.Unclear, err = bus.LookAtWindows(ctx, h, func(name string) (bool, error) {
				return a.hasFile(ctx, systemRoot+"/System32/drivers/"+name)
			})
			return err
		})
	}
	if found.Windows != nil {
		found.Windows.Architecture = arch
		found.Windows.Version = strings.TrimSuffix(fmt.Sprintf("%d.%d.%s", major, minor, build), ".")
	}
	return err
}

// hasFile reports whether Windows has a file.
func (a *Appliance) hasFile(ctx context.Context, path string) (bool, error) {
	err := a.do(ctx, func() error { _, err := a.g.Case_sensitive_path(path); return err })
	return err == nil, context.Cause(ctx)
}
