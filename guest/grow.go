package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Grow grows the image as a new job: look, plan, ask, edit the overlay,
// verify, commit. The appliance boots once, on the closed gate, while the
// overlay is made.
func Grow(ctx context.Context, img *Image, r plan.Request, o Options) (*Outcome, error) {
	begun := time.Now()
	newSize, err := r.NewSize(img.Size)
	if err != nil {
		return nil, err
	}
	// Better said now than when the commit fails.
	if err := unix.Access(img.Path, unix.W_OK); err != nil {
		return nil, fmt.Errorf("cannot write to %s: %w", img.Path, err)
	}
	j, err := openJob(img, r, newSize, o)
	if err != nil {
		return nil, err
	}
	out, err := j.finish(ctx, j.grow)
	if out != nil {
		out.Took = time.Since(begun)
	}
	return out, errors.Join(err, j.close())
}

// finish runs what brings the job to its end, and takes everything back when
// it fails.
func (j *job) finish(ctx context.Context, work func(context.Context) error) (*Outcome, error) {
	err := work(ctx)
	record := j.now()
	out := &Outcome{Job: j.held.ID, State: record.State, Plan: j.plan}
	if err == nil {
		out.Changed = record.State == journal.Finished || record.State == journal.Waiting
		if record.State == journal.Cancelled {
			return out, j.forget()
		}
		return out, nil
	}
	return nil, j.fail(ctx, err, record.State)
}

// fail undoes the job after an error. Undoing goes on when the run was
// interrupted: that is the point of it.
func (j *job) fail(ctx context.Context, cause error, at journal.JobState) error {
	var open *undecided
	if errors.As(cause, &open) {
		return open.Refusal // the job stays as it is
	}
	ctx = context.WithoutCancel(ctx)
	failure := &Failure{Err: cause, Job: j.held.ID, Begun: j.begun(string(plan.StepCommit))}
	if j.now().Done[string(plan.StepCommit)] {
		failure.Err = fmt.Errorf("the image is grown, but cleaning up failed: %w", cause)
		return failure
	}
	if failure.Undo = j.back(ctx); failure.Undo != nil {
		return failure
	}
	failure.Restored = true
	if _, refused := plan.IsRefusal(cause); at == journal.Opening || refused && !failure.Begun {
		// Nothing was agreed to, or nothing was done: no job to speak of.
		return errors.Join(cause, j.forget())
	}
	return failure
}

// back undoes every step that was begun, last first, and checks that the image
// is as it was.
func (j *job) back(ctx context.Context) error {
	wrote := j.begun(string(plan.StepCommit))
	if j.run.Plan == nil {
		j.run.Plan = &plan.Plan{Steps: []plan.Step{j.overlayStep()}}
	}
	if err := j.run.Back(ctx, j.begun); err != nil {
		return err
	}
	if !wrote {
		// A revert has compared every byte it put back; without one, the
		// file itself must not have been touched.
		if err := j.untouched(); err != nil {
			j.note("%v", err)
		}
	}
	if err := j.enter(journal.RolledBack); err != nil {
		j.note("everything is undone, but %v: roll back again when there is room", err)
	}
	return nil
}

// untouched refuses when somebody wrote to the image since the job began.
func (j *job) untouched() error {
	now, err := StampOf(j.facts.Target.Path)
	if err != nil {
		return err
	}
	if now != j.facts.Stamp {
		return plan.Refuse(plan.ImageChanged, j.held.ID, "somebody else wrote to %s since job %s began (%s, %d bytes; was %s, %d bytes)",
			j.facts.Target.Path, j.held.ID, now.Time.Format(time.RFC3339), now.Bytes, j.facts.Stamp.Time.Format(time.RFC3339), j.facts.Stamp.Bytes)
	}
	return nil
}

// forget deletes a job that has nothing to tell.
func (j *job) forget() error { return os.RemoveAll(j.held.Dir) }

func (j *job) overlayStep() plan.Step {
	return plan.Step{Kind: plan.StepOverlay, From: j.facts.OldSize, To: j.facts.NewSize}
}

