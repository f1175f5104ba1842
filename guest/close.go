package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Close ends a job as it is: what it has done stays, what is left to do or to take back
// is left to a person, who is told. It needs nothing but the job's own folder, so that a
// job can be ended whose domain, image or libvirt is gone. Of the job's files none is
// deleted.
func Close(_ context.Context, name string, o Options) (*Outcome, error) {
	if o.moved(name) {
		return o.Engine().Close(name)
	}
	held, err := o.Store.Hold(name)
	switch {
	case errors.Is(err, journal.ErrBusy):
		return nil, plan.Refuse(plan.JobActive, name, "job %s is being worked on by a running virt-grow", name)
	case errors.Is(err, journal.ErrNoJob):
		return nil, plan.Refuse(plan.NotFound, name, "%v", err)
	case errors.As(err, new(*journal.SchemaError)):
		return nil, err // the version that began the job can still end it
	case err != nil:
		return setAside(name, err, o.Store)
	}
	record := journal.Replay(held.Log.Entries())
	facts, err := factsOf(record)
	if err != nil {
		return setAside(name, errors.Join(err, held.Close()), o.Store)
	}
	j := newJob(held, facts, o)
	if record.State.Ended() {
		return nil, errors.Join(plan.Refuse(plan.JobState, held.ID, "job %s has ended already: it is %s", held.ID, record.State), j.close())
	}
	out := &Outcome{Job: held.ID, State: journal.Closed, Messages: j.leaves()}
	err = errors.Join(j.endLeftovers(context.Background()), j.enter(journal.Closed), j.close())
	if err != nil && !journal.Replay(held.Log.Entries()).State.Ended() {
		return setAside(held.ID, err, o.Store)
	}
	return out, err
}

// setAside closes a job that cannot be told so.
func setAside(name string, cause error, s journal.Store) (*Outcome, error) {
	id, dir, err := s.SetAside(name)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	return &Outcome{Job: id, State: journal.Closed, Messages: []string{
		fmt.Sprintf("its journal is of no use any more: %v", cause),
		"its folder is kept: " + dir,
		"an overlay or saved bytes that it left have its name: *.virt-grow-" + id + "*",
	}}, nil
}

// leaves says what a job leaves behind.
func (j *job) leaves() []string {
	var said []string
	var steps []plan.Step
	if j.restorePlan(context.Background()) == nil && j.plan != nil {
		steps = j.plan.Steps
	}
	for _, s := range steps {
		switch {
		case j.record.Done[s.ID()]:
			said = append(said, "done: "+s.Summary)
		case j.record.Running == s.ID():
			said = append(said, "begun, and perhaps done in part: "+s.Summary)
		default:
			said = append(said, "not done: "+s.Summary)
		}
	}
	files := []string{j.facts.Overlay, j.facts.Undo, j.overlay.Bitmaps(), filepath.Join(j.held.Dir, "domain.xml")}
	for _, side := range j.facts.Overlays {
		files = append(files, side.Path)
	}
	for _, f := range files {
		if _, err := os.Stat(f); f != "" && err == nil {
			said = append(said, "kept: "+f)
		}
	}
	return said
}
