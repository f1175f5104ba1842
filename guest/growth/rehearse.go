package growth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// RehearseOptions say how a rehearsal treats a running guest.
type RehearseOptions struct {
	// Quiesce says whether the guest's file systems are frozen while the snapshot is
	// taken: "yes", "no", or "auto" (if the guest's agent can freeze them).
	Quiesce string
	// MaxScratch limits the scratch file, which keeps what the guest overwrites: a
	// larger one ends the rehearsal. 0 is half of the free space.
	MaxScratch size.Bytes
	// Guard starts a process that thaws the guest if this process dies. end ends it;
	// thawed reports that the guest needs no thawing any more.
	Guard func(uri, uuid string) (end func(thawed bool), err error)
}

// Rehearsal is the result of a rehearsal.
type Rehearsal struct {
	// Plan has the time that each step of the edit took.
	Plan *plan.Plan
	// FromSnapshot reports whether it read a snapshot of a running guest's disk; Frozen is how
	// long the guest's file systems were frozen for that.
	FromSnapshot bool
	Frozen       time.Duration
	// Scratch is the size of the scratch file, which keeps what the guest overwrote.
	Scratch size.Bytes
	// LeftOut are the devices whose content could not be grown in the rehearsal.
	LeftOut []string
	Took    time.Duration
}

// snapshot is a snapshot of the guest's disk, with the files that it uses on this host.
type snapshot struct {
	domain.DiskSnapshot
	// Dir is the directory that was made for its socket; "" if the socket is in the
	// domain's own.
	Dir string `json:"dir,omitempty"`
	// Freezing reports that the guest's file systems may be frozen.
	Freezing bool `json:"freezing,omitempty"`
}

// liveDomain is what a rehearsal needs of a running guest's domain.
type liveDomain interface {
	State(context.Context) (domain.State, error)
	// PlaceSocket returns a path where the domain's QEMU may create a socket.
	PlaceSocket(name string) (string, error)
	// BeginSnapshot exports a disk as it is at this moment, until EndSnapshot.
	// EndSnapshot may be called without a snapshot.
	BeginSnapshot(context.Context, domain.DiskSnapshot) error
	EndSnapshot(context.Context, domain.DiskSnapshot) error
	// Freeze makes the guest's agent stop writes to file systems, until Thaw.
	Freeze(context.Context) error
	Thaw(context.Context) error
}

// Rehearse carries out the whole edit on a temporary overlay; for a running guest, on an
// overlay of a snapshot of its disk. It removes all its files.
func Rehearse(ctx context.Context, d *disk.Disk, r plan.Request, o Options, q RehearseOptions) (*Rehearsal, error) {
	begun := time.Now()
	sizes, err := newSizes(d, r)
	if err != nil {
		return nil, err
	}
	check := func(img *image.Image, to size.Bytes) error { return img.CheckSize(ctx, to) }
	if err := checkSizes(d, sizes, check); err != nil {
		return nil, err
	}
	if g := d.Target.Guest; g != nil && g.Running && q.Quiesce == "yes" && !g.Health.Agent {
		return nil, plan.Refuse(plan.NoRehearsal, g.Name, "--quiesce yes: no guest agent answers in %s", g.Name)
	}
	o.Confirm = nil
	took := map[string]float64{}
	shown := o.Emit
	o.Emit = func(e apply.Event) {
		if e.Phase == apply.Finished {
			took[e.Step.ID()] = e.Took.Seconds()
		}
		if shown != nil {
			shown(e)
		}
	}
	out := &Rehearsal{}
	spec, err := growthSpec(ctx, KindRehearsal, d, r, sizes, o, func(g *growth) job.Work { return &rehearsal{g, q, out} })
	if err != nil {
		return nil, err
	}
	e := job.Engine{Options: o.Options}
	if _, err := e.Run(ctx, spec); err != nil {
		return nil, err
	}
	for i, s := range out.Plan.Steps {
		if seconds, ok := took[s.ID()]; ok {
			out.Plan.Steps[i].Seconds = seconds
		}
	}
	out.Took = time.Since(begun)
	return out, nil
}

