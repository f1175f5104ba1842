package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Close ends a job as it is: nothing is done or undone, and the outcome tells the user what is
// left. It only uses the job's directory, so it also ends a job whose domain, image, libvirt
// or kind no longer exists. It deletes none of the job's files. A job whose journal cannot be
// read or written is set aside.
func (e *Engine) Close(name string) (*Outcome, error) {
	if e.DryRun {
		return e.previewAction(name, Close)
	}
	held, err := e.hold(name)
	if _, refused := plan.IsRefusal(err); refused || errors.As(err, new(*journal.SchemaError)) {
		return nil, err // the version that began the job can still end it
	}
	if err != nil {
		return e.setAside(name, err)
	}
	header, err := headerOf(journal.Replay(held.Log.Entries()))
	if err != nil {
		return e.setAside(held.ID, errors.Join(err, held.Close()))
	}
	j := e.open(held, header)
	_ = j.openWork() // without the work, the outcome has less information
	if r := j.Record(); r.State.Ended() {
		return nil, errors.Join(hasEnded(j.id, r.State), j.release())
	}
	out := &Outcome{Job: j.id, State: journal.Closed, Messages: j.leaves(), ManualSteps: j.leftInside()}
	j.runBegins(Close)
	err = errors.Join(j.endLeftovers(context.Background()), j.Enter(journal.Closed))
	j.runEnds(err)
	err = errors.Join(err, j.release())
	if err != nil && !j.Record().State.Ended() {
		return e.setAside(j.id, err)
	}
	return out, err
}

func hasEnded(id string, s journal.JobState) error {
	return plan.Refuse(plan.JobState, id, "job %s has ended already: it is %s", id, s)
}

// setAside closes a job whose journal cannot be written.
func (e *Engine) setAside(name string, cause error) (*Outcome, error) {
	id, dir, err := e.Store.SetAside(name)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	return &Outcome{Job: id, State: journal.Closed, Messages: []string{
		fmt.Sprintf("its journal cannot be used any more: %v", cause),
		"its directory is kept: " + dir,
		"an overlay or saved bytes that it left have its name: *.virt-grow-" + id + "*",
	}}, nil
}

// leaves returns what was done, and which files remain.
func (j *Job) leaves() []string {
	var lines []string
	r := j.Record()
	for _, s := range j.header.Steps {
		switch {
		case r.Done[s.ID()]:
			lines = append(lines, "done: "+s.Summary)
		case r.Running == s.ID():
			lines = append(lines, "begun, and perhaps done in part: "+s.Summary)
		default:
			lines = append(lines, "not done: "+s.Summary)
		}
	}
	files, _ := filepath.Glob(filepath.Join(j.dir, "*.xml"))
	for _, f := range append(j.details().files(), files...) {
		if _, err := os.Stat(f); f != "" && err == nil {
			lines = append(lines, "kept: "+f)
		}
	}
	return lines
}

func (j *Job) details() Details {
	if w, ok := j.work.(Detailed); ok {
		return w.Details()
	}
	return Details{}
}

// leftInside returns the commands that a guest has not run yet.
func (j *Job) leftInside() []string {
	lines := j.details().Inside
	if len(lines) == 0 {
		return nil
	}
	return []string{"in the guest, as far as it can:\n" + strings.Join(lines, "\n")}
}
