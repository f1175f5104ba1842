package bus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
)

// Check returns what has to be rewritten in the guest before the disks that move in f go from
// one bus to another, and what the user should know before it. The error is a *plan.Refusal
// if the guest would not start afterwards, or if that cannot be told; the edits and warnings
// are then there as well:
//
//   - bus-driver: the driver of the new bus is not there when the system starts. Item is the
//     driver, Subject the kernel's version or "Windows".
//   - bus-disabled: Windows has the driver, but does not load it. Item is the driver.
//   - bus-names: a file calls the disk by a name that cannot be replaced. Subject is the path.
//   - bus-unclear: it cannot be told.
//   - bitlocker: the system's volume is encrypted with BitLocker. Subject is the volume.
func Check(f Findings, from, to string) (edits []plan.FileEdit, warnings []string, err error) {
	var refusal *plan.Refusal
	switch {
	case f.Linux != nil:
		edits, warnings = f.Linux.rewrite(f, from, to)
		refusal = f.Linux.refuseDriver(f, to)
		if refusal == nil {
			refusal = f.Linux.refuseNames(f, from, to)
		}
	case f.Windows != nil:
		warnings, refusal = f.Windows.check(to)
	case len(f.BitLocker) > 0:
		refusal = plan.Refuse(plan.BitLocker, f.BitLocker[0], "%s is encrypted with BitLocker: its key may depend on the bus of the disk, and the drivers of Windows cannot be looked at", f.BitLocker[0])
	}
	switch {
	case refusal != nil:
		return edits, warnings, refusal
	case f.Unclear != "":
		return edits, warnings, plan.Refuse(plan.BusUnclear, "", "it cannot be told whether the guest starts from another bus: %s", f.Unclear)
	case f.Linux == nil && f.Windows == nil:
		return edits, warnings, plan.Refuse(plan.BusUnclear, "", "it cannot be told whether the guest starts from another bus: no Linux and no Windows was found on its disks")
	}
	return edits, warnings, nil
}

// linuxDrivers has the drivers that a Linux needs for a disk on each bus; of those in one
// string, one is enough.
var linuxDrivers = map[string][]string{
	Virtio: {"virtio_pci", "virtio_blk"},
	SCSI:   {"virtio_pci", "virtio_scsi", "sd_mod"},
	SATA:   {"ahci", "sd_mod"},
	IDE:    {"ata_piix ata_generic", "sd_mod"},
}

// refuseDriver returns a refusal unless each kernel that may be started has the drivers.
func (l *Linux) refuseDriver(f Findings, to string) *plan.Refusal {
	if len(l.Kernels) == 0 {
		return plan.Refuse(plan.BusUnclear, "", "it cannot be told whether the guest starts from another bus: no kernel was found in it")
	}
	data := !slices.ContainsFunc(f.Disks, func(d Disk) bool { return d.Moves && !d.Data })
	for _, k := range l.Kernels {
		for _, driver := range linuxDrivers[to] {
			if k.has(driver, data) {
				continue
			}
			driver, _, _ = strings.Cut(driver, " ")
			if k.Unclear != "" {
				return plan.Refuse(plan.BusUnclear, k.Version, "it cannot be told whether kernel %s has the driver %s when it starts: %s", k.Version, driver, k.Unclear)
			}
			refusal := plan.Refuse(plan.BusDriver, k.Version, "kernel %s has no driver %s when it starts: %s%s", k.Version, driver, k.where(), l.chosen())
			refusal.Item = driver
			return refusal
		}
	}
	return nil
}

// has reports whether a kernel has one of the drivers when it starts, or later.
func (k Kernel) has(drivers string, later bool) bool {
	for driver := range strings.FieldsSeq(drivers) {
		if slices.Contains(k.Builtin, driver) || slices.Contains(k.Included, driver) || later && slices.Contains(k.Installed, driver) {
			return true
		}
	}
	return false
}

func (k Kernel) where() string {
	if k.Initramfs == "" {
		return "it is not built in, and the kernel starts without an initramfs"
	}
	return "it is not built in, and not in " + k.Initramfs
}

// chosen says why this kernel counts.
func (l *Linux) chosen() string {
	if l.Loader == "" {
		return "; which kernel the boot loader starts could not be told, so all must have it"
	}
	return ""
}

