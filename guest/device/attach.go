package device

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/size"
)

// AttachRequest describes a disk to attach to a domain.
type AttachRequest struct {
	// Path and Format are those of the image; if Format is "", the file's name determines it.
	Path, Format string
	// Target is "vdb", Bus "virtio", "scsi", "sata" or "ide"; "" is the next free
	// target, on virtio.
	Target, Bus            string
	Serial, Cache, Discard string
	Shareable              bool
	Scope                  Scope
	// Mount is where the guest is to mount it; MountOptions take the place of
	// "defaults" in its fstab.
	Mount, MountOptions string
	// Windows is what a Windows guest is to make of it; nil for nothing.
	Windows *plan.WindowsDisk
}

// attachment is the data of the job.
type attachment struct {
	Disk   domain.DiskSpec `json:"disk"`
	Size   size.Bytes      `json:"size"`
	Agent  bool            `json:"agent,omitempty"`
	Exec   bool            `json:"exec,omitempty"`
	Before []string        `json:"before,omitempty"` // the guest's disks
	Name   string          `json:"name,omitempty"`   // what the guest calls the new one
	Script string          `json:"script,omitempty"`
	Letter string          `json:"letter,omitempty"`
	Mount  *mounting       `json:"mount,omitempty"`
	// File is the change of the fstab of a guest that is off, Made the image if the
	// job makes it.
	File *files.Change `json:"file,omitempty"`
	Made *create.Image `json:"made,omitempty"`
}

// Attach attaches a disk to a domain.
func Attach(ctx context.Context, d *domain.Domain, r AttachRequest, o Options) (*job.Outcome, error) {
	return attach(ctx, vmOf(d), r, o)
}

func attach(ctx context.Context, d vm, r AttachRequest, o Options) (*job.Outcome, error) {
	img, err := openFree(ctx, d, r)
	if err != nil {
		return nil, err
	}
	p := &attaching{domain: d, request: r, attachment: attachment{Size: img.Size}}
	p.Disk.Path, p.Disk.Format, p.Disk.Block = img.Path, img.Format, img.Block
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	return p.run(ctx, img, []string{img.Stamp.Identity()}, o)
}

// Add creates an image, and attaches it to a domain. If Path is "", the image is next to the
// domain's first disk.
func Add(ctx context.Context, d *domain.Domain, n plan.NewDisk, r AttachRequest, o Options) (*job.Outcome, error) {
	return add(ctx, vmOf(d), n, r, o)
}

func add(ctx context.Context, d vm, n plan.NewDisk, r AttachRequest, o Options) (*job.Outcome, error) {
	p := &attaching{domain: d, request: r, attachment: attachment{Size: n.Size}}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	if n.Path == "" {
		var err error
		if n.Path, err = p.pathNextTo(n.Format); err != nil {
			return nil, err
		}
	}
	made, locks, err := create.New(n)
	if err != nil {
		return nil, err
	}
	p.Made, p.Disk.Path, p.Disk.Format = made, made.Disk.Path, n.Format
	return p.run(ctx, nil, locks, o)
}

// pathNextTo names an image in the directory of the domain's first disk.
func (p *attaching) pathNextTo(format string) (string, error) {
	for _, disk := range p.status.Disks {
		if disk.Kind == "file" && disk.Device == "disk" {
			return filepath.Join(filepath.Dir(disk.Source), p.domain.Name+"-"+p.Disk.Target+"."+format), nil
		}
	}
	return "", plan.Refuse(plan.NotFound, p.domain.Name, "domain %s has no disk in a directory: --path says where the new one goes", p.domain.Name)
}

// openFree opens an image that no other domain uses. That is checked first, because a
// refusal that names the other domain says more than one that the image is in use.
func openFree(ctx context.Context, d vm, r AttachRequest) (*image.Image, error) {
	img, err := image.Locate(r.Path)
	if err != nil {
		return nil, err
	}
	if err := img.SetFormat(r.Format); err != nil {
		return nil, err
	}
	if err := checkAttachable(ctx, img, d, r); err != nil {
		return nil, err
	}
	o := image.Options{Format: r.Format}
	if r.Shareable {
		o.Access = block.Shared
	}
	return image.Open(ctx, r.Path, o)
}