// grow does the whole job on a fresh overlay.
func (j *job) grow(ctx context.Context) error {
	s, err := j.prepare(ctx)
	if err != nil {
		return err
	}
	watched, stop := watchSpace(ctx, filepath.Dir(j.overlay.Path))
	done, err := j.edit(watched, s)
	stop()
	if err != nil || !done {
		s.Abandon()
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := j.overlay.Sync(); err != nil {
		return err
	}
	if j.facts.Keep {
		return j.enter(journal.Waiting)
	}
	return j.commit(ctx)
}

// prepare boots the appliance and makes the overlay at the same time.
func (j *job) prepare(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		session *Session
		err     error
	}
	booted := make(chan result, 1)
	options := j.options.Session
	options.Started = j.started
	go func() {
		s, err := StartSession(ctx, j.held.Dir, j.facts.NewSize, j.facts.Target.SectorSize, options)
		booted <- result{s, err}
	}()
	j.note("starting the appliance")
	err := j.run.Do(ctx, j.overlayStep())
	if err != nil {
		cancel(err)
	}
	r := <-booted
	if err != nil {
		if r.session != nil {
			r.session.Abandon()
		}
		return nil, err
	}
	return r.session, r.err
}

// edit plans and does everything inside the overlay. It is not done when there
// is nothing to do.
func (j *job) edit(ctx context.Context, s *Session) (done bool, err error) {
	if err := s.Attach(ctx, j.overlay.Path); err != nil {
		return false, err
	}
	j.note("looking at the disk")
	if err := j.agree(ctx, s); err != nil {
		return false, err
	}
	if !j.plan.Changes() {
		if err := j.overlay.Drop(); err != nil {
			return false, err
		}
		return false, j.enter(journal.Cancelled)
	}
	if err := j.enter(journal.Editing); err != nil {
		return false, err
	}
	j.run.Plan, j.run.Editor = j.plan, s.app
	if err := j.run.Forward(ctx, inside(j.plan), nil); err != nil {
		return false, err
	}
	return true, s.Detach(ctx)
}

// inside are the steps between the overlay's making and its commit.
func inside(p *plan.Plan) []plan.Step {
	from := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepOverlay }) + 1
	to := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepUndo })
	return p.Steps[from:to]
}

// agree makes the plan from what is on the disk now, holds it against the one
// that was reviewed, and asks.
func (j *job) agree(ctx context.Context, s *Session) error {
	layout, err := s.read(ctx, j.facts.OldSize, needs(j.facts.Request))
	if err != nil {
		return err
	}
	p, err := plan.Build(layout, j.facts.Target, j.facts.Request)
	if err != nil {
		return err
	}
	p.Warnings = append(p.Warnings, j.warned...)
	j.plan = p
	if saved := j.options.Saved; saved != nil {
		if err := same(saved, p); err != nil {
			return err
		}
	}
	if j.options.Planned != nil {
		j.options.Planned(p)
	}
	if !p.Changes() {
		return nil
	}
	if err := roomFor(p, filepath.Dir(j.overlay.Path)); err != nil {
		return err
	}
	if j.options.Confirm != nil {
		if err := j.options.Confirm(ctx, p); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		return err
	}
	if err := j.held.SavePlan(text.Bytes()); err != nil {
		return err
	}
	return j.log(journal.Entry{Kind: journal.Planned})
}

// same refuses a saved plan that is not the one for this disk as it is now.
func same(saved, now *plan.Plan) error {
	path := now.Target.Path
	stale := func(format string, args ...any) error { return plan.Refuse(plan.StalePlan, path, format, args...) }
	switch {
	case !reflect.DeepEqual(saved.Target, now.Target):
		return stale("the plan is for another image: %s (%s)", saved.Target.Path, saved.Target.Format)
	case saved.OldSize != now.OldSize:
		return stale("%s has %d bytes, and had %d when the plan was made", path, int64(now.OldSize), int64(saved.OldSize))
	case saved.Fingerprint != now.Fingerprint:
		return stale("what is on %s is not what the plan was made for", path)
	case !reflect.DeepEqual(saved.Steps, now.Steps):
		return stale("the steps of the plan are not those that this version would take on %s", path)
	}
	return nil
}

// commit writes the overlay into the image: from here on there is no going
// back but by the saved bytes.
func (j *job) commit(ctx context.Context) error {
	if !j.begun(string(plan.StepCommit)) {
		if err := j.untouched(); err != nil {
			return err
		}
	}
	if err := j.enter(journal.Committing); err != nil {
		return err
	}
	undo := slices.IndexFunc(j.plan.Steps, func(s plan.Step) bool { return s.Kind == plan.StepUndo })
	clean := slices.IndexFunc(j.plan.Steps, func(s plan.Step) bool { return s.Kind == plan.StepClean })
	if err := j.run.Forward(ctx, j.plan.Steps[undo:clean], j.now().Done); err != nil {
		return err
	}
	// The disk is grown: an interruption is too late from here on.
	ctx = context.WithoutCancel(ctx)
	if err := j.run.Forward(ctx, j.plan.Steps[clean:], j.now().Done); err != nil {
		return err
	}
	return j.enter(journal.Finished)
}
