package job

import (
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// preview is the dry run of a new job. It makes neither a job nor locks: a job of another
// process on the same disk is found in the list of jobs.
func (e *Engine) preview(s Spec) (*Outcome, error) {
	if err := e.CheckNoJob(s.Target.Path, s.Locks); err != nil {
		return nil, err
	}
	e.listed(s.Steps)
	return &Outcome{Steps: s.Steps}, nil
}

// previewAction is the dry run of an action on an existing job. It only reads the journal:
// whether the job's domain and image are still there shows in the action itself.
func (e *Engine) previewAction(name string, a Action) (*Outcome, error) {
	s, err := e.Status(name)
	if err != nil {
		return nil, err
	}
	if s.Active {
		return nil, active(name)
	}
	out := &Outcome{Job: s.ID, Messages: []string{s.Text}}
	state := s.Record.State
	switch {
	case a == Close && state.Ended():
		return nil, hasEnded(s.ID, state)
	case a == Close:
		return out, nil
	case s.Err != nil:
		return nil, fmt.Errorf("job %s: %w", s.ID, s.Err)
	}
	if s.Header.Kind == "" {
		return nil, plan.Refuse(plan.NotFound, name, "job %s ended before it did anything", s.ID)
	}
	if a == Accept && state == journal.Committing {
		a = Resume // as in again
	}
	j, err := e.readOnly(&s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("job %s: %w", s.ID, err)
	case state.Ended():
		if _, err := j.afterEnd(state, a); err != nil {
			return nil, err
		}
		return out, nil
	case !j.may(a):
		return nil, j.refuse(a)
	}
	if a == Rollback {
		for _, step := range slices.Backward(s.Header.Steps) {
			if Begun(s.Record, step.ID()) {
				out.Messages = append(out.Messages, "To undo: "+step.Summary)
			}
		}
		return out, nil
	}
	if len(s.Header.Steps) > 0 {
		out.Steps = slices.DeleteFunc(slices.Clone(s.Header.Steps), func(step plan.Step) bool { return s.Record.Done[step.ID()] })
		e.listed(out.Steps)
	}
	return out, nil
}