// checkAttachable refuses images that are not disks, or that some domain uses.
func checkAttachable(ctx context.Context, img *image.Image, d vm, r AttachRequest) error {
	if img.Format == "raw" && !img.Block {
		iso, err := image.IsISO(img.Path)
		if err != nil {
			return err
		}
		if iso {
			return plan.Refuse(plan.IsISO, img.Path, "%s is an ISO image: a medium for a drive, not a disk", img.Path)
		}
	}
	if r.Shareable && img.Format != "raw" {
		return plan.Refuse(plan.DiskShared, img.Path, "%s is %s: only raw images can be shared by two guests", img.Path, img.Format)
	}
	status, err := d.Status(ctx, false)
	if err != nil {
		return err
	}
	if err := disk.CheckNotOwn(ctx, d.Name, status.Disks, img.Path); err != nil {
		return err
	}
	err = disk.CheckNotShared(ctx, d, img.Path)
	if refusal, ok := plan.IsRefusal(err); ok && refusal.Reason == plan.DiskShared && r.Shareable {
		return nil
	}
	return err
}

// attaching prepares an attachment.
type attaching struct {
	attachment
	domain  vm
	request AttachRequest
	status  domain.Status
	scopes  []domain.Scope
	steps   []plan.Step
}

// prepare collects what the job needs, and refuses an attachment that would fail.
func (p *attaching) prepare(ctx context.Context) error {
	var err error
	if p.status, err = statusForDevices(ctx, p.domain); err != nil {
		return err
	}
	if p.scopes, err = scopes(p.domain, p.status, p.request.Scope); err != nil {
		return err
	}
	if err := p.place(ctx); err != nil {
		return err
	}
	p.Disk.Device, p.Disk.Serial, p.Disk.Cache = "disk", p.request.Serial, p.request.Cache
	p.Disk.Discard, p.Disk.Shareable = p.request.Discard, p.request.Shareable
	if p.live() {
		if err := p.ask(ctx); err != nil {
			return err
		}
	}
	return p.planMount(ctx)
}

func (p *attaching) live() bool { return slices.Contains(p.scopes, domain.Live) }

// place chooses bus and target.
func (p *attaching) place(ctx context.Context) error {
	taken, err := targets(ctx, p.domain, p.status.State == domain.Running)
	if err != nil {
		return err
	}
	bus, target := p.request.Bus, p.request.Target
	if bus == "" {
		if bus = busOf(target); bus == "" {
			bus = "virtio"
		}
	}
	if target == "" {
		target = freeTarget(bus, taken)
	}
	if source, ok := taken[target]; ok {
		return plan.Refuse(plan.TargetTaken, p.domain.Name, "%s has a disk %s already: %s", p.domain.Name, target, source)
	}
	if p.live() && (bus == "sata" || bus == "ide") {
		return plan.Refuse(plan.NoHotplug, p.domain.Name, "disks on the bus %s cannot be attached to a running guest", bus)
	}
	p.Disk.Bus, p.Disk.Target = bus, target
	return nil
}

// ask asks the agent for the guest's disks.
func (p *attaching) ask(ctx context.Context) error {
	p.Agent, p.Exec = p.status.Agent, p.status.Exec
	if !p.Agent {
		return nil
	}
	before, err := inside.New(p.domain.Name, p.domain).Disks(ctx)
	if err != nil {
		p.Agent = false // the agent cannot list disks, so the job does not wait for it
		return nil
	}
	for _, g := range before {
		p.Before = append(p.Before, g.Name)
	}
	return nil
}

// planMount checks how the guest mounts the disk.
func (p *attaching) planMount(ctx context.Context) error {
	r := p.request
	windows := p.live() && p.Agent && p.domain.OS(ctx) == "mswindows"
	switch {
	case r.Mount != "" && windows:
		return plan.Refuse(plan.UnsupportedLayout, p.domain.Name, "%s runs Windows, which has no fstab", p.domain.Name)
	case r.Windows != nil:
		p.Script = r.Windows.Script(driveNumbers(p.Before), p.Size)
		return nil
	case r.Mount == "":
		return nil
	case p.live() && !p.Exec:
		return plan.Refuse(plan.NoAgent, p.domain.Name, "the agent of %s does not run programs, or does not answer: the disk cannot be mounted", p.domain.Name)
	case !p.live() && p.status.State == domain.Running:
		return plan.Refuse(plan.DomainState, p.domain.Name, "%s is running, and gets the disk only at its next start: its fstab cannot be written", p.domain.Name)
	}
	p.Mount = &mounting{Path: r.Mount, Options: r.MountOptions}
	if p.live() {
		return inside.New(p.domain.Name, p.domain).CheckMountPoint(ctx, p.Mount.Path)
	}
	return nil
}

