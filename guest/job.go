package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	engine "github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Facts are what a job has to know after a crash, beside its plan. They hold
// no key.
type Facts struct {
	Kind    Kind         `json:"kind,omitempty"`
	Target  plan.Target  `json:"target"`
	Request plan.Request `json:"request"`
	OldSize size.Bytes   `json:"old_size"`
	NewSize size.Bytes   `json:"new_size"`
	Overlay string       `json:"overlay"`
	Undo    string       `json:"undo"`
	// Stamp is the image's, before the job.
	Stamp image.Stamp `json:"stamp"`
	// Keep stops before the commit; Agreed says that nobody is to be asked.
	Keep   bool `json:"keep"`
	Agreed bool `json:"agreed"`

	// Overlays are those of the domain's other disks, for the trial.
	Overlays []SideOverlay `json:"overlays,omitempty"`
	// Locks name every disk the job is on.
	Locks []string `json:"locks,omitempty"`
	// Before is what the guest's agent saw before the outage. Unlisted says that it
	// answered, and could not list file systems.
	Before   []domain.FS `json:"before,omitempty"`
	Unlisted bool        `json:"unlisted,omitempty"`
	// ByHand are the volumes that Windows was to extend, and could not be told
	// to.
	ByHand []string `json:"by_hand,omitempty"`
	Hooks  Hooks    `json:"hooks,omitzero"`
	// View is what a rehearsal works on while the guest runs.
	View *view `json:"view,omitempty"`
}

// Kind is what a job is for.
type Kind string

// The kinds of job.
const (
	Growth       Kind = "growth"    // of an image, or of a domain's disk
	Rehearsing   Kind = "rehearsal" // nothing is ever committed
	OnlineGrowth Kind = "online"    // of a running guest's disk
	DiskAttach   Kind = "attach"    // of a disk, and what the guest does with it
	DiskDetach   Kind = "detach"
	Medium       Kind = "medium"  // in a domain's drive, or out of it
	Editing      Kind = "edit"    // of one file inside a guest that is off
	CopyingIn    Kind = "copy-in" // of files into a guest that is off

	DiskCreation   Kind = "disk-create"
	DiskConversion Kind = "disk-convert"
)

// Options are what every job command takes.
type Options struct {
	Session session.Options
	// Rates are how long steps took before, Cache is the inspection cache; either may
	// be nil.
	Rates *Rates
	Cache *session.Cache
	Store journal.Store
	// Scratch is the folder for the overlay; "" is the image's own.
	Scratch string
	// Keep stops before the commit.
	Keep bool
	// Window is how long a guest may be away.
	Window Window
	// Hooks are commands to run around the outage.
	Hooks Hooks
	// Planned is told the plan before anything is done about it, Listed the steps
	// of a job without one; may be nil.
	Planned func(*plan.Plan)
	Listed  func([]plan.Step)
	// Confirm asks about it; nil agrees to everything. It is not called for
	// a plan without steps.
	Confirm func(context.Context, *plan.Plan) error
	// Saved is a reviewed plan: anything else is refused as stale.
	Saved *plan.Plan
	// Emit is told of steps, Note of what goes on between them; may be nil.
	Emit func(apply.Event)
	Note func(text string)
	// Opened is told the job's name as soon as there is one; may be nil.
	Opened func(id string)
	// Fault makes steps fail in tests, by name.
	Fault func(ctx context.Context, point string) error

	kind Kind
}

// ErrDeclined says that a person said no to the plan.
var ErrDeclined = errors.New("not agreed to")

// Outcome is how a job command ended, Failure one that did not reach its end.
type (
	Outcome = engine.Outcome
	Failure = engine.Failure
)

// job is one job on its way.
type job struct {
	held    *journal.Job
	record  journal.Record
	facts   Facts
	options Options
	overlay block.Overlay
	plan    *plan.Plan
	run     *apply.Run
	growth  *apply.Growth // what a growth's steps are carried out on
	steps   []plan.Step   // what may have to be undone
	unlock  func() error
	warned  []string // the image's notes, for the plan's warnings

	// seen is what was on the disk while the guest still ran.
	seen *plan.Layout

	image  *image.Image // nil in a job taken up again
	domain *domain.Domain
	// connected says that the domain's connection is the job's own.
	connected bool
	// refusedStop says that the guest was asked in every way to shut down, and
	// did not.
	refusedStop bool
	// restarted says that a shutdown was taken back by starting the guest.
	restarted bool
}

