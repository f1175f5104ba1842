package device

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// MediaRequest describes a medium to insert or eject.
type MediaRequest struct {
	// ISO is the path of the medium; "" ejects the present one.
	ISO string
	// Target is the drive, Bus the bus of a new drive; "" chooses one.
	Target, Bus string
	Scope       Scope
	// Force ejects a medium that the guest has locked.
	Force bool
	// Windows reports that the medium has drivers for Windows.
	Windows bool
}

// medium is the data of the job.
type medium struct {
	Target string `json:"target"`
	ISO    string `json:"iso"`
	Force  bool   `json:"force,omitempty"`
	// Old are the drive's elements before, by scope; New is the element of a
	// drive that is added.
	Old map[domain.Scope]string `json:"old,omitempty"`
	New string                  `json:"new,omitempty"`
	Was map[domain.Scope]string `json:"was,omitempty"`
	// Notes and ManualSteps are for people.
	Notes       []string `json:"notes,omitempty"`
	ManualSteps []string `json:"todo,omitempty"`
}

// Insert inserts a medium into a domain's drive. It adds a drive if there is none.
func Insert(ctx context.Context, d *domain.Domain, r MediaRequest, o Options) (*job.Outcome, error) {
	return insert(ctx, vmOf(d), r, o)
}

func insert(ctx context.Context, d vm, r MediaRequest, o Options) (*job.Outcome, error) {
	full, err := findISO(r.ISO)
	if err != nil {
		return nil, err
	}
	p := &inserting{domain: d, request: r, medium: medium{ISO: full, Force: r.Force}}
	return p.run(ctx, o)
}

// Eject ejects the medium from a domain's drive.
func Eject(ctx context.Context, d *domain.Domain, r MediaRequest, o Options) (*job.Outcome, error) {
	return eject(ctx, vmOf(d), r, o)
}

func eject(ctx context.Context, d vm, r MediaRequest, o Options) (*job.Outcome, error) {
	p := &inserting{domain: d, request: r, medium: medium{Force: r.Force}}
	return p.run(ctx, o)
}

// findISO refuses a file that is not an ISO.
func findISO(path string) (string, error) {
	img, err := image.Locate(path)
	if err != nil {
		return "", err
	}
	if img.Block {
		return "", plan.Refuse(plan.NotISO, path, "%s is a block device, not an ISO image", path)
	}
	iso, err := image.IsISO(img.Path)
	if err == nil && !iso {
		err = plan.Refuse(plan.NotISO, path, "%s has no volume descriptor of ISO 9660 or UDF: it is not an ISO image", path)
	}
	return img.Path, err
}

// virtioWin has the usual places of the drivers' ISO.
var virtioWin = []string{
	"/usr/share/virtio-win/virtio-win.iso", "/usr/share/virtio-win/*.iso",
	"/var/lib/libvirt/images/virtio-win*.iso", "/var/lib/libvirt/boot/virtio-win*.iso", "/usr/share/virtio-win*.iso",
}

// FindVirtioWin finds the ISO with Windows' virtio drivers, the newest by name.
func FindVirtioWin() (string, error) {
	for _, pattern := range virtioWin {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			slices.Sort(found)
			return found[len(found)-1], nil
		}
	}
	return "", plan.Refuse(plan.NotFound, "virtio-win.iso", "there is no virtio-win ISO in %s", strings.Join(virtioWin, ", "))
}

// inserting prepares a change of a medium.
type inserting struct {
	medium
	domain  vm
	request MediaRequest
	status  domain.Status
	scopes  []domain.Scope
	drives  map[domain.Scope][]domain.Device
	buses   []string // of the existing controllers
	system  string   // the bus of the first disk
	steps   []plan.Step
}

func (p *inserting) run(ctx context.Context, o Options) (*job.Outcome, error) {
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	if len(p.steps) == 0 {
		return &job.Outcome{State: journal.Cancelled, Messages: []string{"nothing to do"}}, nil
	}
	return runDeviceJob(ctx, o, KindMedium, p.domain, deviceSpec{
		target: plan.Target{Path: p.ISO, Format: "raw"}, disk: domain.Disk{Target: p.Target},
		running: slices.Contains(p.scopes, domain.Live), steps: p.steps, data: &p.medium,
	}, func(base *domainjob.Job) job.Work { return newMedium(base, p.domain, &p.medium) })
}

