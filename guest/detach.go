package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// DetachRequest is a disk that a domain is to lose.
type DetachRequest struct {
	// Disk is its target or the path of its image.
	Disk  string
	Where Where
	// Delete deletes the image, too.
	Delete bool
	// Unmount unmounts what is on it, and takes its lines out of the guest's fstab.
	Unmount bool
	// EvenMounted does not ask whether the guest uses it.
	EvenMounted bool
	// Limit is how long the guest may take to let it go; 0 is ReleaseLimit.
	Limit time.Duration
}

// detachment is what the job has to know.
type detachment struct {
	Target string `json:"target"`
	Path   string `json:"path"`
	// Live and Config are its elements; "" where it is not, or is to stay.
	Live   string  `json:"live,omitempty"`
	Config string  `json:"config,omitempty"`
	Limit  float64 `json:"limit"` // seconds
	// Name is what the guest calls it, Blocks what the guest has on it.
	Name    string         `json:"name,omitempty"`
	Blocks  []domain.Block `json:"blocks,omitempty"`
	Entries []fstab.Entry  `json:"entries,omitempty"`
	Change  fstabChange    `json:"change,omitzero"`
	Delete  bool           `json:"delete,omitempty"`
	// File is the change of the fstab of a guest that is off.
	File *fileChange `json:"file,omitempty"`
}

// Detach takes a disk away from a domain.
func Detach(ctx context.Context, d *domain.Domain, r DetachRequest, o Options) (_ *Outcome, err error) {
	p := &detaching{domain: d, request: r}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	locks, err := p.locks(ctx)
	if err != nil {
		return nil, err
	}
	if r.Unmount && p.survey.State == domain.Off {
		visit, refused := newFstabVisit(ctx, d, p.Target, nil)
		if refused != nil {
			return nil, refused
		}
		defer func() { err = errors.Join(err, visit.close()) }()
		if p.File, err = visit.prepare(ctx, &o, p.withoutDisk); err != nil {
			return nil, err
		}
	}
	if p.File != nil {
		locks = append(locks, p.File.locks()...)
	}
	t := plan.Target{Path: p.Path, Format: p.disk.Format, Guest: &plan.Guest{Disk: p.Target, Bus: p.disk.Bus, Pool: p.disk.Volume.Pool}}
	j, err := openDeviceJob(ctx, DiskDetach, d, t, p.Live != "", locks, p.steps(), &p.detachment, o)
	if err != nil {
		return nil, err
	}
	return j.runDeviceJob(ctx)
}

// withoutDisk takes the disk's lines out of the fstab of a guest that is off.
func (p *detaching) withoutDisk(found []plan.Content, text []byte) (left []byte, err error) {
	left, p.Entries, err = withoutUUIDs(text, found)
	return left, err
}

// detaching is a detachment on its way to be a job.
type detaching struct {
	detachment
	domain  *domain.Domain
	request DetachRequest
	survey  domain.Survey
	disk    domain.Device
}

func (p *detaching) prepare(ctx context.Context) error {
	var err error
	if p.survey, err = surveyForDevices(ctx, p.domain); err != nil {
		return err
	}
	if err := judgeBlocked(p.domain, p.survey); err != nil {
		return err
	}
	// What locate checks depends on whether the image is to be deleted.
	p.Delete, p.Limit = p.request.Delete, p.request.Limit.Seconds()
	if p.Limit == 0 {
		p.Limit = ReleaseLimit.Seconds()
	}
	if err := p.locate(ctx); err != nil {
		return err
	}
	if p.Live != "" {
		return p.judgeUse(ctx)
	}
	return nil
}

