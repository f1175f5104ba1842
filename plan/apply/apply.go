// Package apply runs the steps of a plan, with a journal entry on disk before and after
// each, and undoes them in reverse order when a step fails.
//
// Steps are data. Each kind of job brings a table with do, verify and undo for each kind of
// step. Every do may be repeated after a crash. Overlays has the steps that all changes on
// overlays have in common, Growth those of a job that grows a disk. Its steps on the
// overlay need no undo, because the overlay is deleted.
package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Image is the image on the host with its overlay and undo file. Every method may be
// called again after a crash in it.
type Image interface {
	// CreateOverlay creates the overlay with a virtual size, and replaces one that an
	// earlier run left. It is called before any Editor method.
	CreateOverlay(ctx context.Context, to size.Bytes) error
	// DropOverlay deletes the overlay, if it exists.
	DropOverlay(ctx context.Context) error
	// SaveUndo saves the image's bytes that Commit will overwrite. It is called after the
	// last Editor method.
	SaveUndo(ctx context.Context) error
	// DropUndo deletes the saved bytes, if they exist.
	DropUndo(ctx context.Context) error
	// Commit writes the overlay into the image.
	Commit(ctx context.Context) error
	// Revert restores the saved bytes and the image's old size.
	Revert(ctx context.Context) error
	// Size returns the image's present virtual size.
	Size(ctx context.Context) (size.Bytes, error)
}

// Editor changes the content of the overlay. Devices have their names in the plan's
// layout. Methods are called in the order of the plan's steps, at most once for each.
type Editor interface {
	// Check looks for damage in all of a file system. It repairs only what an unclean
	// shutdown leaves (a journal to replay).
	Check(ctx context.Context, device, content string) error
	// Compare refuses a file system if its superblock is damaged or differs from the
	// planned content.
	Compare(ctx context.Context, device string, planned plan.Content) error
	// Move copies a partition to its new place, which may overlap the old one, reads it
	// back, and updates the offset in the volumes' boot sectors.
	Move(ctx context.Context, s plan.Step) error
	// WriteTable writes the table of a disk for its new size.
	WriteTable(ctx context.Context, disk string, to size.Bytes, ends []plan.End) error
	GrowCrypt(ctx context.Context, device string) error
	GrowPV(ctx context.Context, device string) error
	GrowLV(ctx context.Context, device string, to size.Bytes) error
	// GrowFS grows an unmounted file system to its device's end, with a tool. GrowMounted
	// mounts it, and grows it to a size, with the kernel.
	GrowFS(ctx context.Context, device, content string) error
	GrowMounted(ctx context.Context, device, content string, to size.Bytes) error
	// DeviceSize and ContentSize read the present sizes from the appliance.
	DeviceSize(ctx context.Context, device string) (size.Bytes, error)
	ContentSize(ctx context.Context, device, content string) (size.Bytes, error)
	// VerifyTable compares the tables on the overlays with the expected ones,
	// byte by byte.
	VerifyTable(ctx context.Context) error
	// VerifyFS checks the file system again and mounts it read-only; MountReadOnly only
	// mounts it, and unmounts it again.
	VerifyFS(ctx context.Context, device, content string) error
	MountReadOnly(ctx context.Context, device string) error
	// WriteFiles replaces the content of files in the guest, and reads them back. It refuses
	// a file that is not as it was when the plan was made.
	WriteFiles(ctx context.Context, edits []plan.FileEdit) error
}

// Guest is the domain of the disk. Every method may be called again after a crash in it.
type Guest interface {
	// ShutDown returns when the guest is off; StartAgain undoes it.
	ShutDown(ctx context.Context) error
	StartAgain(ctx context.Context) error
	// Redirect points the domain's disks to overlays, Restore restores the domain's
	// definition.
	Redirect(ctx context.Context) error
	Restore(ctx context.Context) error
	// Start starts the guest; Stop undoes it, without a shutdown if nothing that the guest
	// has written is kept.
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	// Extend makes the guest grow a volume.
	Extend(ctx context.Context, s plan.Step) error
	// CheckHealth returns when the guest has passed its health check.
	CheckHealth(ctx context.Context) error
	// Pivot commits a disk's overlay and moves the guest to the image. It cannot be
	// undone.
	Pivot(ctx context.Context, target string) error
}

// Log receives the entries; journal.Log implements it.
type Log interface {
	Append(journal.Entry) error
}

// Phase is a moment in the course of a step.
type Phase string