// rehearsal is the work of a job that rehearses a growth.
type rehearsal struct {
	*growth
	options RehearseOptions
	out     *Rehearsal
}

// OpenRehearsal opens a job of KindRehearsal.
func OpenRehearsal(o Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		var data growthData
		err := j.Load(&data)
		return &rehearsal{growth: newGrowth(j, data, o)}, err
	}
}

// Actions returns rollback and resume: both remove what the rehearsal left.
func (r *rehearsal) Actions(journal.Record) []job.Action {
	return []job.Action{job.Rollback, job.Resume}
}

// WhyNot returns "": the engine's own explanation is enough.
func (r *rehearsal) WhyNot(job.Action, journal.Record) string { return "" }

// Describe describes the state of the rehearsal.
func (r *rehearsal) Describe(_ journal.Record, active bool) string {
	if active {
		return "The rehearsal is running. It only reads the image."
	}
	return "The rehearsal was interrupted. It only read the image; rollback removes the files that it left."
}

// Report adds nothing: Rehearse returns the result.
func (r *rehearsal) Report(*job.Outcome) {}

// Run rehearses, and then removes all files that the rehearsal made. For a rehearsal that
// was interrupted, it only removes them.
func (r *rehearsal) Run(ctx context.Context, a job.Action) error {
	if a == job.Start {
		if err := r.rehearse(ctx, r.options, r.out); err != nil {
			return err
		}
	}
	if err := r.end(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return r.Enter(journal.Cancelled)
}

// Disconnect releases the domain. Its storage pool needs no refresh.
func (r *rehearsal) Disconnect() error { return r.Release() }

// Failed reports that the image is unchanged, and whether files were left.
func (r *rehearsal) Failed(f *job.Failure, _ journal.Record) {
	f.Begun, f.Trivial = false, f.Restored
	if f.Restored {
		return
	}
	left := errors.New("not all files of the rehearsal could be removed")
	if f.Undo == nil {
		f.Err, f.Undo = left, f.Err
	} else {
		f.Err = errors.Join(f.Err, left)
	}
}

// rehearse starts the appliance, and edits.
func (g *growth) rehearse(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	var s editSession
	var err error
	if g.Guest() != nil && g.Guest().Running {
		out.FromSnapshot = true
		if s, err = g.prewarm(ctx); err == nil {
			err = g.takeSnapshot(ctx, q, out)
		}
		if err == nil {
			err = g.overlaySnapshot(ctx)
		}
	} else {
		s, err = g.prepare(ctx)
	}
	if s == nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err != nil {
		return err
	}
	ctx, stop := g.watchSpace(ctx)
	defer stop()
	if out.FromSnapshot {
		var watched context.CancelFunc
		if ctx, watched, err = g.watchScratch(ctx, q.MaxScratch, out); err != nil {
			return err
		}
		defer watched()
	}
	return g.editOnce(ctx, s, out)
}

// overlaySnapshot creates the overlays on the disks of the snapshot.
func (g *growth) overlaySnapshot(ctx context.Context) error {
	for i, d := range g.data.Snapshot.Disks() {
		o := &g.edited[i].Files
		o.Image, o.Format = g.data.Snapshot.URI(d.Target), "raw"
		if err := o.CreateShared(ctx, g.edited[i].NewSize); err != nil {
			return err
		}
	}
	return nil
}

// editOnce plans, and runs the steps that edit the overlay.
func (g *growth) editOnce(ctx context.Context, s editSession, out *Rehearsal) error {
	inUse := map[string]bool{}
	a := g.attempt(s)
	a.look = func(ctx context.Context) (*plan.Layout, error) {
		layout, err := g.lookAtOverlay(ctx, s, s.Read)
		if err == nil && out.FromSnapshot {
			inUse = usedByWindows(layout)
		}
		return layout, err
	}
	a.steps = func(p *plan.Plan) []plan.Step { return out.possible(p, inUse) }
	var err error
	out.Plan, err = a.run(ctx)
	return err
}

// possible returns the steps of the edit, without those on an NTFS that is in use.
func (r *Rehearsal) possible(p *plan.Plan, inUse map[string]bool) []plan.Step {
	var steps []plan.Step
	for _, s := range append(p.SnapshotChecks(), editSteps(p)...) {
		switch {
		case !inUse[s.Device] || s.Content != "ntfs":
		case s.Kind == plan.StepVerify:
			s.Content = "" // the table is verified
		default:
			if !slices.Contains(r.LeftOut, s.Device) {
				r.LeftOut = append(r.LeftOut, s.Device)
			}
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// usedByWindows returns the NTFS volumes that a running Windows has mounted, and removes
// the problems from the layout that only come from the guest running: mounted volumes
// always look unclean. They cannot be grown in a rehearsal, and are checked after the
// shutdown.
func usedByWindows(l *plan.Layout) map[string]bool {
	used := map[string]bool{}
	for i := range l.Devices {
		content := &l.Devices[i].Content
		if p := content.Problem; p != nil && p.Way == plan.WayUnmount {
			content.Problem = nil // the snapshot does not change, so e2fsck accepts it as unmounted
		} else if p != nil && p.Reason == plan.NTFSDirty {
			content.Problem = nil
			used[l.Devices[i].Name] = true
		}
	}
	return used
}

// takeSnapshot takes the snapshot, while the guest's file systems are frozen if the
// options say so.
func (g *growth) takeSnapshot(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	if err := g.placeSnapshot(); err != nil {
		return err
	}
	if err := g.save(); err != nil {
		return err
	}
	// Both calls are waited for, even after an interrupt: nothing would undo a freeze or
	// a snapshot that came later.
	whole := context.WithoutCancel(ctx)
	begun := time.Now()
	frozen, thaw, err := g.freeze(whole, q)
	if err != nil {
		return err
	}
	if err = g.Fault(ctx, "view/before"); err == nil {
		err = g.live.BeginSnapshot(whole, g.data.Snapshot.DiskSnapshot)
	}
	if frozen {
		thawed := thaw()
		out.Frozen = time.Since(begun)
		if thawed != nil {
			return errors.Join(err, fmt.Errorf("the guest's file systems stay frozen: %w", thawed))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return plan.Refuse(plan.NoRehearsal, g.Guest().Name, "cannot take a snapshot of disk %s of %s: %v", g.diskNames(), g.Guest().Name, err)
	}
	return nil
}

// placeSnapshot names the snapshot's files: a scratch file next to each overlay, the socket
// in the directory that libvirt lets the domain's QEMU write to. The fallback for both
// is the directory for temporary files, where a confined QEMU may not write.
func (g *growth) placeSnapshot() error {
	v := &snapshot{}
	var err error
	if v.Socket, err = g.live.PlaceSocket("virt-grow-" + g.ID() + ".sock"); err != nil {
		if v.Dir, err = g.temporaryForQEMU(); err != nil {
			return err
		}
		v.Socket = filepath.Join(v.Dir, "view.sock")
	}
	for i, e := range g.edited {
		d := domain.SnapshotDisk{Target: cmp.Or(e.Target, g.Guest().Disk), Scratch: e.Overlay + ".scratch"}
		if filepath.Dir(e.Overlay) == g.Dir() { // QEMU may not access the job's directory
			d.Scratch = strings.TrimSuffix(v.Socket, ".sock") + strings.Repeat("+", i) + ".scratch"
		}
		if i > 0 {
			v.More = append(v.More, d)
			continue
		}
		v.Target, v.Scratch = d.Target, d.Scratch
	}
	g.data.Snapshot = v
	return nil
}

// temporaryForQEMU makes a directory that belongs to the user that QEMU runs as, who is
// the image's owner.
func (g *growth) temporaryForQEMU() (string, error) {
	info, err := os.Stat(g.Target().Path)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return "", err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dir, int(stat.Uid), int(stat.Gid)); err != nil && os.Geteuid() == 0 {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// freeze freezes the guest's file systems, if the options say so and the agent can. If it
// returns frozen, the caller must call thaw.
func (g *growth) freeze(ctx context.Context, q RehearseOptions) (frozen bool, thaw func() error, err error) {
	guest := g.Guest()
	if q.Quiesce == "no" || !guest.Health.Agent {
		return false, nil, nil
	}
	end, err := q.Guard(guest.Connect, guest.UUID)
	if err != nil {
		return false, nil, err
	}
	thaw = func() error {
		err := g.live.Thaw(ctx)
		end(err == nil)
		if err != nil {
			return err
		}
		return g.freezing(false)
	}
	if err := g.freezing(true); err != nil {
		end(true)
		return false, nil, err
	}
	if err = g.live.Freeze(ctx); err == nil {
		return true, thaw, nil
	}
	// After an error some file systems may still be frozen.
	if thawed := thaw(); thawed != nil {
		return false, nil, errors.Join(err, thawed)
	}
	if q.Quiesce == "yes" {
		return false, nil, plan.Refuse(plan.NoRehearsal, guest.Name, "--quiesce yes: the guest agent cannot freeze the file systems of %s: %v", guest.Name, err)
	}
	g.Note("the file systems are not frozen: %v", err)
	return false, nil, nil
}

// freezing saves whether the guest's file systems may be frozen.
func (g *growth) freezing(may bool) error {
	g.data.Snapshot.Freezing = may
	return g.save()
}

// watchScratch cancels the returned context when the scratch file exceeds its limit: a
// full file system could pause the guest.
func (g *growth) watchScratch(ctx context.Context, limit size.Bytes, out *Rehearsal) (context.Context, context.CancelFunc, error) {
	disks := g.data.Snapshot.Disks()
	if limit == 0 {
		free, err := block.Free(filepath.Dir(disks[0].Scratch))
		if err != nil {
			return ctx, nil, err
		}
		limit = free / 2
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			var used size.Bytes
			for _, d := range disks {
				allocated, _ := block.Allocated(d.Scratch) // 0 before libvirt has made it
				used += allocated
			}
			out.Scratch = max(out.Scratch, used)
			if used > limit {
				cancel(plan.Refuse(plan.NoRehearsal, g.Guest().Name, "%s overwrote %s since the snapshot was taken, and the limit for what is kept of that is %s", g.Guest().Name, used, limit))
			}
			_ = domain.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	return ctx, func() { cancel(nil); <-ended }, nil
}

// end removes everything that a rehearsal has left. It can be called again.
func (r *rehearsal) end(ctx context.Context) error {
	return errors.Join(r.endSnapshot(ctx), r.dropOverlays())
}

func (g *growth) endSnapshot(ctx context.Context) error {
	v := g.data.Snapshot
	if v == nil {
		return nil
	}
	state, err := g.live.State(ctx)
	if err != nil {
		return err
	}
	var frozen error
	if state != domain.Off {
		if v.Freezing {
			if err := g.live.Thaw(ctx); err != nil {
				frozen = fmt.Errorf("the guest's file systems may be frozen (virsh domfsthaw %s): %w", g.Guest().Name, err)
			}
		}
		if err := g.live.EndSnapshot(ctx, v.DiskSnapshot); err != nil {
			return errors.Join(frozen, err)
		}
	}
	files := []string{v.Socket}
	for _, d := range v.Disks() {
		files = append(files, d.Scratch)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(frozen, err)
		}
	}
	if v.Dir == "" {
		return frozen
	}
	return errors.Join(frozen, os.RemoveAll(v.Dir))
}