// locate finds the disk in the definitions it is to be taken out of.
func (p *detaching) locate(ctx context.Context) error {
	meant, err := scopes(p.domain, p.survey, p.request.Where)
	if err != nil {
		return err
	}
	stays := false
	for _, scope := range []domain.Scope{domain.Live, domain.Config} {
		if scope == domain.Live && p.survey.State != domain.Running || scope == domain.Config && !p.survey.Persistent {
			continue
		}
		device, there, err := p.lookup(ctx, scope)
		if err != nil {
			return err
		}
		if there && slices.Contains(meant, scope) {
			p.take(device, scope)
		} else {
			stays = stays || there
		}
	}
	return p.judgeDisk(stays)
}

func (p *detaching) lookup(ctx context.Context, scope domain.Scope) (domain.Device, bool, error) {
	devices, _, err := p.domain.Devices(ctx, scope)
	for _, d := range devices {
		if d.Target == p.request.Disk || samePath(d.Source, p.request.Disk) {
			return d, true, err
		}
	}
	return domain.Device{}, false, err
}

// take notes down where the disk goes away.
func (p *detaching) take(device domain.Device, scope domain.Scope) {
	if p.Target == "" {
		p.disk, p.Target, p.Path = device, device.Target, device.Source
	}
	if p.disk.Volume == (domain.Volume{}) {
		p.disk.Volume = device.Volume // a guest after its trial runs with the path
	}
	if scope == domain.Live {
		p.Live = device.Text
	} else {
		p.Config = device.Text
	}
}

func (p *detaching) judgeDisk(stays bool) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, p.domain.Name, "disk %s of %s %s", p.Target, p.domain.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case p.Target == "":
		return plan.Refuse(plan.NotFound, p.request.Disk, "domain %s has no disk %s there", p.domain.Name, p.request.Disk)
	case p.disk.Device != "disk" && p.disk.Device != "lun":
		return refuse(plan.DiskUnsupported, "is a %s: virt-grow media eject takes its medium out", p.disk.Device)
	case p.Live != "" && isOneOf(p.disk.Bus, "sata", "ide"):
		return plan.Refuse(plan.NoHotplug, p.domain.Name, "a running guest cannot lose a disk on the bus %s", p.disk.Bus)
	case p.Delete && p.disk.Why != "":
		return notAFile(p.domain, p.disk.Disk)
	case p.Delete && p.disk.Kind != "file":
		return refuse(plan.DiskUnsupported, "is of type %q: only files can be deleted", p.disk.Kind)
	case p.Delete && stays:
		return refuse(plan.InUse, "would be in use still: its file cannot be deleted")
	}
	return nil
}

func isOneOf(word string, words ...string) bool { return slices.Contains(words, word) }

// judgeUse asks the running guest what it does with the disk.
func (p *detaching) judgeUse(ctx context.Context) error {
	unknown := func(why string) error {
		if p.request.EvenMounted {
			return nil
		}
		return plan.Refuse(plan.NoAgent, p.domain.Name, "%s: nobody can say whether %s has %s mounted", why, p.domain.Name, p.Target)
	}
	if !p.survey.Agent {
		return unknown("no guest agent answers")
	}
	disks, err := p.domain.GuestDisks(ctx)
	if err != nil {
		return unknown(err.Error())
	}
	i := slices.IndexFunc(disks, func(g domain.GuestDisk) bool { return g.Is(p.disk) })
	if i < 0 {
		return unknown("the guest agent names no disk at its address")
	}
	p.Name = disks[i].Name
	mounts, err := p.domain.MountsOn(ctx, disks[i])
	if err != nil {
		return unknown(err.Error())
	}
	if p.survey.Exec && strings.HasPrefix(p.Name, "/dev/") {
		if p.Blocks, err = p.domain.Blocks(ctx, p.Name); err != nil {
			return unknown(err.Error())
		}
	}
	return p.judgeMounts(ctx, mounts)
}

