package plan

import (
	"fmt"
	"slices"
)

// checkEarly moves the full checks of file systems out of the outage of a running guest, and
// returns them as steps that come before the shutdown, on a snapshot of the disk. What is
// left in the outage is to compare the superblock, and the e2fsck that resize2fs wants. A
// file system without a journal is not consistent in a snapshot, and is only checked in the
// outage.
func (p *Plan) checkEarly() []Step {
	g := p.Target.Guest
	if g == nil || !g.Running || p.Request.Check == CheckFull || p.Request.Check == CheckQuick {
		return nil
	}
	var early []Step
	for i, s := range p.Steps {
		d, ok := p.Before.Find(s.Device)
		if s.Kind != StepCheck || !s.Full || !ok || !d.Content.journaled() {
			continue
		}
		if g.Snapshot {
			s.Kind = StepSnapshotCheck
			s.Summary = fmt.Sprintf("check %s on %s on a snapshot, while %s runs", s.Content, s.Device, g.Name)
			early = append(early, s)
		}
		if !p.growsMounted(d) {
			continue
		}
		p.Steps[i] = checkFS(d, false)
		if !g.Snapshot {
			p.Warnings = append(p.Warnings, fmt.Sprintf("the %s on %s is not checked in full: this libvirt or QEMU makes no snapshot of a running disk on which it could be checked before the shutdown. --check full checks it during the outage", s.Content, s.Device))
		}
	}
	return early
}

// growsMounted reports whether the kernel grows what is on the device.
func (p *Plan) growsMounted(d *Device) bool {
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Kind == StepFS && s.Device == d.Name })
	if i < 0 {
		return d.Content.growsMounted(d.Content.Size)
	}
	return p.Steps[i].Mounted
}

// SnapshotChecks returns the steps on a snapshot, which come before the shutdown.
func (p *Plan) SnapshotChecks() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Kind != StepSnapshotCheck })
}
