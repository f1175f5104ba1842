package guest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/size"
)

// AttachRequest is a disk that a domain is to get.
type AttachRequest struct {
	// Path and Format are the image's; Format "" goes by the file's name.
	Path, Format string
	// Target is "vdb", Bus "virtio", "scsi", "sata" or "ide"; "" is the next free
	// target, on virtio.
	Target, Bus            string
	Serial, Cache, Discard string
	Shareable              bool
	Where                  Where
	// Mount is where the guest is to mount it; MountOptions take the place of
	// "defaults" in its fstab.
	Mount, MountOptions string
	// Windows is what a Windows guest is to make of it; nil for nothing.
	Windows *plan.WindowsDisk
}

// attachment is what the job has to know.
type attachment struct {
	Disk   domain.NewDisk `json:"disk"`
	Size   size.Bytes     `json:"size"`
	Agent  bool           `json:"agent,omitempty"`
	Exec   bool           `json:"exec,omitempty"`
	Before []string       `json:"before,omitempty"` // the guest's disks
	Name   string         `json:"name,omitempty"`   // what the guest calls the new one
	Script string         `json:"script,omitempty"`
	Letter string         `json:"letter,omitempty"`
	Mount  *mounting      `json:"mount,omitempty"`
	// File is the change of the fstab of a guest that is off, Made the image if the
	// job makes it.
	File *fileChange `json:"file,omitempty"`
	Made *creation   `json:"made,omitempty"`
}