// changes reports whether a name changes. Linux calls the disks of all buses but virtio sda,
// sdb and so on, in an order that may change if there are several.
func changes(f Findings, name, from, to string) bool {
	return len(f.Disks) != 1 || from == Virtio || to == Virtio || !strings.HasPrefix(name, "/dev/sd")
}

// rewrite returns the edits, and warnings about names that stay.
func (l *Linux) rewrite(f Findings, from, to string) (edits []plan.FileEdit, warnings []string) {
	changed := map[string]bool{}
	for _, n := range l.Names {
		if !changes(f, n.Text, from, to) {
			continue
		}
		if n.Becomes != "" {
			changed[n.Path] = true
		} else if n.Harmless {
			warnings = append(warnings, fmt.Sprintf("%s, line %d, names %s, which may be another disk afterwards: %s", n.Path, n.Line, n.Text, n.Why))
		}
	}
	for _, e := range l.Edits {
		if changed[e.Path] {
			edits = append(edits, e)
		}
	}
	return edits, warnings
}

// refuseNames returns a refusal for a name that cannot be replaced.
func (l *Linux) refuseNames(f Findings, from, to string) *plan.Refusal {
	for _, n := range l.Names {
		switch {
		case n.Harmless || !changes(f, n.Text, from, to):
		case n.Becomes == "":
			return plan.Refuse(plan.BusNames, n.Path, "%s, line %d, names %s, which changes with the bus and cannot be replaced: %s", n.Path, n.Line, n.Text, n.Why)
		case slices.Contains(l.Copied, n.Path):
			return plan.Refuse(plan.BusNames, n.Path, "%s, line %d, names %s, which changes with the bus, and the initramfs has a copy of the file", n.Path, n.Line, n.Text)
		}
	}
	return nil
}

// check returns a refusal unless Windows loads the driver of the bus when it starts.
func (w *Windows) check(to string) (warnings []string, _ *plan.Refusal) {
	services := map[string][]string{Virtio: {"viostor"}, SCSI: {"vioscsi"}, SATA: {"storahci", "msahci"}, IDE: {"intelide", "atapi"}}[to]
	if to == IDE {
		for _, name := range services { // both are needed
			if r := w.refuse(name, false); r != nil {
				return nil, r
			}
		}
		return nil, nil
	}
	name := services[0]
	for _, s := range services {
		if d := w.driver(s); d.Start != nil {
			name = s
			break
		}
	}
	d := w.driver(name)
	if r := w.refuse(name, true); r != nil {
		return nil, r
	}
	if ids := d.Devices; (to == Virtio || to == SCSI) && len(ids) == 1 {
		warnings = append(warnings, fmt.Sprintf("Windows knows %s only for the device %s: with another machine type or another version of virtio, the disk may be a device that it does not know", name, ids[0]))
	}
	return warnings, nil
}

// refuse returns a refusal unless Windows loads a driver when it starts.
func (w *Windows) refuse(name string, byDevice bool) *plan.Refusal {
	d := w.driver(name)
	reason, why := plan.Reason(""), ""
	switch {
	case !d.File:
		reason, why = plan.BusDriver, `System32\drivers has no `+name+".sys"
	case d.Start == nil:
		reason, why = plan.BusDriver, w.ControlSet+" has no such service"
	case *d.Start != 0:
		reason, why = plan.BusDisabled, fmt.Sprintf("its service has Start %d in %s, and not 0", *d.Start, w.ControlSet)
	case d.Override != nil && *d.Override != 0:
		reason, why = plan.BusDisabled, fmt.Sprintf("its service has StartOverride %d in %s, because it had no disk at the last start", *d.Override, w.ControlSet)
	case byDevice && len(d.Devices) == 0:
		reason, why = plan.BusDriver, "it knows no device that the driver is for"
	default:
		return nil
	}
	refusal := plan.Refuse(reason, "Windows", "Windows does not load the driver %s when it starts: %s", name, why)
	refusal.Item = name
	return refusal
}

func (w *Windows) driver(name string) WindowsDriver {
	for _, d := range w.Drivers {
		if d.Name == name {
			return d
		}
	}
	return WindowsDriver{Name: name}
}
