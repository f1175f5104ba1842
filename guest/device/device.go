// Package device has the kinds of job that change a domain's devices: they attach a disk,
// which they may create and mount first, detach one, and change the medium of a drive. The
// definition's original text is saved; an undo restores it, if only disks and
// controllers have changed since.
package device

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// The kinds of job.
const (
	KindAttach = "attach" // attach a disk, and mount it in the guest
	KindDetach = "detach"
	KindMedium = "medium" // insert or eject a medium
)

// Options are the options of a job on devices.
type Options struct {
	files.Options
	// Cache is the inspection cache; nil is none.
	Cache *session.Cache
}

// Scope says which of a domain's definitions a device is changed in.
type Scope string

// The scopes. Everywhere means all that exist: the running guest and its persistent
// definition, or the only one of them.
const (
	Everywhere  Scope = ""
	OnlyRunning Scope = "live"
	OnlyDefined Scope = "config"
	Both        Scope = "both"
)

// scopes returns the definitions that a Scope means.
func scopes(d vm, s domain.Status, w Scope) ([]domain.Scope, error) {
	running := s.State == domain.Running
	switch {
	case !running && (w == OnlyRunning || w == Both):
		return nil, plan.Refuse(plan.DomainState, d.Name, "domain %s is off: there is no running guest to change", d.Name)
	case !s.Persistent && (w == OnlyDefined || w == Both):
		return nil, plan.Refuse(plan.TransientDomain, d.Name, "domain %s is transient: it has no persistent definition", d.Name)
	case w == OnlyRunning || w == Everywhere && !s.Persistent:
		return []domain.Scope{domain.Live}, nil
	case w == OnlyDefined || !running:
		return []domain.Scope{domain.Config}, nil
	}
	return []domain.Scope{domain.Config, domain.Live}, nil
}

// judgeForDevices refuses domains whose devices must not be changed now.
func judgeForDevices(d vm, s domain.Status) error {
	refuse := func(reason plan.Reason, text string) error {
		return plan.Refuse(reason, d.Name, "domain %s %s", d.Name, text)
	}
	switch {
	case s.State == domain.Held:
		return refuse(plan.DomainState, "is paused or suspended: it cannot attach or release a device")
	case s.Saved:
		return refuse(plan.ManagedSave, "has a managed save: a start would resume the saved guest with the devices it had")
	}
	return disk.CheckNoJob(d.Name, s)
}

// statusForDevices reads the status of a domain, and refuses one whose devices must
// not be changed now.
func statusForDevices(ctx context.Context, d vm) (domain.Status, error) {
	s, err := d.Status(ctx, true)
	if err == nil {
		err = judgeForDevices(d, s)
	}
	return s, err
}

// domainLock is the lock for the devices of one domain.
func domainLock(d vm) string { return "domain-" + d.UUID }

// runDeviceJob runs a new job on a domain's devices. work makes its work.
func runDeviceJob(ctx context.Context, o Options, kind string, d vm, s deviceSpec, work func(*domainjob.Job) job.Work) (*job.Outcome, error) {
	s.target.Guest = &plan.Guest{Connect: d.URI(), Name: d.Name, UUID: d.UUID, Disk: s.disk.Target, Bus: s.disk.Bus, Pool: s.disk.Volume.Pool, Running: s.running}
	e := job.Engine{Options: o.Options.Options}
	return e.Run(ctx, job.Spec{
		Kind: kind, Target: s.target, Locks: append(s.locks, domainLock(d)), Steps: s.steps, Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) {
			base := domainjob.New(j, d.domain)
			base.Machine = d
			return s.data, work(base), base.SaveOriginal(ctx)
		},
	})
}

// deviceSpec describes a job on a domain's devices.
type deviceSpec struct {
	target  plan.Target
	disk    domain.Disk // only its target and bus
	running bool
	locks   []string
	steps   []plan.Step
	data    any
}