// judgeMounts refuses a disk that is in use, unless it is to be unmounted.
func (p *detaching) judgeMounts(ctx context.Context, mounts []string) error {
	var stacked []string
	for _, b := range domain.All(p.Blocks) {
		if b.Mount != "" && !slices.Contains(mounts, b.Mount) {
			mounts = append(mounts, b.Mount)
		}
		if !isOneOf(b.Type, "disk", "part") && (b.Type != "lvm" || !p.request.Unmount) {
			stacked = append(stacked, b.Name)
		}
	}
	use := strings.Join(mounts, ", ")
	switch {
	case p.request.Unmount && !p.survey.Exec:
		return plan.Refuse(plan.NoAgent, p.domain.Name, "the agent of %s does not run programs: nobody can unmount in it", p.domain.Name)
	case p.request.Unmount && isOneOf("/", mounts...):
		return plan.Refuse(plan.Mounted, p.Target, "%s is the disk %s runs from", p.Target, p.domain.Name)
	case p.request.EvenMounted:
	case len(stacked) > 0:
		return plan.Refuse(plan.Mounted, p.Target, "%s has %s in use through %s", p.domain.Name, p.Name, strings.Join(stacked, ", "))
	case len(mounts) > 0 && !p.request.Unmount:
		return plan.Refuse(plan.Mounted, p.Target, "%s has %s mounted at %s", p.domain.Name, p.Name, use)
	}
	if !p.request.Unmount {
		return nil
	}
	return p.findLines(ctx)
}

// findLines finds the disk's lines in the running guest's fstab.
func (p *detaching) findLines(ctx context.Context) error {
	text, err := readFstab(ctx, p.domain)
	if err != nil {
		return err
	}
	for _, e := range fstab.Entries(text) {
		for _, b := range domain.All(p.Blocks) {
			if e.Spec == b.Name || b.UUID != "" && fstab.SameSpec(e.Spec, "UUID="+b.UUID) {
				p.Entries = append(p.Entries, e)
			}
		}
	}
	return nil
}

// mounted are the mount points on the disk, those within others first.
func (t *detachment) mounted() []string {
	var all []string
	for _, b := range domain.All(t.Blocks) {
		if b.Mount != "" {
			all = append(all, b.Mount)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

func (p *detaching) steps() []plan.Step {
	var steps []plan.Step
	add := func(kind plan.StepKind, format string, args ...any) {
		steps = append(steps, plan.Step{Kind: kind, Summary: fmt.Sprintf(format, args...)})
	}
	if p.request.Unmount && p.Live != "" {
		if at := p.mounted(); len(at) > 0 {
			add(plan.StepUnmount, "unmount %s in the guest", strings.Join(at, ", "))
		} else if slices.ContainsFunc(domain.All(p.Blocks), func(b domain.Block) bool { return b.Type == "lvm" }) {
			add(plan.StepUnmount, "deactivate the volumes on it in the guest")
		}
		if len(p.Entries) > 0 {
			add(plan.StepFstab, "take %d line(s) out of the guest's fstab", len(p.Entries))
		}
	}
	var last []plan.Step
	if p.File != nil {
		change := p.File.steps()
		steps, last = append(steps, change[:len(change)-1]...), change[len(change)-1:]
	}
	if p.Live != "" {
		add(plan.StepUnplug, "take %s out of the running guest, once it has let it go", p.Target)
	}
	if p.Config != "" {
		add(plan.StepUndefine, "take %s out of the definition of %s", p.Target, p.domain.Name)
	}
	steps = append(steps, last...) // takes the way back away
	if p.Delete {
		add(plan.StepDelete, "delete %s", p.Path)
	}
	return steps
}

// locks name the image, if it is still there.
func (p *detaching) locks(ctx context.Context) ([]string, error) {
	stamp, err := StampOf(p.Path)
	if errors.Is(err, fs.ErrNotExist) || p.Path == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if p.Delete {
		img := &Image{owner: &owner{domain: p.domain}}
		img.Path = p.Path
		if err := img.nobodyElses(ctx); err != nil {
			return nil, err
		}
	}
	return []string{stamp.Identity()}, nil
}