// openJob makes a new job for the disk.
func openJob(ctx context.Context, d *disk.Disk, r plan.Request, newSize size.Bytes, o Options) (*job, error) {
	locks, err := locksOf(d)
	if err != nil {
		return nil, err
	}
	overlays, err := sideOverlays(ctx, d)
	if err != nil {
		return nil, err
	}
	j, err := createJob(d.Path, locks, o, func(held *journal.Job) Facts {
		placeSideOverlays(overlays, held.ID, o.Scratch)
		facts := factsFor(d.Image, r, newSize, o, held)
		facts.Overlays = overlays
		return facts
	})
	if err != nil {
		return nil, err
	}
	j.warned, j.image = d.Notes, d.Image
	if d.Domain != nil {
		j.takeDomain(d.Domain)
	}
	return j, nil
}

// createJob makes a job that holds the disks.
func createJob(path string, locks []string, o Options, facts func(*journal.Job) Facts) (*job, error) {
	unlock, err := lockDisks(o.Store, path, locks)
	if err != nil {
		return nil, err
	}
	held, err := o.Store.Create(time.Now())
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	f := facts(held)
	if f.Kind, f.Locks = o.kind, locks; f.Kind == "" {
		f.Kind = Growth
	}
	j := newJob(held, f, o)
	j.unlock = unlock
	if err := j.writeFacts(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return j, nil
}

// factsFor names the job's files.
func factsFor(img *image.Image, r plan.Request, newSize size.Bytes, o Options, held *journal.Job) Facts {
	dir := o.Scratch
	if dir == "" && !img.Block {
		dir = filepath.Dir(img.Path)
	}
	if dir == "" {
		dir = held.Dir // /dev is no place for files
	}
	// The overlay's name ends in .qcow2, because virt-aa-helper's own AppArmor profile
	// lets it read files of such names only (usr.lib.libvirt.virt-aa-helper).
	base := filepath.Join(dir, filepath.Base(img.Path)+".virt-grow-"+held.ID)
	return Facts{
		Target: img.Target, Request: r, OldSize: img.Size, NewSize: newSize,
		Overlay: base + ".qcow2", Undo: base + ".undo.qcow2",
		Stamp: img.Stamp, Keep: o.Keep, Agreed: o.Confirm == nil, Hooks: o.Hooks,
	}
}

// writeFacts puts the job's facts into the journal, as the data of a header.
func (j *job) writeFacts() error {
	data, err := j.facts.header()
	if err != nil {
		return err
	}
	return j.log(journal.Entry{Kind: journal.Opened, Data: data})
}

func (f Facts) header() ([]byte, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return json.Marshal(engine.Header{Kind: string(f.Kind), Target: f.Target, Locks: f.Locks, Agreed: f.Agreed, Data: data})
}

// locksOf names the locks of the images that a growth of the disk works on.
func locksOf(d *disk.Disk) ([]string, error) {
	locks := []string{d.Stamp.Identity()}
	for _, path := range otherImages(d.Target.Guest) {
		stamp, err := image.StampOf(path)
		if err != nil {
			return nil, err
		}
		locks = append(locks, stamp.Identity())
	}
	return locks, nil
}

// lockDisks keeps everybody else's virt-grow off the disks, and refuses when an
// unfinished job is still on one of them.
func lockDisks(s journal.Store, path string, locks []string) (func() error, error) {
	unlock, err := holdDisks(s, path, locks)
	if err != nil {
		return nil, err
	}
	if err := noOtherJob(s, path, locks); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

func holdDisks(s journal.Store, path string, locks []string) (func() error, error) {
	var held []func() error
	unlock := func() error {
		var errs []error
		for _, release := range held {
			errs = append(errs, release())
		}
		return errors.Join(errs...)
	}
	for _, lock := range locks {
		release, err := s.LockDisk(lock)
		if errors.Is(err, journal.ErrBusy) {
			err = plan.Refuse(plan.Locked, path, "another virt-grow works on %s", path)
		}
		if err != nil {
			return nil, errors.Join(err, unlock())
		}
		held = append(held, release)
	}
	return unlock, nil
}

func noOtherJob(s journal.Store, path string, locks []string) error {
	jobs, err := s.List()
	if err != nil {
		return err
	}
	for _, other := range jobs {
		// A damaged journal is no end: its first entry may still name the disk.
		facts, err := factsOf(other.Record)
		if err != nil || other.Record.State.Ended() {
			continue
		}
		for _, lock := range append(facts.Locks, facts.Stamp.Identity()) {
			if slices.Contains(locks, lock) {
				return plan.Refuse(plan.JobActive, other.ID, "job %s on %s has not ended (%s)", other.ID, path, other.Record.State)
			}
		}
	}
	return nil
}

func factsOf(r journal.Record) (Facts, error) {
	var f Facts
	if len(r.Facts) == 0 {
		return f, errors.New("the journal does not say what the job was for")
	}
	var h engine.Header
	if err := json.Unmarshal(r.Facts, &h); err != nil {
		return f, err
	}
	err := json.Unmarshal(h.Data, &f)
	f.Kind, f.Target, f.Locks, f.Agreed = Kind(h.Kind), h.Target, h.Locks, h.Agreed
	return f, err
}

func newJob(held *journal.Job, facts Facts, o Options) *job {
	j := &job{held: held, facts: facts, options: o, record: journal.Replay(held.Log.Entries()), unlock: func() error { return nil }}
	j.overlay = block.Overlay{Image: facts.Target.Path, Format: facts.Target.Format, Path: facts.Overlay, Undo: facts.Undo}
	j.growth = &apply.Growth{Image: &hostImage{j}}
	j.run = &apply.Run{Handlers: j.growth.Handlers(), Log: held.Log, Now: time.Now, Emit: j.emit, Fault: o.Fault}
	if o.Opened != nil {
		o.Opened(held.ID)
	}
	return j
}

func (j *job) close() error {
	j.refreshPool()
	errs := []error{j.held.Close(), j.unlock()}
	if j.connected {
		errs = append(errs, j.domain.Close())
	}
	return errors.Join(errs...)
}

// refreshPool lets libvirt know the volume's new size. A pool that is busy learns of it
// when it is refreshed next.
func (j *job) refreshPool() {
	if j.domain == nil || j.guest() == nil || j.guest().Pool == "" || j.facts.Kind == Rehearsing {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := j.domain.RefreshPool(ctx, j.guest().Pool); err != nil {
		j.note("cannot refresh the storage pool %s: %v (virsh pool-refresh does it)", j.guest().Pool, err)
	}
}

func (j *job) log(e journal.Entry) error {
	e.Time = time.Now()
	return j.held.Log.Append(e)
}

func (j *job) enter(s journal.JobState) error {
	return j.log(journal.Entry{Kind: journal.State, Text: string(s)})
}

// emit passes events on, and learns from them.
func (j *job) emit(e apply.Event) {
	j.options.Rates.Learn(j.guest(), e)
	if j.options.Emit != nil {
		j.options.Emit(e)
	}
}

func (j *job) note(format string, args ...any) {
	if j.options.Note != nil {
		j.options.Note(fmt.Sprintf(format, args...))
	}
}

// now reads the journal's state again.
func (j *job) now() journal.Record { return journal.Replay(j.held.Log.Entries()) }

// begun says whether a step was begun and not undone.
func (j *job) begun(id string) bool {
	r := j.now()
	return r.Done[id] || r.Running == id
}

// started writes a process into the journal. A process that could not be noted
// down is ended with the others at the end of this one; only a crash could
// leave it.
func (j *job) started(p journal.Proc) {
	if data, err := json.Marshal(p); err == nil {
		_ = j.log(journal.Entry{Kind: journal.Process, Data: data})
	}
}

// endLeftovers ends what a dead process of this job left running.
func (j *job) endLeftovers(ctx context.Context) error {
	var errs []error
	for _, p := range j.record.Processes {
		errs = append(errs, block.End(ctx, p, 5*time.Second))
	}
	return errors.Join(errs...)
}

// hostImage is the job's image and overlay as apply sees them.
type hostImage struct{ *job }

func (h *hostImage) CreateOverlay(ctx context.Context, to size.Bytes) error {
	return image.RefuseInUse(h.facts.Target.Path, h.overlay.Create(ctx, to))
}

// DropOverlay drops those of the domain's other disks as well.
func (h *hostImage) DropOverlay(context.Context) error {
	errs := []error{h.overlay.Drop(), h.overlay.DropBitmaps()}
	for _, side := range h.facts.Overlays {
		errs = append(errs, side.overlay().Drop())
	}
	return errors.Join(errs...)
}

func (h *hostImage) SaveUndo(ctx context.Context) error {
	return image.RefuseInUse(h.facts.Target.Path, h.overlay.SaveUndo(ctx, h.facts.OldSize))
}

func (h *hostImage) DropUndo(context.Context) error { return h.overlay.DropUndo() }

func (h *hostImage) Commit(ctx context.Context) error {
	return image.RefuseInUse(h.facts.Target.Path, h.overlay.Commit(ctx))
}

func (h *hostImage) Revert(ctx context.Context) error {
	return image.RefuseInUse(h.facts.Target.Path, h.overlay.Revert(ctx, h.facts.OldSize))
}

func (h *hostImage) Size(ctx context.Context) (size.Bytes, error) {
	access := block.Exclusive
	if h.facts.Target.Guest != nil {
		access = block.Shared // the guest may run on it
	}
	info, err := block.Inspect(ctx, h.facts.Target.Path, h.facts.Target.Format, access)
	return info.VirtualSize, image.RefuseInUse(h.facts.Target.Path, err)
}
