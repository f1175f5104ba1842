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
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Grow grows the image as a new job: look, plan, ask, edit the overlay,
// verify, commit. The appliance boots once, on the closed gate, while the
// overlay is made.
func Grow(ctx context.Context, d *disk.Disk, r plan.Request, o Options) (*Outcome, error) {
	begun := time.Now()
	newSize, err := r.NewSize(d.Size)
	if err != nil {
		return nil, err
	}
	if err := d.CheckGrowth(ctx, newSize, o.Scratch); err != nil {
		return nil, err
	}
	if err := d.CheckOthersNotHibernated(ctx, o.Session); err != nil {
		return nil, err
	}
	j, err := openJob(ctx, d, r, newSize, o)
	if err != nil {
		return nil, err
	}
	work := j.grow
	if d.Domain != nil {
		work = j.growDomain
	}
	out, err := j.finish(ctx, work)
	if out != nil {
		out.Took = time.Since(begun)
	}
	return out, errors.Join(err, j.close())
}

// finish runs what brings the job to its end, and takes everything back when
// it fails.
func (j *job) finish(ctx context.Context, work func(context.Context) error) (*Outcome, error) {
	err := work(ctx)
	_ = j.options.Rates.Save() // an estimate is no reason to fail
	record := j.now()
	out := &Outcome{Job: j.held.ID, State: record.State, Plan: j.plan}
	if err == nil {
		out.Changed = record.State == journal.Finished || record.State == journal.Waiting
		if out.Changed {
			out.ManualSteps = j.toDo()
			j.notExtended()
		}
		switch record.State {
		case journal.Cancelled:
			return out, j.forget()
		case journal.Finished:
			j.cacheGrown()
			j.afterwards("post", j.facts.Hooks.Post)
		}
		return out, nil
	}
	return nil, j.fail(ctx, err, record.State)
}

// afterwards runs a command when all is over: its failure changes nothing.
func (j *job) afterwards(phase, command string) {
	if err := j.hook(context.Background(), phase, command); err != nil {
		j.note("%v", err)
	}
}

// fail undoes the job after an error. Undoing goes on when the run was
// interrupted: that is the point of it.
func (j *job) fail(ctx context.Context, cause error, at journal.JobState) error {
	var open *undecided
	if errors.As(cause, &open) {
		return open.Refusal // the job stays as it is
	}
	ctx = context.WithoutCancel(ctx)
	failure := &Failure{Err: cause, Job: j.held.ID,
		Begun: j.begun(string(plan.StepCommit)), Stopped: j.begun(string(plan.StepShutdown)) || j.begun(string(plan.StepStart))}
	switch {
	case j.now().Done[string(plan.StepCommit)] && !j.mayRevert():
		failure.Begun, failure.Forward = true, true
		failure.Err = fmt.Errorf("the image is grown, but what comes after it failed: %w", cause)
		return failure
	case j.pivoting():
		failure.Begun, failure.Forward = true, true
		failure.Err = fmt.Errorf("the guest passed its check, but the live commit did not end: %w", cause)
		return failure
	}
	defer j.afterwards("on-failure", j.onFailure(at))
	asked, wasOff := failure.Stopped, j.wasOff()
	if failure.Undo = j.back(ctx); failure.Undo != nil {
		return failure
	}
	failure.Restored = true
	// A guest that was asked to shut down, if at all, and did not, was away for
	// no moment.
	failure.Stopped = wasOff || j.restarted
	if _, refused := plan.IsRefusal(cause); at == journal.Opening || refused && !failure.Begun && !asked {
		// Nothing was agreed to, or nothing was done: no job to speak of.
		return errors.Join(cause, j.forget())
	}
	return failure
}

// wasOff says that the guest has been off for the job. While it is being shut
// down nobody knows yet: see restarted.
func (j *job) wasOff() bool {
	return j.now().Done[string(plan.StepShutdown)] || j.begun(string(plan.StepStart))
}

// onFailure is the command for a job that got beyond its pre command.
func (j *job) onFailure(at journal.JobState) string {
	if at == journal.Opening {
		return ""
	}
	return j.facts.Hooks.OnFailure
}

// pivoting says that a live commit has begun: the image has some of the
// overlay by now, and only the two together are whole.
func (j *job) pivoting() bool {
	r := j.now()
	pivot := string(plan.StepPivot) + ":"
	for id := range r.Done {
		if strings.HasPrefix(id, pivot) {
			return true
		}
	}
	return strings.HasPrefix(r.Running, pivot)
}

// mayRevert says that a commit that is done can be taken back: it is the
// guest's start that failed.
func (j *job) mayRevert() bool {
	return j.now().Running == string(plan.StepStart) && image.Exists(j.overlay.Undo)
}