func (p *inserting) prepare(ctx context.Context) error {
	var err error
	if p.status, err = statusForDevices(ctx, p.domain); err != nil {
		return err
	}
	if p.scopes, err = scopes(p.domain, p.status, p.request.Scope); err != nil {
		return err
	}
	if err := p.findDrives(ctx); err != nil {
		return err
	}
	if err := p.choose(); err != nil {
		return err
	}
	if p.Target == "" {
		if err := p.addDrive(ctx); err != nil {
			return err
		}
	} else if err := p.change(); err != nil {
		return err
	}
	if p.ISO != "" && (p.request.Windows || p.windows(ctx)) {
		p.ManualSteps = windowsDrivers(p.domain.Name, p.system)
	}
	return nil
}

func (p *inserting) findDrives(ctx context.Context) error {
	p.drives = map[domain.Scope][]domain.Device{}
	for _, scope := range p.scopes {
		devices, controllers, err := p.domain.Devices(ctx, scope)
		if err != nil {
			return err
		}
		p.buses = append(p.buses, controllers...)
		for _, d := range devices {
			if d.Device == "cdrom" {
				p.drives[scope] = append(p.drives[scope], d)
			} else if p.system == "" {
				p.system = d.Bus
			}
		}
	}
	return nil
}

// all returns the drives of either definition, each once.
func (p *inserting) all() []domain.Device {
	var all []domain.Device
	for _, scope := range p.scopes {
		for _, d := range p.drives[scope] {
			if !slices.ContainsFunc(all, func(o domain.Device) bool { return o.Target == d.Target }) {
				all = append(all, d)
			}
		}
	}
	return all
}

