package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/live"
)

// DetachRequest asks for a disk to be detached from a domain.
type DetachRequest struct {
	// Disk is its target or the path of its image.
	Disk  string
	Scope Scope
	// Delete deletes the image as well.
	Delete bool
	// Unmount unmounts what is on it, and removes its lines from the guest's fstab.
	Unmount bool
	// EvenMounted detaches the disk although the guest uses it, or may use it.
	EvenMounted bool
	// Limit is how long the guest may take to release the disk; 0 is ReleaseLimit.
	Limit time.Duration
}

// detachment is the data of the job.
type detachment struct {
	Target string `json:"target"`
	Path   string `json:"path"`
	// Live and Config are the elements of the disk in the two definitions; "" if the disk
	// is not in that definition, or stays there.
	Live   string  `json:"live,omitempty"`
	Config string  `json:"config,omitempty"`
	Limit  float64 `json:"limit"` // seconds
	// Name is the name of the disk in the guest, Blocks are the devices on it.
	Name    string             `json:"name,omitempty"`
	Blocks  []live.Device      `json:"blocks,omitempty"`
	Entries []fstab.Entry      `json:"entries,omitempty"`
	Change  inside.FstabChange `json:"change,omitzero"`
	Delete  bool               `json:"delete,omitempty"`
	// File is the change of the fstab of a guest that is off.
	File *files.Change `json:"file,omitempty"`
}

// Detach detaches a disk from a domain.
func Detach(ctx context.Context, d *domain.Domain, r DetachRequest, o Options) (*job.Outcome, error) {
	return detach(ctx, vmOf(d), r, o)
}

func detach(ctx context.Context, d vm, r DetachRequest, o Options) (_ *job.Outcome, err error) {
	p := &detaching{domain: d, request: r}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	locks, err := p.locks(ctx)
	if err != nil {
		return nil, err
	}
	var offline *offlineFstab
	if r.Unmount && p.status.State == domain.Off {
		if offline, err = openOfflineFstab(ctx, d.domain, p.Target, nil); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, offline.close()) }()
		if p.File, err = offline.prepare(ctx, o, p.withoutDisk); err != nil {
			return nil, err
		}
	}
	if p.File != nil {
		locks = append(locks, p.File.Locks()...)
	}
	return p.start(ctx, locks, o, func(base *domainjob.Job) job.Work {
		return newDetach(base, d, &p.detachment, o.Session, offline.prepared())
	})
}

// start runs the job. work makes its work.
func (p *detaching) start(ctx context.Context, locks []string, o Options, work func(*domainjob.Job) job.Work) (*job.Outcome, error) {
	return runDeviceJob(ctx, o, KindDetach, p.domain, deviceSpec{
		target: plan.Target{Path: p.Path, Format: p.disk.Format},
		disk:   p.disk.Disk, running: p.Live != "", locks: locks, steps: p.steps(), data: &p.detachment,
	}, work)
}

// withoutDisk removes the disk's lines from the fstab of a guest that is off.
func (p *detaching) withoutDisk(found []plan.Content, text []byte) (left []byte, err error) {
	left, p.Entries, err = withoutFileSystems(text, found)
	return left, err
}

// detaching prepares the job.
type detaching struct {
	detachment
	domain  vm
	request DetachRequest
	status  domain.Status
	disk    domain.Device
}

func (p *detaching) prepare(ctx context.Context) error {
	var err error
	if p.status, err = statusForDevices(ctx, p.domain); err != nil {
		return err
	}
	if err := disk.CheckNoBlockJob(p.domain.Name, p.status); err != nil {
		return err
	}
	p.Delete, p.Limit = p.request.Delete, p.request.Limit.Seconds()
	if p.Limit == 0 {
		p.Limit = ReleaseLimit.Seconds()
	}
	if err := p.locate(ctx); err != nil {
		return err
	}
	if p.Live != "" {
		return p.checkUse(ctx)
	}
	return nil
}

// locate finds the disk in the definitions from which it is removed.
func (p *detaching) locate(ctx context.Context) error {
	meant, err := scopes(p.domain, p.status, p.request.Scope)
	if err != nil {
		return err
	}
	stays := false
	for _, scope := range []domain.Scope{domain.Live, domain.Config} {
		if scope == domain.Live && p.status.State != domain.Running || scope == domain.Config && !p.status.Persistent {
			continue
		}
		device, there, err := p.lookup(ctx, scope)
		if err != nil {
			return err
		}
		if there && slices.Contains(meant, scope) {
			p.setDevice(device, scope)
		} else {
			stays = stays || there
		}
	}
	return p.checkDisk(stays)
}

func (p *detaching) lookup(ctx context.Context, scope domain.Scope) (domain.Device, bool, error) {
	devices, _, err := p.domain.Devices(ctx, scope)
	for _, d := range devices {
		if d.Target == p.request.Disk || image.SameFile(d.Source, p.request.Disk) {
			return d, true, err
		}
	}
	return domain.Device{}, false, err
}

// setDevice stores the disk as it is in one of the definitions.
func (p *detaching) setDevice(device domain.Device, scope domain.Scope) {
	if p.Target == "" {
		p.disk, p.Target, p.Path = device, device.Target, device.Source
	}
	if p.disk.Volume == (domain.Volume{}) {
		p.disk.Volume = device.Volume // after a trial, the running definition has the path
	}
	if scope == domain.Live {
		p.Live = device.Text
	} else {
		p.Config = device.Text
	}
}

