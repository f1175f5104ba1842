package disk

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// Choose returns the disk of a domain with that target or source path. An empty
// name chooses the only disk that the domain writes to.
func Choose(domainName string, disks []domain.Disk, name string) (domain.Disk, error) {
	var writable []domain.Disk
	var names []string
	for _, d := range disks {
		if name != "" && (d.Target == name || image.SameFile(d.Source, name)) {
			return d, nil
		}
		if d.Writable() {
			writable = append(writable, d)
			names = append(names, d.Target)
		}
	}
	list := strings.Join(names, ", ")
	switch {
	case name != "":
		return domain.Disk{}, plan.Refuse(plan.NotFound, name, "domain %s has no disk %s; it has %s", domainName, name, list)
	case len(writable) == 0:
		return domain.Disk{}, plan.Refuse(plan.NotFound, domainName, "domain %s has no writable disk", domainName)
	case len(writable) > 1:
		return domain.Disk{}, plan.Refuse(plan.AmbiguousDisk, domainName, "domain %s has %d disks: %s", domainName, len(writable), list)
	}
	return writable[0], nil
}

// ByTarget returns the disk with that target.
func ByTarget(disks []domain.Disk, target string) (domain.Disk, bool) {
	for _, d := range disks {
		if d.Target == target {
			return d, true
		}
	}
	return domain.Disk{}, false
}

// CheckChangeable refuses a disk whose image cannot be changed safely, or is not on
// this host.
func CheckChangeable(domainName string, d domain.Disk) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, domainName, "disk %s of %s %s", d.Target, domainName, fmt.Sprintf(format, args...))
	}
	switch {
	case d.Fixed:
		return refuse(plan.DiskReadOnly, "is read-only")
	case d.Device != "disk":
		return refuse(plan.DiskUnsupported, "is a %s, not a disk", d.Device)
	case d.Transient:
		return refuse(plan.DiskUnsupported, "is transient: its changes are discarded when the guest stops")
	case d.Shared:
		return refuse(plan.DiskShared, "is shareable: other guests may write to it at the same time")
	case d.Why != "":
		return RefuseVolume(domainName, d)
	case d.Kind != "file" && d.Kind != "block":
		return refuse(plan.DiskUnsupported, "is of type %q: only files and block devices can be grown", d.Kind)
	case d.Format == "":
		return refuseNoFormat(domainName, d)
	}
	return nil
}

// RefuseVolume refuses the volume of a storage pool that is not a file or a block
// device, or that cannot be found.
func RefuseVolume(domainName string, d domain.Disk) error {
	r := plan.Refuse(plan.DiskUnsupported, domainName, "disk %s of %s is not a file that can be grown: %s", d.Target, domainName, d.Why)
	if d.Asleep {
		r.Subject, r.Way = d.Volume.Pool, plan.WayStartPool
	}
	return r
}

func refuseNoFormat(domainName string, d domain.Disk) error {
	return plan.Refuse(plan.FormatMissing, domainName, "disk %s of %s (%s) has no format in its definition: its <disk> lacks <driver name='qemu' type='qcow2'/>, or type='raw' (virsh edit %s)",
		d.Target, domainName, d.Source, domainName)
}

// CheckResizable refuses a domain whose disks cannot be resized now, whether it
// runs or not.
func CheckResizable(domainName string, s domain.Status) error {
	if err := CheckNoJob(domainName, s); err != nil {
		return err
	}
	return CheckNoBlockJob(domainName, s)
}

// CheckNoJob refuses a domain with a job of libvirt's under way.
func CheckNoJob(domainName string, s domain.Status) error {
	if s.Job {
		return plan.Refuse(plan.DomainJob, domainName, "domain %s has a running job: a backup, a migration or a save", domainName)
	}
	return nil
}

// CheckNoBlockJob refuses a domain with a block job under way on one of its disks.
func CheckNoBlockJob(domainName string, s domain.Status) error {
	if len(s.Blocked) > 0 {
		return plan.Refuse(plan.DomainJob, domainName, "domain %s has a running block job on %s", domainName, strings.Join(s.Blocked, ", "))
	}
	return nil
}