// back undoes every step that was begun, last first, and checks that the image
// is as it was.
func (j *job) back(ctx context.Context) error {
	wrote := j.begun(string(plan.StepCommit))
	if j.steps == nil {
		j.steps = []plan.Step{j.overlayStep()}
	}
	if err := j.run.Back(ctx, j.steps, j.begun); err != nil {
		return err
	}
	if !wrote && j.guest() == nil {
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
	now, err := image.StampOf(j.facts.Target.Path)
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
	watched, stop := image.WatchSpace(ctx, filepath.Dir(j.overlay.Path))
	done, err := j.edit(watched, s)
	stop()
	if err != nil || !done {
		_ = s.Close()
		return err
	}
	if err := j.seal(s); err != nil {
		return err
	}
	if j.facts.Keep {
		return j.enter(journal.Waiting)
	}
	return j.conclude(ctx, false)
}

// seal ends the session after the edit, and puts the overlay on the disk.
func (j *job) seal(s *session.Session) error {
	if err := s.Close(); err != nil {
		return err
	}
	return j.overlay.Sync()
}

// prepare boots the appliance and makes the overlay at the same time.
func (j *job) prepare(ctx context.Context) (*session.Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		session *session.Session
		err     error
	}
	booted := make(chan result, 1)
	go func() {
		s, err := j.startSession(ctx)
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
			_ = r.session.Close()
		}
		return nil, err
	}
	return r.session, r.err
}

// startSession boots an appliance on an empty disk of the new size.
func (j *job) startSession(ctx context.Context) (*session.Session, error) {
	options := j.options.Session
	options.Started = j.started
	target := j.facts.Target
	drive := session.Drive{Image: target.Path, Size: j.facts.NewSize, Sector: target.SectorSize}
	return session.Start(ctx, j.held.Dir, []session.Drive{drive}, options, nil)
}

// edit plans and does everything inside the overlay. It is not done when there
// is nothing to do.
func (j *job) edit(ctx context.Context, s *session.Session) (done bool, err error) {
	if err := s.Attach(ctx, j.overlay.Path); err != nil {
		return false, err
	}
	j.note("looking at the disk")
	layout, err := s.ReadAtRest(ctx, j.facts.OldSize, session.For(j.facts.Request))
	if err != nil {
		return false, err
	}
	if err := j.agree(ctx, layout); err != nil {
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
	j.carryOut(s.Editor(j.overlay))
	if err := j.run.Forward(ctx, editSteps(j.plan), nil); err != nil {
		return false, err
	}
	return true, s.Detach(ctx)
}

// carryOut takes the plan for what is done, and undone, from here on.
func (j *job) carryOut(e apply.Editor) {
	j.growth.Plan, j.growth.Editor, j.steps = j.plan, e, j.plan.Steps
}

// editSteps are the steps between the making of the overlay and its commit.
func editSteps(p *plan.Plan) []plan.Step {
	from := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepOverlay }) + 1
	return p.Steps[from:concluding(p)]
}

// concluding is where the steps after the edit begin.
func concluding(p *plan.Plan) int {
	return slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepUndo || s.Kind == plan.StepSwitch })
}

// agree makes the plan from what is on the disk now, holds it against the one
// that was reviewed, and asks.
func (j *job) agree(ctx context.Context, layout *plan.Layout) error {
	p, err := plan.Build(layout, j.facts.Target, j.facts.Request)
	if err != nil {
		return err
	}
	p.Warnings = append(p.Warnings, j.warned...)
	j.options.Rates.Tune(p)
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
	if err := checkRoom(p, filepath.Dir(j.overlay.Path)); err != nil {
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
	case !reflect.DeepEqual(bare(saved.Steps), bare(now.Steps)):
		return stale("the steps of the plan are not those that this version would take on %s", path)
	}
	return nil
}

// bare are the steps without what is for people, or an estimate.
func bare(steps []plan.Step) []plan.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Summary, steps[i].Seconds = "", 0
	}
	return steps
}

// conclude does what comes after the edit: the commit, or the trial and the
// pivot. Where a person is to decide it waits, unless they have.
func (j *job) conclude(ctx context.Context, accepted bool) error {
	for _, s := range j.plan.Steps[concluding(j.plan):] {
		if j.now().Done[s.ID()] {
			continue
		}
		if s.Kind == plan.StepPivot && j.guest().Manual && !accepted {
			return j.enter(journal.Waiting)
		}
		if j.now().Done[string(plan.StepCommit)] || s.Kind == plan.StepPivot {
			// The disk is grown, or the guest has proved itself: an
			// interruption is too late from here on.
			ctx = context.WithoutCancel(ctx)
		}
		if err := j.phase(s); err != nil {
			return err
		}
		err := j.run.Do(ctx, s)
		if errors.Is(err, domain.ErrNotBegun) {
			// The image is untouched: there is a way back after all.
			_ = j.log(journal.Entry{Kind: journal.Undone, Step: s.ID()})
			if j.guest().Manual && !j.pivoting() {
				return j.waitOn(err)
			}
		}
		if err != nil {
			return err
		}
	}
	return j.enter(journal.Finished)
}

// waitOn leaves a job that somebody accepted as it was before. Taking it back
// would lose what the guest wrote in its trial: nobody asked for that.
func (j *job) waitOn(cause error) error {
	if err := j.enter(journal.Waiting); err != nil {
		return err
	}
	return &undecided{plan.Refuse(plan.JobState, j.held.ID, "job %s waits as before, its guest runs on the overlay: %v", j.held.ID, cause)}
}

// phase writes down what the job is at before a step that changes it.
func (j *job) phase(s plan.Step) error {
	switch s.Kind {
	case plan.StepSwitch:
		return j.enter(journal.Trial)
	case plan.StepPivot:
		return j.enter(journal.Committing)
	case plan.StepUndo:
		if err := j.untouched(); err != nil {
			return err
		}
		return j.enter(journal.Committing)
	}
	return nil
}