// driveNumbers returns the numbers in Windows' names of disks.
func driveNumbers(names []string) []int {
	var list []int
	for _, name := range names {
		i := strings.LastIndexFunc(name, func(r rune) bool { return r < '0' || r > '9' })
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// listSteps decides what is done, and in which order: what is refused comes before
// what takes long to take back.
func (p *attaching) listSteps(ctx context.Context) error {
	if p.Made != nil {
		p.steps = append(p.steps, p.Made.Disk.Steps()...)
	}
	for _, scope := range p.scopes {
		if err := p.listDevices(ctx, scope); err != nil {
			return err
		}
	}
	p.listInside()
	return nil
}

func (p *attaching) add(kind plan.StepKind, device, format string, args ...any) {
	p.steps = append(p.steps, plan.Step{Kind: kind, Device: device, Summary: fmt.Sprintf(format, args...)})
}

// listDevices lists what is added to one of the definitions.
func (p *attaching) listDevices(ctx context.Context, scope domain.Scope) error {
	_, controllers, err := p.domain.Devices(ctx, scope)
	if err != nil {
		return err
	}
	if p.Disk.Bus == "scsi" && !slices.Contains(controllers, "scsi") {
		p.add(plan.StepController, string(scope), "add a virtio-scsi controller to %s, which has none", nameOf(scope))
	}
	what := fmt.Sprintf("%s as %s (%s, %s)", filepath.Base(p.Disk.Path), p.Disk.Target, p.Disk.Format, p.Disk.Bus)
	if scope == domain.Config {
		p.add(plan.StepDefine, "", "add %s to the definition of %s", what, p.domain.Name)
	} else {
		p.add(plan.StepPlug, "", "attach %s to the running guest", what)
	}
	return nil
}

// listInside lists what the guest does with the disk, or what is changed in the guest's
// image.
func (p *attaching) listInside() {
	if p.live() && p.Agent {
		p.add(plan.StepSeen, "", "wait until the guest sees the disk")
	}
	if p.Script != "" && p.live() && p.Exec {
		p.add(plan.StepInitialise, "", "Windows brings the disk online, and creates an NTFS on it")
		p.steps[len(p.steps)-1].Script = p.Script
	}
	switch {
	case p.File != nil && p.Made != nil:
		p.add(plan.StepFstab, "", "put the UUID of the new file system into the new fstab")
		fallthrough
	case p.File != nil:
		p.steps = append(p.steps, p.File.Steps()...)
	case p.Mount != nil:
		p.add(plan.StepFstab, "", "add a line for %s to the guest's fstab", p.Mount.Path)
		p.add(plan.StepMount, "", "mount the disk at %s", p.Mount.Path)
	}
}

// run creates and runs the job. img is the image, if it exists already.
func (p *attaching) run(ctx context.Context, img *image.Image, locks []string, o Options) (_ *job.Outcome, err error) {
	var offline *offlineFstab
	if p.Mount != nil && !p.live() {
		if offline, err = openOfflineFstab(ctx, p.domain.domain, p.Disk.Target, img); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, offline.close()) }()
		if p.File, err = offline.prepare(ctx, o, p.lineFor); err != nil {
			return nil, err
		}
		locks = append(locks, p.File.Locks()...)
	}
	return p.start(ctx, locks, o, func(base *domainjob.Job) job.Work {
		return newAttach(base, p.domain, &p.attachment, o.Session, offline.prepared(), o.Cache)
	})
}

// start lists the steps, and runs the job. work makes its work.
func (p *attaching) start(ctx context.Context, locks []string, o Options, work func(*domainjob.Job) job.Work) (*job.Outcome, error) {
	if err := p.listSteps(ctx); err != nil {
		return nil, err
	}
	return runDeviceJob(ctx, o, KindAttach, p.domain, deviceSpec{
		target: plan.Target{Path: p.Disk.Path, Format: p.Disk.Format, Block: p.Disk.Block},
		disk:   domain.Disk{Target: p.Disk.Target, Bus: p.Disk.Bus}, running: p.live(),
		locks: locks, steps: p.steps, data: &p.attachment,
	}, work)
}

// lineFor adds the line for the file system on the disk. For a file system that is created
// later, the UUID is filled in then.
func (p *attaching) lineFor(found []plan.Content, text []byte) ([]byte, error) {
	e := fstab.For("00000000-0000-0000-0000-000000000000", "auto", p.Mount.Path, p.Mount.Options)
	if p.Made == nil {
		var err error
		if e, err = inside.EntryFor(p.Disk.Path, found, p.Mount.Path, p.Mount.Options); err != nil {
			return nil, err
		}
		p.Mount.Entry = e
	}
	if err := inside.CheckEntry(p.domain.Name, text, e); err != nil {
		return nil, err
	}
	changed, err := fstab.Add(text, e)
	p.Mount.Change = inside.FstabChange{Known: true, Old: text, New: changed}
	return changed, err
}
