package growth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
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
	use := snapshotUse{q.Quiesce, q.MaxScratch, q.Guard, plan.NoRehearsal}
	var s editSession
	var err error
	if g.Guest() != nil && g.Guest().Running {
		out.FromSnapshot = true
		if s, err = g.prewarm(ctx); err == nil {
			out.Frozen, err = g.takeSnapshot(ctx, use)
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
		var watched func() size.Bytes
		if ctx, watched, err = g.watchScratch(ctx, use); err != nil {
			return err
		}
		defer func() { out.Scratch = watched() }()
	}
	return g.editOnce(ctx, s, out)
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

// end removes everything that a rehearsal has left. It can be called again.
func (r *rehearsal) end(ctx context.Context) error {
	return errors.Join(r.endSnapshot(ctx), r.dropOverlays())
}