// Attach gives a domain a disk.
func Attach(ctx context.Context, d *domain.Domain, r AttachRequest, o Options) (*Outcome, error) {
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

// Add makes an image, and gives it to a domain as a disk. Path "" puts it beside the
// domain's first disk.
func Add(ctx context.Context, d *domain.Domain, n plan.NewDisk, r AttachRequest, o Options) (*Outcome, error) {
	p := &attaching{domain: d, request: r, attachment: attachment{Size: n.Size}}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	if n.Path == "" {
		var err error
		if n.Path, err = p.pathBeside(n.Format); err != nil {
			return nil, err
		}
	}
	made, locks, err := openCreation(n)
	if err != nil {
		return nil, err
	}
	p.Made, p.Disk.Path, p.Disk.Format = &made, made.Disk.Path, n.Format
	return p.run(ctx, nil, locks, o)
}

// pathBeside names an image in the folder of the domain's first disk.
func (p *attaching) pathBeside(format string) (string, error) {
	for _, disk := range p.survey.Disks {
		if disk.Kind == "file" && disk.Device == "disk" {
			return filepath.Join(filepath.Dir(disk.Source), p.domain.Name+"-"+p.Disk.Target+"."+format), nil
		}
	}
	return "", plan.Refuse(plan.NotFound, p.domain.Name, "domain %s has no disk in a folder: --path says where the new one goes", p.domain.Name)
}

// openFree opens an image that nobody else has. Who has it says more than that it is
// in use.
func openFree(ctx context.Context, d *domain.Domain, r AttachRequest) (*Image, error) {
	img, err := locate(r.Path)
	if err != nil {
		return nil, err
	}
	if img.Format, err = format(img, r.Path, r.Format); err != nil {
		return nil, err
	}
	if err := img.mayAttach(ctx, d, r); err != nil {
		return nil, err
	}
	o := OpenOptions{Format: r.Format}
	if r.Shareable {
		o.access = block.Shared
	}
	return Open(ctx, r.Path, o)
}

// mayAttach refuses images that are something else, or somebody else's.
func (img *Image) mayAttach(ctx context.Context, d *domain.Domain, r AttachRequest) error {
	if img.Format == "raw" && !img.Block {
		iso, err := isISO(img.Path)
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
	survey, err := d.Survey(ctx, false)
	if err != nil {
		return err
	}
	img.owner = &owner{domain: d, survey: survey}
	for _, own := range survey.Disks {
		if slices.ContainsFunc(chainOf(ctx, own), func(p string) bool { return samePath(p, img.Path) }) {
			return plan.Refuse(plan.DiskShared, d.Name, "%s is disk %s of %s already, or lies below it", img.Path, own.Target, d.Name)
		}
	}
	err = img.nobodyElses(ctx)
	if refusal, ok := plan.IsRefusal(err); ok && refusal.Reason == plan.DiskShared && r.Shareable {
		return nil
	}
	return err
}

// attaching is an attachment on its way to be a job.
type attaching struct {
	attachment
	domain  *domain.Domain
	request AttachRequest
	survey  domain.Survey
	scopes  []domain.Scope
	steps   []plan.Step
}

// prepare finds out all there is to know, and refuses what would not work.
func (p *attaching) prepare(ctx context.Context) error {
	var err error
	if p.survey, err = p.domain.Survey(ctx, true); err != nil {
		return err
	}
	if err := judgeForDevices(p.domain, p.survey); err != nil {
		return err
	}
	if p.scopes, err = scopes(p.domain, p.survey, p.request.Where); err != nil {
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

// place finds bus and target.
func (p *attaching) place(ctx context.Context) error {
	taken, err := targets(ctx, p.domain, p.survey.State == domain.Running)
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
		return plan.Refuse(plan.NoHotplug, p.domain.Name, "a running guest cannot get a disk on the bus %s", bus)
	}
	p.Disk.Bus, p.Disk.Target = bus, target
	return nil
}

// ask asks the agent which disks there are.
func (p *attaching) ask(ctx context.Context) error {
	p.Agent, p.Exec = p.survey.Agent, p.survey.Exec
	if !p.Agent {
		return nil
	}
	before, err := p.domain.GuestDisks(ctx)
	if err != nil {
		p.Agent = false // it cannot say; so it will not be waited for
		return nil
	}
	for _, g := range before {
		p.Before = append(p.Before, g.Name)
	}
	return nil
}

// planMount looks at what the guest is to do with the disk.
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
		return plan.Refuse(plan.NoAgent, p.domain.Name, "the agent of %s does not run programs, or does not answer: nobody can mount in it", p.domain.Name)
	case !p.live() && p.survey.State == domain.Running:
		return plan.Refuse(plan.DomainState, p.domain.Name, "%s runs, and is to get the disk at its next start: its fstab cannot be written", p.domain.Name)
	}
	p.Mount = &mounting{Path: r.Mount, Options: r.MountOptions}
	if p.live() {
		return p.Mount.free(ctx, p.domain)
	}
	return nil
}

// driveNumbers are the numbers in Windows' names of disks.
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

// listDevices lists what comes into one of the definitions.
func (p *attaching) listDevices(ctx context.Context, scope domain.Scope) error {
	_, controllers, err := p.domain.Devices(ctx, scope)
	if err != nil {
		return err
	}
	if p.Disk.Bus == "scsi" && !slices.Contains(controllers, "scsi") {
		p.add(plan.StepController, string(scope), "add a virtio-scsi controller %s: there is none", whereText(scope))
	}
	what := fmt.Sprintf("%s as %s (%s, %s)", filepath.Base(p.Disk.Path), p.Disk.Target, p.Disk.Format, p.Disk.Bus)
	if scope == domain.Config {
		p.add(plan.StepDefine, "", "%s into the definition of %s", what, p.domain.Name)
	} else {
		p.add(plan.StepPlug, "", "%s into the running guest", what)
	}
	return nil
}

// listInside lists what the guest does with it, or what is done in its image.
func (p *attaching) listInside() {
	if p.live() && p.Agent {
		p.add(plan.StepSeen, "", "wait until the guest has it")
	}
	if p.Script != "" && p.live() && p.Exec {
		p.add(plan.StepInitialise, "", "Windows brings it online, and makes an NTFS on it")
		p.steps[len(p.steps)-1].Script = p.Script
	}
	switch {
	case p.File != nil && p.Made != nil:
		p.add(plan.StepFstab, "", "fill in the UUID of what was made")
		fallthrough
	case p.File != nil:
		p.steps = append(p.steps, p.File.steps()...)
	case p.Mount != nil:
		p.add(plan.StepFstab, "", "a line for %s in the guest's fstab", p.Mount.Path)
		p.add(plan.StepMount, "", "mount it at %s", p.Mount.Path)
	}
}

// run makes the job, and runs it. img is the image if it is there.
func (p *attaching) run(ctx context.Context, img *Image, locks []string, o Options) (_ *Outcome, err error) {
	if p.Mount != nil && !p.live() {
		visit, refused := newFstabVisit(ctx, p.domain, p.Disk.Target, img)
		if refused != nil {
			return nil, refused
		}
		defer func() { err = errors.Join(err, visit.close()) }()
		if p.File, err = visit.prepare(ctx, &o, p.lineFor); err != nil {
			return nil, err
		}
		locks = append(locks, p.File.locks()...)
	}
	if err := p.listSteps(ctx); err != nil {
		return nil, err
	}
	t := plan.Target{Path: p.Disk.Path, Format: p.Disk.Format, Block: p.Disk.Block, Guest: &plan.Guest{Disk: p.Disk.Target, Bus: p.Disk.Bus}}
	j, err := openDeviceJob(ctx, DiskAttach, p.domain, t, p.live(), locks, p.steps, &p.attachment, o)
	if err != nil {
		return nil, err
	}
	return j.runDeviceJob(ctx)
}

// lineFor adds the line of what is on the disk. What is to be made first gets one
// whose UUID is filled in later.
func (p *attaching) lineFor(found []plan.Content, text []byte) ([]byte, error) {
	e := fstab.For("00000000-0000-0000-0000-000000000000", "auto", p.Mount.Path, p.Mount.Options)
	if p.Made == nil {
		var err error
		if e, err = p.Mount.entryOn(p.Disk.Path, found); err != nil {
			return nil, err
		}
		p.Mount.Entry = e
	}
	if err := p.Mount.fits(p.domain.Name, text, e); err != nil {
		return nil, err
	}
	changed, err := fstab.Add(text, e)
	p.Mount.Change = fstabChange{Known: true, Old: text, New: changed}
	return changed, err
}

// attachJob is the job as its steps see it.
type attachJob struct {
	slot
	*attachment
}

func openAttach(j *job) (errand, error) {
	a := &attachJob{attachment: &attachment{}}
	if err := j.told(a.attachment); err != nil {
		return errand{}, err
	}
	a.slot = slot{job: j, target: a.Disk.Target, path: a.Disk.Path}
	handlers := map[plan.StepKind]apply.Handler{
		plan.StepController: {Do: a.addController, Undo: a.dropController},
		plan.StepDefine:     {Do: a.define, Undo: a.undefineAgain},
		plan.StepPlug:       {Do: a.plug, Undo: a.unplugAgain},
		plan.StepSeen:       {Do: a.waitSeen},
		plan.StepInitialise: {Do: a.initialise},
	}
	if a.Made != nil {
		maps.Copy(handlers, a.Made.handlers(j, a.keep))
		name := handlers[plan.StepName]
		name.Undo = a.unmake
		handlers[plan.StepName] = name
	}
	if a.Mount != nil {
		m := a.mountJob()
		handlers[plan.StepFstab] = apply.Handler{Do: m.addLine, Undo: m.takeLineBack}
		handlers[plan.StepMount] = apply.Handler{Do: m.mount, Undo: m.unmount}
	}
	if a.File != nil {
		maps.Copy(handlers, a.File.handlers(j))
	}
	return errand{handlers: handlers, result: a.result}, nil
}

func (a *attachJob) keep() error { return a.tell(a.attachment) }

func (a *attachJob) mountJob() *mountJob {
	m := &mountJob{job: a.job, mounting: a.Mount, keep: a.keep, file: a.File}
	m.device = func() string { return a.Name }
	m.content = func() []plan.Content {
		if a.Made == nil {
			return nil
		}
		return []plan.Content{a.Made.Content}
	}
	return m
}

// unmake deletes the image that the job made, whatever the guest wrote to it: it was
// nobody's before.
func (a *attachJob) unmake(ctx context.Context, _ plan.Step) error {
	now, err := StampOf(a.Made.File.Path)
	if err == nil && now.Identity() == a.Made.File.Made.Identity() {
		a.Made.File.Made = now
	}
	return a.Made.File.vanish(ctx)
}

func (a *attachJob) define(ctx context.Context, _ plan.Step) error {
	return a.put(ctx, a.Disk.XML(), domain.Config)
}

func (a *attachJob) undefineAgain(ctx context.Context, _ plan.Step) error {
	return errors.Join(a.undefine(ctx), a.restoreDefinition(ctx))
}

func (a *attachJob) plug(ctx context.Context, _ plan.Step) error {
	return a.put(ctx, a.Disk.XML(), domain.Live)
}

func (a *attachJob) unplugAgain(ctx context.Context, _ plan.Step) error {
	return a.unplug(ctx, ReleaseLimit)
}

// ReleaseLimit is how long a guest may take to let a disk go.
const ReleaseLimit = 30 * time.Second

func (a *attachJob) hasController(ctx context.Context, scope domain.Scope) (bool, error) {
	_, controllers, err := a.domain.Devices(ctx, scope)
	return slices.Contains(controllers, "scsi"), err
}

func (a *attachJob) addController(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	there, err := a.hasController(ctx, scope)
	if err != nil || there {
		return err
	}
	err = a.domain.Attach(ctx, domain.SCSIController, scope)
	if there, asked := a.hasController(ctx, scope); asked == nil && there {
		return nil
	}
	return err
}

// dropController waits until a running guest has let it go.
func (a *attachJob) dropController(ctx context.Context, s plan.Step) error {
	scope := domain.Scope(s.Device)
	if scope == domain.Config {
		return a.restoreDefinition(ctx)
	}
	if state, err := a.domain.State(ctx); err != nil || state == domain.Off {
		return err
	}
	there, err := a.hasController(ctx, scope)
	if err != nil || !there {
		return err
	}
	if err := a.domain.Detach(ctx, domain.SCSIController, scope); err != nil {
		return err
	}
	for end := time.Now().Add(ReleaseLimit); there && time.Now().Before(end); {
		if err := domain.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		if there, err = a.hasController(ctx, scope); err != nil {
			return err
		}
	}
	if there {
		return plan.Refuse(plan.NotReleased, a.target, "the guest has not let go of the SCSI controller within %s", ReleaseLimit)
	}
	return nil
}

// waitSeen returns when the guest has the disk.
func (a *attachJob) waitSeen(ctx context.Context, _ plan.Step) error {
	live, there, err := a.find(ctx, domain.Live)
	if err != nil {
		return err
	}
	if !there {
		return plan.Refuse(plan.DomainChanged, a.held.ID, "somebody took %s out of %s", a.target, a.domain.Name)
	}
	const limit = 30 * time.Second
	why := errors.New("it has no new disk")
	for end := time.Now().Add(limit); time.Now().Before(end); {
		disks, err := a.domain.GuestDisks(ctx)
		if err != nil {
			why = err
		} else if name, ok := newDisk(disks, a.Before, live); ok {
			a.Name = name
			return a.keep()
		}
		if err := domain.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the guest does not see %s within %s: %w", a.target, limit, why)
}

// newDisk finds the disk of the domain among the guest's: by its serial or its
// address, else it is the one that is new.
func newDisk(disks []domain.GuestDisk, before []string, live domain.Device) (string, bool) {
	fresh := slices.DeleteFunc(slices.Clone(disks), func(g domain.GuestDisk) bool { return slices.Contains(before, g.Name) })
	for _, g := range fresh {
		if g.Is(live) {
			return g.Name, true
		}
	}
	if len(fresh) == 1 {
		return fresh[0].Name, true
	}
	return "", false
}

// initialise has Windows run the script that the job's steps show.
func (a *attachJob) initialise(ctx context.Context, s plan.Step) error {
	ctx, stop := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("it takes Windows longer than 5 minutes"))
	defer stop()
	letter, err := a.domain.Exec(ctx, plan.PowerShell(s.Script))
	if err != nil {
		return err
	}
	a.Letter = letter
	return a.keep()
}

// result says what came of it.
func (a *attachJob) result(out *Outcome) {
	say := func(format string, args ...any) { out.Said = append(out.Said, fmt.Sprintf(format, args...)) }
	say("%s has %s: %s", a.domain.Name, a.target, a.path)
	for _, s := range a.facts.Steps {
		if s.Kind == plan.StepController {
			say("a virtio-scsi controller was added, too (%s)", s.Device)
		}
	}
	switch {
	case a.Name != "":
		say("the guest calls it %s", a.Name)
	case a.guest().Running:
		say("no guest agent says whether the guest has it")
	default:
		say("the guest has it at its next start")
	}
	a.inside(out)
}

// inside says what was made of it in the guest, or is left to a person.
func (a *attachJob) inside(out *Outcome) {
	if a.Made != nil {
		out.Said = append(out.Said, a.Made.said()...)
	}
	switch {
	case a.Letter != "":
		out.Said = append(out.Said, "it is drive "+a.Letter+" of Windows")
	case a.Script != "":
		out.ToDo = append(out.ToDo, "in Windows, as administrator in PowerShell:\n"+a.Script)
	}
	if a.Mount == nil {
		return
	}
	out.Said = append(out.Said, "in the guest's fstab: "+a.Mount.Entry.String())
	if a.File == nil {
		out.Said = append(out.Said, "mounted at "+a.Mount.Path+"; the fstab from before is "+a.besideFstab(""))
	}
}