func (p *detaching) checkDisk(stays bool) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, p.domain.Name, "disk %s of %s %s", p.Target, p.domain.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case p.Target == "":
		return plan.Refuse(plan.NotFound, p.request.Disk, "domain %s has no disk %s in that definition", p.domain.Name, p.request.Disk)
	case p.disk.Device != "disk" && p.disk.Device != "lun":
		return refuse(plan.DiskUnsupported, "is a %s: use virt-grow media eject", p.disk.Device)
	case p.Live != "" && (p.disk.Bus == "sata" || p.disk.Bus == "ide"):
		return plan.Refuse(plan.NoHotplug, p.domain.Name, "disks on the bus %s cannot be detached from a running guest", p.disk.Bus)
	case p.Delete && p.disk.Why != "":
		return disk.RefuseVolume(p.domain.Name, p.disk.Disk)
	case p.Delete && p.disk.Kind != "file":
		return refuse(plan.DiskUnsupported, "is of type %q: only files can be deleted", p.disk.Kind)
	case p.Delete && stays:
		return refuse(plan.InUse, "would still be in use: its file cannot be deleted")
	}
	return nil
}

// checkUse asks the running guest how it uses the disk, and returns a refusal if
// the disk is in use.
func (p *detaching) checkUse(ctx context.Context) error {
	unknown := func(why string) error {
		if p.request.EvenMounted {
			return nil
		}
		return plan.Refuse(plan.NoAgent, p.domain.Name, "%s: it is not known whether %s has %s mounted", why, p.domain.Name, p.Target)
	}
	if !p.status.Agent {
		return unknown("no guest agent answers")
	}
	use, err := p.agent().UseOf(ctx, p.disk, p.status.Exec)
	p.Name, p.Blocks = use.Disk, use.Blocks
	if err != nil {
		return unknown(err.Error())
	}
	return p.checkMounts(ctx, use.Mounts)
}

func (p *detaching) agent() *inside.Guest { return inside.New(p.domain.Name, p.domain) }

// checkMounts returns a refusal if the disk is in use, unless the request unmounts it.
func (p *detaching) checkMounts(ctx context.Context, mounts []string) error {
	var stacked []string
	for _, b := range p.Blocks {
		if b.Kind != "disk" && b.Kind != "part" && (b.Kind != "lvm" || !p.request.Unmount) {
			stacked = append(stacked, b.Path)
		}
	}
	switch {
	case p.request.Unmount && !p.status.Exec:
		return plan.Refuse(plan.NoAgent, p.domain.Name, "the agent of %s does not run programs: it cannot unmount the disk", p.domain.Name)
	case p.request.Unmount && slices.Contains(mounts, "/"):
		return plan.Refuse(plan.Mounted, p.Target, "%s is the system disk of %s", p.Target, p.domain.Name)
	case p.request.EvenMounted:
	case len(stacked) > 0:
		return plan.Refuse(plan.Mounted, p.Target, "%s has %s in use through %s", p.domain.Name, p.Name, strings.Join(stacked, ", "))
	case len(mounts) > 0 && !p.request.Unmount:
		return plan.Refuse(plan.Mounted, p.Target, "%s has %s mounted at %s", p.domain.Name, p.Name, strings.Join(mounts, ", "))
	}
	if !p.request.Unmount {
		return nil
	}
	var err error
	p.Entries, err = p.agent().LinesOf(ctx, p.Blocks)
	return err
}

func (p *detaching) steps() []plan.Step {
	var steps []plan.Step
	add := func(kind plan.StepKind, format string, args ...any) {
		steps = append(steps, plan.Step{Kind: kind, Summary: fmt.Sprintf(format, args...)})
	}
	if p.request.Unmount && p.Live != "" {
		if at := inside.MountPoints(p.Blocks); len(at) > 0 {
			add(plan.StepUnmount, "unmount %s in the guest", strings.Join(at, ", "))
		} else if slices.ContainsFunc(p.Blocks, func(b live.Device) bool { return b.Kind == "lvm" }) {
			add(plan.StepUnmount, "deactivate the volumes on it in the guest")
		}
		if len(p.Entries) > 0 {
			add(plan.StepFstab, "remove %d line(s) from the guest's fstab", len(p.Entries))
		}
	}
	var last []plan.Step
	if p.File != nil {
		change := p.File.Steps()
		steps, last = append(steps, change[:len(change)-1]...), change[len(change)-1:]
	}
	if p.Live != "" {
		add(plan.StepUnplug, "detach %s from the running guest, and wait until the guest has released it", p.Target)
	}
	if p.Config != "" {
		add(plan.StepUndefine, "remove %s from the definition of %s", p.Target, p.domain.Name)
	}
	steps = append(steps, last...) // the clean-up, after which nothing can be undone
	if p.Delete {
		add(plan.StepDelete, "delete %s", p.Path)
	}
	return steps
}

// locks returns the names under which the image is locked; none if it no longer exists.
func (p *detaching) locks(ctx context.Context) ([]string, error) {
	stamp, err := image.StampOf(p.Path)
	if errors.Is(err, fs.ErrNotExist) || p.Path == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if p.Delete {
		if err := disk.CheckNotShared(ctx, p.domain, p.Path); err != nil {
			return nil, err
		}
	}
	return []string{stamp.Identity()}, nil
}
