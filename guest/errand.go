package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// errand is what a job does that has steps of its own, not those of a growth on an
// overlay.
type errand struct {
	// handlers are what the kinds of step mean.
	handlers map[plan.StepKind]apply.Handler
	// onlyForward says with errOnlyForward that nothing can be taken back any more;
	// may be nil.
	onlyForward func(context.Context) error
	// apart says that nothing that was there before is touched.
	apart bool
	// result says what came of it, for people; may be nil.
	result func(*Outcome)
}

// openErrands take one up. What it has to know is in Facts.Errand, what it does in
// Facts.Steps: both are the same after a crash.
var openErrands = map[Kind]func(*job) (errand, error){
	DiskAttach: openAttach,
	DiskDetach: openDetach,
	Medium:     openMedium,
}

// errOnlyForward says that what was done cannot be taken back.
var errOnlyForward = errors.New("it cannot be taken back")

// InPlace says whether a job of the kind, as far as it is, cannot be taken back.
func (k Kind) InPlace(r journal.Record) bool {
	begun := func(s plan.StepKind) bool { return r.Done[string(s)] || r.Running == string(s) }
	switch k {
	case DiskAttach, DiskDetach:
		// The way back is taken away, or the image.
		return begun(plan.StepClean) || r.Done[string(plan.StepDelete)]
	}
	return false
}

// openErrand makes a new job for the disks, which are locked. The facts name target,
// steps and kind; what is the rest that it has to know.
func openErrand(facts Facts, locks []string, what any, o Options) (*job, error) {
	data, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	facts.Agreed, facts.Errand, o.kind = true, data, facts.Kind
	return createJob(facts.Target.Path, locks, o, func(*journal.Job) Facts { return facts })
}

// runErrand does what is left of the job's steps, and takes everything back if that
// fails and it can be.
func (j *job) runErrand(ctx context.Context) (*Outcome, error) {
	begun := time.Now()
	err := j.doErrand(ctx)
	if err == nil {
		out := &Outcome{Job: j.held.ID, Changed: true, State: journal.Finished, Took: time.Since(begun)}
		if j.errand.result != nil {
			j.errand.result(out)
		}
		return out, nil
	}
	failure := &Failure{Err: err, Job: j.held.ID, Stepwise: true, Begun: !j.errand.apart}
	switch undone := j.undoErrand(context.WithoutCancel(ctx)); {
	case errors.Is(undone, errOnlyForward):
		failure.Forward = true
	case undone != nil:
		failure.Undo = undone
	case !j.everDone():
		return nil, errors.Join(err, j.forget()) // nothing to tell of
	default:
		failure.Restored = true
	}
	return nil, failure
}

// everDone says whether any step got to its end.
func (j *job) everDone() bool {
	for _, e := range j.held.Log.Entries() {
		if e.Kind == journal.Done {
			return true
		}
	}
	return false
}

func (j *job) doErrand(ctx context.Context) error {
	if err := j.takeErrand(); err != nil {
		return err
	}
	if j.options.Listed != nil {
		j.options.Listed(j.facts.Steps)
	}
	if err := j.enter(journal.Working); err != nil {
		return err
	}
	if err := j.run.Forward(ctx, j.facts.Steps, j.now().Done); err != nil {
		return err
	}
	return j.enter(journal.Finished)
}

// takeErrand gives the run the job's steps and what they mean.
func (j *job) takeErrand() error {
	open, ok := openErrands[j.facts.Kind]
	if !ok {
		return fmt.Errorf("job %s is of a kind that this version does not know: %s", j.held.ID, j.facts.Kind)
	}
	var err error
	j.errand, err = open(j)
	j.steps, j.run.Handlers = j.facts.Steps, j.errand.handlers
	return err
}

// undoErrand undoes every step that was begun, last first.
func (j *job) undoErrand(ctx context.Context) error {
	if err := j.takeErrand(); err != nil {
		return err
	}
	if check := j.errand.onlyForward; check != nil {
		if err := check(ctx); err != nil {
			return err
		}
	}
	if err := j.run.Back(ctx, j.steps, j.begun); err != nil {
		return err
	}
	return j.enter(journal.RolledBack)
}

// resumeErrand goes on with a job that was cut off.
func (j *job) resumeErrand(ctx context.Context) (*Outcome, error) {
	if j.record.State.Ended() {
		return &Outcome{Job: j.held.ID, State: j.record.State}, nil
	}
	return j.runErrand(ctx)
}

// rollbackErrand takes a job back.
func (j *job) rollbackErrand(ctx context.Context) (*Outcome, error) {
	switch {
	case j.record.State == journal.Finished:
		return nil, plan.Refuse(plan.JobState, j.held.ID, "job %s is done", j.held.ID)
	case j.record.State.Ended():
		return &Outcome{Job: j.held.ID, State: j.record.State}, nil
	}
	err := j.undoErrand(context.WithoutCancel(ctx))
	if errors.Is(err, errOnlyForward) {
		return nil, plan.Refuse(plan.JobState, j.held.ID, "job %s cannot be rolled back: %v", j.held.ID, err)
	}
	if err != nil {
		return nil, &Failure{Err: err, Job: j.held.ID, Stepwise: true, Begun: !j.errand.apart}
	}
	return &Outcome{Job: j.held.ID, State: journal.RolledBack, Changed: true}, nil
}

// told reads what the errand has to know.
func (j *job) told(into any) error { return json.Unmarshal(j.facts.Errand, into) }

// tell keeps it.
func (j *job) tell(what any) error {
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	j.facts.Errand = data
	return j.writeFacts()
}

// The job as parts of several kinds see it.

func (j *job) ID() string                      { return j.held.ID }
func (j *job) Dir() string                     { return j.held.Dir }
func (j *job) Note(format string, args ...any) { j.note(format, args...) }
func (j *job) Started(p journal.Proc)          { j.started(p) }
func (j *job) Progress(s plan.Step, percent float64) {
	j.emit(apply.Event{Phase: apply.Progress, Step: s, Percent: percent})
}
func (j *job) PathNextTo(path, ending string) string {
	return filepath.Join(filepath.Dir(path), filepath.Base(path)+".virt-grow-"+j.held.ID+ending)
}

func (j *job) changing() *changing {
	return &changing{handle: j, session: j.options.Session, prepared: j.prepared}
}

func (j *job) Begins(step string) int {
	times := 0
	for _, e := range j.held.Log.Entries() {
		if e.Kind == journal.Begin && e.Step == step {
			times++
		}
	}
	return times
}
