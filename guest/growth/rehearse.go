package growth

import (
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

// RehearseOptions are how a rehearsal treats a running guest.
type RehearseOptions struct {
	// Quiesce freezes its file systems for the moment the view is taken: "yes",
	// "no", or "auto", if its agent can.
	Quiesce string
	// MaxScratch is how much of what the guest overwrites is kept before the
	// rehearsal is given up; 0 is half of what is free.
	MaxScratch size.Bytes
	// Guard starts a process that thaws the guest should this one die. end is told
	// whether there is nothing left for it to do.
	Guard func(uri, uuid string) (end func(thawed bool), err error)
}

// Rehearsal is what came of one.
type Rehearsal struct {
	// Plan has the time that each step of the edit took.
	Plan *plan.Plan
	// Viewed says that it was on a view of a running guest's disk, Frozen for how
	// long its file systems stood still for that.
	Viewed bool
	Frozen time.Duration
	// Scratch is what the guest overwrote meanwhile, on the host's disk.
	Scratch size.Bytes
	// LeftOut are the devices whose content could not be grown in it.
	LeftOut []string
	Took    time.Duration
}

// view is a view of the guest's disk, and its traces on this host.
type view struct {
	domain.DiskSnapshot
	// Dir is the directory that was made for its socket; "" if the socket is in the
	// domain's own.
	Dir string `json:"dir,omitempty"`
	// Freezing says that the guest's file systems may be frozen.
	Freezing bool `json:"freezing,omitempty"`
}

// liveDomain is what a rehearsal needs of a running guest's domain.
type liveDomain interface {
	State(context.Context) (domain.State, error)
	// PlaceSocket names a file that the domain's QEMU may make.
	PlaceSocket(name string) (string, error)
	// BeginSnapshot exports a disk as it is at this moment, until EndSnapshot, which may
	// be called when there is none.
	BeginSnapshot(context.Context, domain.DiskSnapshot) error
	EndSnapshot(context.Context, domain.DiskSnapshot) error
	// Freeze has the guest's agent stop writes to file systems, until Thaw.
	Freeze(context.Context) error
	Thaw(context.Context) error
}

// Rehearse carries the whole edit out on a throw-away overlay, for a running guest
// on one of a view of its disk, and leaves nothing behind.
func Rehearse(ctx context.Context, d *disk.Disk, r plan.Request, o Options, q RehearseOptions) (*Rehearsal, error) {
	begun := time.Now()
	newSize, err := r.NewSize(d.Size)
	if err != nil {
		return nil, err
	}
	if err := d.CheckSize(ctx, newSize); err != nil {
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
	spec, err := growthSpec(ctx, KindRehearsal, d, r, newSize, o, func(g *growth) job.Work { return &rehearsal{g, q, out} })
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

// Actions both take away what the rehearsal has left.
func (r *rehearsal) Actions(journal.Record) []job.Action {
	return []job.Action{job.Rollback, job.Resume}
}

// WhyNot leaves it to the job.
func (r *rehearsal) WhyNot(job.Action, journal.Record) string { return "" }

// Describe says what became of the rehearsal.
func (r *rehearsal) Describe(_ journal.Record, active bool) string {
	if active {
		return "It is a rehearsal, and runs: the image is only read."
	}
	return "It was a rehearsal, and was cut off. The image was only read; rollback takes away what it has left."
}

// Report has nothing to add: the rehearsal's own outcome is another one.
func (r *rehearsal) Report(*job.Outcome) {}

// Run rehearses. All that it has made is taken away in the end, and whatever becomes of
// a rehearsal that was cut off.
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

// Disconnect lets the domain go. Its storage pool has nothing to learn.
func (r *rehearsal) Disconnect() error { return r.Release() }

// Failed knows that the image was only read.
func (r *rehearsal) Failed(f *job.Failure, _ journal.Record) {
	f.Begun, f.Trivial = false, f.Restored
	if f.Restored {
		return
	}
	left := errors.New("the rehearsal has left something behind")
	if f.Undo == nil {
		f.Err, f.Undo = left, f.Err
	} else {
		f.Err = errors.Join(f.Err, left)
	}
}

// rehearse boots the appliance, and edits.
func (g *growth) rehearse(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	var s editSession
	var err error
	if g.Guest() != nil && g.Guest().Running {
		out.Viewed = true
		if s, err = g.prewarm(ctx); err == nil {
			err = g.takeView(ctx, q, out)
		}
		if err == nil {
			g.overlay.Image, g.overlay.Format = g.data.View.URI(), "raw"
			err = g.overlay.CreateShared(ctx, g.data.NewSize)
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
	ctx, stop := image.WatchSpace(ctx, filepath.Dir(g.overlay.Path))
	defer stop()
	if out.Viewed {
		var watched context.CancelFunc
		if ctx, watched, err = g.watchScratch(ctx, q.MaxScratch, out); err != nil {
			return err
		}
		defer watched()
	}
	return g.editOnce(ctx, s, out)
}

// editOnce plans, and does everything between the overlay's making and its commit.
func (g *growth) editOnce(ctx context.Context, s editSession, out *Rehearsal) error {
	inUse := map[string]bool{}
	a := g.attempt(s)
	a.look = func(ctx context.Context) (*plan.Layout, error) {
		layout, err := g.lookAtOverlay(ctx, s, s.Read)
		if err == nil && out.Viewed {
			inUse = usedByWindows(layout)
		}
		return layout, err
	}
	a.steps = func(p *plan.Plan) []plan.Step { return out.possible(p, inUse) }
	var err error
	out.Plan, err = a.run(ctx)
	return err
}

// possible are the steps of the edit, without those on an NTFS that is in use.
func (r *Rehearsal) possible(p *plan.Plan, inUse map[string]bool) []plan.Step {
	var steps []plan.Step
	for _, s := range editSteps(p) {
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

// usedByWindows takes the volumes that a running Windows has mounted, which look
// unclean at any moment, for sound: they cannot be grown in a rehearsal, and are
// checked after the shutdown.
func usedByWindows(l *plan.Layout) map[string]bool {
	used := map[string]bool{}
	for i := range l.Devices {
		content := &l.Devices[i].Content
		if p := content.Problem; p != nil && p.Way == plan.WayUnmount {
			content.Problem = nil // nobody updates the snapshot, so e2fsck takes it for unmounted
		} else if p != nil && p.Reason == plan.NTFSDirty {
			content.Problem = nil
			used[l.Devices[i].Name] = true
		}
	}
	return used
}

// takeView freezes the guest's file systems if that is wanted, takes the view, and
// thaws them.
func (g *growth) takeView(ctx context.Context, q RehearseOptions, out *Rehearsal) error {
	if err := g.placeView(); err != nil {
		return err
	}
	if err := g.save(); err != nil {
		return err
	}
	// Neither call is left alone: what it does after it was given up would stay.
	whole := context.WithoutCancel(ctx)
	begun := time.Now()
	frozen, thaw, err := g.freeze(whole, q)
	if err != nil {
		return err
	}
	if err = g.Fault(ctx, "view/before"); err == nil {
		err = g.live.BeginSnapshot(whole, g.data.View.DiskSnapshot)
	}
	if frozen {
		thawed := thaw()
		out.Frozen = time.Since(begun)
		if thawed != nil {
			return errors.Join(err, fmt.Errorf("the guest's file systems do not go on: %w", thawed))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return plan.Refuse(plan.NoRehearsal, g.Guest().Name, "there is no view of %s of %s to rehearse on: %v", g.Guest().Disk, g.Guest().Name, err)
	}
	return nil
}

// placeView names the snapshot's files: the scratch file beside the overlay, the socket
// in the directory that libvirt lets the domain's QEMU write to. The fallback for both
// is the directory for temporary files, where a confined QEMU may not write.
func (g *growth) placeView() error {
	v := &view{}
	v.Target, v.Scratch = g.Guest().Disk, g.data.Overlay+".scratch"
	var err error
	if v.Socket, err = g.live.PlaceSocket("virt-grow-" + g.ID() + ".sock"); err != nil {
		if v.Dir, err = g.temporaryForQEMU(); err != nil {
			return err
		}
		v.Socket = filepath.Join(v.Dir, "view.sock")
	}
	if filepath.Dir(g.data.Overlay) == g.Dir() { // QEMU cannot get into the job's directory
		v.Scratch = strings.TrimSuffix(v.Socket, ".sock") + ".scratch"
	}
	g.data.View = v
	return nil
}

// temporaryForQEMU makes a directory that belongs to the user QEMU runs as: libvirt has
// given the image to that user.
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

// freeze freezes the guest's file systems, if that is wanted and can be done; thaw
// is to be called then, whatever happens.
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
	// It may be frozen all the same, or in part.
	if thawed := thaw(); thawed != nil {
		return false, nil, errors.Join(err, thawed)
	}
	if q.Quiesce == "yes" {
		return false, nil, plan.Refuse(plan.NoRehearsal, guest.Name, "--quiesce yes: the agent does not freeze the file systems of %s: %v", guest.Name, err)
	}
	g.Note("the file systems are not frozen: %v", err)
	return false, nil, nil
}

// freezing writes down whether the guest's file systems may be frozen.
func (g *growth) freezing(may bool) error {
	g.data.View.Freezing = may
	return g.save()
}

// watchScratch gives the rehearsal up when the guest overwrites too much: a guest
// whose old bytes find no room would be disturbed.
func (g *growth) watchScratch(ctx context.Context, limit size.Bytes, out *Rehearsal) (context.Context, context.CancelFunc, error) {
	path := g.data.View.Scratch
	if limit == 0 {
		free, err := block.Free(filepath.Dir(path))
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
			used, _ := block.Allocated(path) // 0 before libvirt has made it
			out.Scratch = max(out.Scratch, used)
			if used > limit {
				cancel(plan.Refuse(plan.NoRehearsal, g.Guest().Name, "%s overwrote %s of its disk during the rehearsal, more than the %s that may be kept of it (--max-scratch)", g.Guest().Name, used, limit))
			}
			_ = domain.Sleep(ctx, 100*time.Millisecond)
		}
	}()
	return ctx, func() { cancel(nil); <-ended }, nil
}

// end takes everything away that a rehearsal has left. It can be called again.
func (r *rehearsal) end(ctx context.Context) error {
	return errors.Join(r.endView(ctx), r.overlay.Drop())
}

func (g *growth) endView(ctx context.Context) error {
	v := g.data.View
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
	for _, file := range []string{v.Scratch, v.Socket} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(frozen, err)
		}
	}
	if v.Dir == "" {
		return frozen
	}
	return errors.Join(frozen, os.RemoveAll(v.Dir))
}