// The phases of events.
const (
	Started  Phase = "started"
	Progress Phase = "progress" // of a step that reports its progress
	Finished Phase = "finished"
	Failed   Phase = "failed"
	Undoing  Phase = "undoing"
	Undone   Phase = "undone"
)

// Event reports to a view what happens.
type Event struct {
	Phase Phase
	Step  plan.Step
	Took  time.Duration
	Err   error
	// Percent is the progress, in phase Progress.
	Percent float64
}

// Work does, verifies or undoes one step. It may be called again after a crash in it.
type Work func(context.Context, plan.Step) error

// Handler carries out one kind of step. Verify may be nil if a Do that succeeds needs no
// verification, Undo if there is nothing to undo.
type Handler struct{ Do, Verify, Undo Work }

// Run runs the steps of one job.
type Run struct {
	// Handlers has an entry for each kind of step that the job has.
	Handlers map[plan.StepKind]Handler
	Log      Log
	Now      func() time.Time
	// Emit may be nil.
	Emit func(Event)
	// Fault is called before and after each do, with the name of that point. Tests inject
	// faults with it; nil otherwise.
	Fault func(ctx context.Context, point string) error
}

// Do runs one step: journal, do, verify, journal.
func (r *Run) Do(ctx context.Context, s plan.Step) error {
	h, ok := r.Handlers[s.Kind]
	if !ok {
		return fmt.Errorf("step %s: this version of virt-grow does not know this kind of step", s.ID())
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := r.note(journal.Begin, s, nil); err != nil {
		return err
	}
	begun := r.Now()
	r.emit(Event{Phase: Started, Step: s})
	err := r.attempt(ctx, h, s)
	if err == nil {
		err = r.note(journal.Done, s, nil)
	}
	took := r.Now().Sub(begun)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		r.emit(Event{Phase: Failed, Step: s, Took: took, Err: err})
		// The journal itself may have failed; the step's error matters more.
		_ = r.note(journal.Failed, s, err)
		return fmt.Errorf("%s: %w", s.ID(), err)
	}
	r.emit(Event{Phase: Finished, Step: s, Took: took})
	return nil
}

func (r *Run) attempt(ctx context.Context, h Handler, s plan.Step) error {
	if err := r.fault(ctx, s, "before"); err != nil {
		return err
	}
	if err := h.Do(ctx, s); err != nil {
		return err
	}
	if h.Verify != nil {
		if err := h.Verify(ctx, s); err != nil {
			return err
		}
	}
	return r.fault(ctx, s, "after")
}

func (r *Run) fault(ctx context.Context, s plan.Step, when string) error {
	if r.Fault == nil {
		return nil
	}
	return r.Fault(ctx, s.ID()+"/"+when)
}

// Forward runs the steps in order, except those that are done.
func (r *Run) Forward(ctx context.Context, steps []plan.Step, done map[string]bool) error {
	for _, s := range steps {
		if done[s.ID()] {
			continue
		}
		if err := r.Do(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// Back undoes the steps that were begun, in reverse order. It continues after an error only
// if earlier steps can still be undone: never past a commit that could not be undone,
// because the overlay is then the only complete copy.
func (r *Run) Back(ctx context.Context, steps []plan.Step, begun func(id string) bool) error {
	for _, s := range slices.Backward(steps) {
		h := r.Handlers[s.Kind]
		if h.Undo == nil || !begun(s.ID()) {
			continue
		}
		if err := r.undo(ctx, s, h.Undo); err != nil {
			return fmt.Errorf("cannot undo %s: %w", s.ID(), err)
		}
	}
	return nil
}

// undo undoes one step, even if the journal cannot be written: a full disk may be the
// reason for the undo, and it can be repeated after a crash.
func (r *Run) undo(ctx context.Context, s plan.Step, undo Work) error {
	_ = r.note(journal.Undoing, s, nil)
	begun := r.Now()
	r.emit(Event{Phase: Undoing, Step: s})
	if err := undo(ctx, s); err != nil {
		return err
	}
	r.emit(Event{Phase: Undone, Step: s, Took: r.Now().Sub(begun)})
	_ = r.note(journal.Undone, s, nil)
	return nil
}

func (r *Run) note(kind journal.Kind, s plan.Step, err error) error {
	e := journal.Entry{Time: r.Now(), Kind: kind, Step: s.ID()}
	if err != nil {
		e.Text = err.Error()
	}
	return r.Log.Append(e)
}

func (r *Run) emit(e Event) {
	if r.Emit != nil {
		r.Emit(e)
	}
}
