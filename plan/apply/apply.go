// Package apply runs a plan, step by step, with a journal entry on disk before
// and after each, and runs it backwards when something fails.
//
// Steps are data; what a kind of step does is looked up in a table of do,
// verify and undo, which each kind of job brings. Every do may be run again after a
// crash. Overlays is the table of what every change on overlays has in common, Growth
// that of a job that grows a disk: its steps inside the overlay need no undo, because
// the overlay is dropped whole.
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

// Image is the image on the host and what lies beside it. Every method may be
// called again after a crash in the middle of it.
type Image interface {
	// CreateOverlay makes the overlay of that virtual size, replacing a
	// left-over one. Called before any Editor method.
	CreateOverlay(ctx context.Context, to size.Bytes) error
	// DropOverlay deletes it, if it is there.
	DropOverlay(ctx context.Context) error
	// SaveUndo keeps the image's bytes that Commit will overwrite. Called
	// after the last Editor method.
	SaveUndo(ctx context.Context) error
	// DropUndo deletes them, if they are there.
	DropUndo(ctx context.Context) error
	// Commit writes the overlay into the image.
	Commit(ctx context.Context) error
	// Revert writes the saved bytes back and gives the image its old size.
	Revert(ctx context.Context) error
	// Size is the image's virtual size as the disk has it now.
	Size(ctx context.Context) (size.Bytes, error)
}

// Editor changes what is in the overlay. Devices are named as in the plan's
// layout. Methods are called in the order of the plan's steps, at most once.
type Editor interface {
	// Check looks for damage in all of a file system, and repairs what an unclean
	// shutdown leaves (a journal to replay) and nothing else.
	Check(ctx context.Context, device, content string) error
	// Compare refuses a file system whose superblock is damaged, or is not that of the
	// content that was planned for.
	Compare(ctx context.Context, device string, planned plan.Content) error
	// Move copies a partition to its new place, which may overlap the old
	// one, reads it back, and has the volumes' boot sectors name the new place.
	Move(ctx context.Context, s plan.Step) error
	// WriteTable writes the table for a disk of that size.
	WriteTable(ctx context.Context, disk size.Bytes, ends []plan.End) error
	GrowCrypt(ctx context.Context, device string) error
	GrowPV(ctx context.Context, device string) error
	GrowLV(ctx context.Context, device string, to size.Bytes) error
	// GrowFS has a tool grow an unmounted file system to its device's end, GrowMounted
	// the kernel a mounted one to that size.
	GrowFS(ctx context.Context, device, content string) error
	GrowMounted(ctx context.Context, device, content string, to size.Bytes) error
	// DeviceSize and ContentSize are read afresh from the appliance.
	DeviceSize(ctx context.Context, device string) (size.Bytes, error)
	ContentSize(ctx context.Context, device, content string) (size.Bytes, error)
	// VerifyTable compares the table on the overlay with the expected one,
	// byte by byte.
	VerifyTable(ctx context.Context) error
	// VerifyFS checks the file system again and mounts it read-only; MountReadOnly only
	// mounts it, and unmounts it again.
	VerifyFS(ctx context.Context, device, content string) error
	MountReadOnly(ctx context.Context, device string) error
}

// Guest is the domain whose disk it is. Every method may be called again after
// a crash in the middle of it.
type Guest interface {
	// ShutDown returns when the guest is off; StartAgain takes it back.
	ShutDown(ctx context.Context) error
	StartAgain(ctx context.Context) error
	// Redirect points the domain's disks at overlays, Restore gives it its own
	// definition back.
	Redirect(ctx context.Context) error
	Restore(ctx context.Context) error
	// Start starts the guest; Stop takes that back, without asking the guest
	// where nothing it wrote is kept.
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	// Extend has the guest grow a volume itself.
	Extend(ctx context.Context, s plan.Step) error
	// CheckHealth returns when the guest has proved itself.
	CheckHealth(ctx context.Context) error
	// Pivot commits a disk's overlay and moves the guest to the image. There
	// is no way back from it.
	Pivot(ctx context.Context, target string) error
}

// Log is where entries go; journal.Log is one.
type Log interface {
	Append(journal.Entry) error
}

// Phase is a moment in a step's life.
type Phase string

// The phases that events tell of.
const (
	Started  Phase = "started"
	Progress Phase = "progress" // of a step that knows how far it is
	Finished Phase = "finished"
	Failed   Phase = "failed"
	Undoing  Phase = "undoing"
	Undone   Phase = "undone"
)

// Event tells a view what happens.
type Event struct {
	Phase Phase
	Step  plan.Step
	Took  time.Duration
	Err   error
	// Percent is how far it is, in progress.
	Percent float64
}

// Work does, verifies or undoes one step. It may be called again after a crash in the
// middle of it.
type Work func(context.Context, plan.Step) error

// Handler is what one kind of step means. Verify may be nil where Do cannot succeed
// without being right, Undo where there is nothing to take back.
type Handler struct{ Do, Verify, Undo Work }

// Run runs the steps of one job.
type Run struct {
	// Handlers has an entry for each kind of step that the job has.
	Handlers map[plan.StepKind]Handler
	Log      Log
	Now      func() time.Time
	// Emit may be nil.
	Emit func(Event)
	// Fault is called by name before and after each do, for tests that make
	// a step fail there; nil otherwise.
	Fault func(ctx context.Context, point string) error
}

// Do runs one step: journal, do, verify, journal.
func (r *Run) Do(ctx context.Context, s plan.Step) error {
	h, ok := r.Handlers[s.Kind]
	if !ok {
		return fmt.Errorf("step %s: this version does not know how", s.ID())
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
		// The journal may be what failed; the step's own error matters more.
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

// Forward runs the steps in order, leaving out those that are done.
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

// Back undoes, last first, the steps that were begun. It goes on after an
// error only where the step before can still be undone: never past a commit
// that could not be taken back, because the overlay is then all there is.
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

// undo does not depend on the journal: a full disk may be why it is needed,
// and doing it once more after a crash does no harm.
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