// choose finds the drive: the one that is named; else the only one, or the only one
// with a medium to eject, or the first empty one. None is "".
func (p *inserting) choose() error {
	all := p.all()
	var names []string
	for _, d := range all {
		names = append(names, d.Target)
	}
	if p.request.Target != "" {
		if slices.Contains(names, p.request.Target) {
			p.Target = p.request.Target
			return nil
		}
		if p.ISO == "" || len(names) > 0 {
			return plan.Refuse(plan.NotFound, p.request.Target, "domain %s has no drive %s; it has %s", p.domain.Name, p.request.Target, orNone(names))
		}
		return nil
	}
	fits := slices.DeleteFunc(slices.Clone(all), func(d domain.Device) bool { return (d.Source == "") != (p.ISO != "") })
	switch {
	case len(all) == 1:
		p.Target = all[0].Target
	case p.ISO == "" && len(fits) == 0, len(all) == 0:
	case p.ISO != "" && len(fits) > 0, len(fits) == 1:
		p.Target = fits[0].Target
	default:
		return plan.Refuse(plan.AmbiguousDisk, p.domain.Name, "domain %s has %d drives: %s", p.domain.Name, len(all), strings.Join(names, ", "))
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// change changes the medium of an existing drive.
func (p *inserting) change() error {
	p.Old, p.Was = map[domain.Scope]string{}, map[domain.Scope]string{}
	for _, scope := range p.scopes {
		i := slices.IndexFunc(p.drives[scope], func(d domain.Device) bool { return d.Target == p.Target })
		if i < 0 {
			p.Notes = append(p.Notes, fmt.Sprintf("%s has no drive %s (%s)", p.domain.Name, p.Target, scope))
			continue
		}
		drive := p.drives[scope][i]
		if drive.Source == p.ISO {
			continue
		}
		p.Old[scope], p.Was[scope] = drive.Text, drive.Source
		what := fmt.Sprintf("insert %s into %s", filepath.Base(p.ISO), p.Target)
		if p.ISO == "" {
			what = fmt.Sprintf("eject %s from %s", filepath.Base(drive.Source), p.Target)
		}
		p.steps = append(p.steps, plan.Step{Kind: plan.StepMedium, Device: string(scope), Summary: what + " in " + nameOf(scope)})
	}
	return nil
}

// nameOf names one of the definitions for people.
func nameOf(s domain.Scope) string {
	if s == domain.Live {
		return "the running guest"
	}
	return "the definition"
}

// addDrive adds a drive to the domain; to a running guest only on a bus to which devices can
// be attached while it runs.
func (p *inserting) addDrive(ctx context.Context) error {
	if p.ISO == "" {
		return nil
	}
	taken, err := targets(ctx, p.domain, p.status.State == domain.Running)
	if err != nil {
		return err
	}
	bus := p.newBus()
	if p.Target = p.request.Target; p.Target == "" {
		p.Target = freeTarget(bus, taken)
	}
	if source, ok := taken[p.Target]; ok {
		return plan.Refuse(plan.TargetTaken, p.domain.Name, "%s has a disk %s already: %s", p.domain.Name, p.Target, source)
	}
	if slices.Contains(p.scopes, domain.Live) && (bus == "ide" || bus == "sata") {
		if err := p.onlyLater(bus); err != nil {
			return err
		}
	}
	drive := domain.DiskSpec{Path: p.ISO, Format: "raw", Target: p.Target, Bus: bus, Device: "cdrom", ReadOnlyMedia: true}
	p.New = drive.XML()
	for _, scope := range p.scopes {
		kind := plan.StepDefine
		if scope == domain.Live {
			kind = plan.StepPlug
		}
		p.steps = append(p.steps, plan.Step{Kind: kind, Summary: fmt.Sprintf("add a drive %s (%s) with %s to %s", p.Target, bus, filepath.Base(p.ISO), nameOf(scope))})
	}
	return nil
}

// newBus returns the bus of a new drive: the one that was asked for, or goes with the
// target, else what the machine has.
func (p *inserting) newBus() string {
	switch bus := busOf(p.request.Target); {
	case p.request.Bus != "":
		return p.request.Bus
	case bus != "" && bus != "virtio":
		return bus
	case slices.Contains(p.buses, "sata"):
		return "sata"
	}
	return "ide"
}

// onlyLater adds only to the definition a drive that cannot be attached to a running guest.
func (p *inserting) onlyLater(bus string) error {
	if p.request.Scope == OnlyRunning || p.request.Scope == Both || !p.status.Persistent {
		return plan.Refuse(plan.NoHotplug, p.domain.Name, "%s has no drive, and a drive on the bus %s cannot be attached to a running guest", p.domain.Name, bus)
	}
	p.scopes = []domain.Scope{domain.Config}
	p.Notes = append(p.Notes, fmt.Sprintf("%s had no drive, and gets one on the bus %s at its next start: only drives on scsi or usb can be attached to a running guest (--bus)", p.domain.Name, bus))
	return nil
}

// windows reports whether the guest is Windows, according to its agent or its definition.
func (p *inserting) windows(ctx context.Context) bool {
	if p.status.Agent {
		return p.domain.OS(ctx) == "mswindows"
	}
	return p.status.Windows
}

// windowsDrivers returns the steps to move a Windows from IDE or SATA to virtio.
func windowsDrivers(name, bus string) []string {
	if bus == "virtio" || bus == "scsi" {
		return []string{"when Windows is installed on a virtio disk, choose Load driver in its setup: viostor (virtio-blk) or vioscsi (virtio-scsi), in the folder amd64 of its version"}
	}
	return []string{
		"install the drivers in Windows from the ISO: virtio-win-guest-tools.exe, or in the Device Manager",
		"let Windows bind the driver before its system disk needs it: give it a small virtio disk, and take it away again when Windows has shown it\n" +
			fmt.Sprintf("virt-grow disk add %s --size 1G --path /var/lib/libvirt/images/%s-bind.qcow2\n", name, name) +
			fmt.Sprintf("virt-grow disk detach %s vdb --delete", name),
		"shut Windows down fully, then change the system disk's bus: in its <target>, dev='vda' bus='virtio', and delete its <address>\n" +
			fmt.Sprintf("virsh edit %s", name),
	}
}