// slot is the place in a domain where a job attaches or detaches a disk.
type slot struct {
	*domainjob.Job
	domain       vm // once the job is connected
	target, path string
}

// Connect connects a job that is continued.
func (s *slot) Connect(ctx context.Context) error {
	err := s.Job.Connect(ctx)
	if err == nil {
		s.domain = vmOf(s.Domain)
	}
	return err
}

// find returns the disk in a definition. One of another image in its place is a
// refusal.
func (s slot) find(ctx context.Context, scope domain.Scope) (domain.Device, bool, error) {
	devices, _, err := s.domain.Devices(ctx, scope)
	if err != nil {
		return domain.Device{}, false, err
	}
	i := slices.IndexFunc(devices, func(d domain.Device) bool { return d.Target == s.target })
	if i < 0 {
		return domain.Device{}, false, nil
	}
	if d := devices[i]; d.Source != s.path {
		return d, false, plan.Refuse(plan.DomainChanged, s.ID(), "disk %s of %s is %s, not %s", s.target, s.domain.Name, d.Source, s.path)
	}
	return devices[i], true, nil
}

// put adds the element, unless the disk is in the definition already.
func (s slot) put(ctx context.Context, element string, scope domain.Scope) error {
	if _, there, err := s.find(ctx, scope); err != nil || there {
		return err
	}
	return s.unlessThere(ctx, scope, s.domain.Attach(ctx, element, scope))
}

// unlessThere ignores the error of a call that has succeeded but whose answer was lost.
func (s slot) unlessThere(ctx context.Context, scope domain.Scope, err error) error {
	if err == nil {
		return nil
	}
	if _, there, asked := s.find(ctx, scope); asked == nil && there {
		return nil
	}
	return err
}

// unplug detaches the disk from the running guest.
func (s slot) unplug(ctx context.Context, limit time.Duration) error {
	if state, err := s.domain.State(ctx); err != nil || state == domain.Off {
		return err
	}
	device, there, err := s.find(ctx, domain.Live)
	if err != nil || !there {
		return err
	}
	err = s.domain.Unplug(ctx, device, limit)
	if errors.Is(err, domain.ErrHeld) {
		return plan.Refuse(plan.NotReleased, s.target, "%s: %v", s.target, err)
	}
	return err
}

// undefine removes the disk from the definition for the next start.
func (s slot) undefine(ctx context.Context) error {
	device, there, err := s.find(ctx, domain.Config)
	if err != nil || !there {
		return err
	}
	err = s.domain.Detach(ctx, device.Text, domain.Config)
	if _, there, asked := s.find(ctx, domain.Config); asked == nil && !there {
		return nil
	}
	return err
}

// prefixes has the prefix of target names on each bus.
var prefixes = map[string]string{"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd", "fdc": "fd"}

// busOf returns the usual bus for a target's name.
func busOf(target string) string {
	for _, bus := range []string{"virtio", "scsi", "ide"} {
		if strings.HasPrefix(target, prefixes[bus]) {
			return bus
		}
	}
	return ""
}

// freeTarget returns the first free name on a bus: vda to vdz, then vdaa.
func freeTarget(bus string, taken map[string]string) string {
	for n := 0; ; n++ {
		name := prefixes[bus] + letters(n)
		if _, ok := taken[name]; !ok {
			return name
		}
	}
}

// letters counts as a, …, z, aa, ab.
func letters(n int) string {
	if n < 26 {
		return string(rune('a' + n))
	}
	return letters(n/26-1) + letters(n%26)
}

// targets returns the names in use, in either definition, and by what.
func targets(ctx context.Context, d vm, running bool) (taken map[string]string, err error) {
	taken = map[string]string{}
	for _, scope := range []domain.Scope{domain.Config, domain.Live} {
		if scope == domain.Live && !running {
			continue
		}
		devices, _, err := d.Devices(ctx, scope)
		if err != nil {
			return nil, err
		}
		for _, device := range devices {
			taken[device.Target] = device.Source
		}
	}
	return taken, nil
}
