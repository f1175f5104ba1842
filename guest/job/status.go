package job

import (
	"errors"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Status describes a job in any state.
type Status struct {
	ID     string
	Header Header // as far as it can be read
	Record journal.Record
	// Entries are the journal's entries that Record was made from.
	Entries []journal.Entry
	// Active reports that a process works on the job now.
	Active bool
	// Actions are the possible actions, the best first; none for a job that is active or
	// has ended.
	Actions []Action
	// Text describes the state of the job in sentences.
	Text    string
	Details Details
	// Processes are the processes that the job started and that still run.
	Processes []journal.Proc
	// Err is why the journal cannot be read.
	Err error
}

// Status reads one job, without locking it. A journal that cannot be read is not
// an error, but a status.
func (e *Engine) Status(name string) (Status, error) {
	listed, err := e.Store.Read(name)
	if listed.ID == "" {
		return Status{}, err
	}
	return e.status(listed), nil
}

// List reads all jobs, oldest first.
func (e *Engine) List() ([]Status, error) {
	all, err := e.Store.List()
	if err != nil {
		return nil, err
	}
	jobs := make([]Status, 0, len(all))
	for _, listed := range all {
		jobs = append(jobs, e.status(listed))
	}
	return jobs, nil
}

func (e *Engine) status(l journal.Listed) Status {
	s := Status{ID: l.ID, Record: l.Record, Entries: l.Entries, Active: l.Running, Err: l.Err}
	for _, p := range l.Record.Processes {
		if block.Alive(p) {
			s.Processes = append(s.Processes, p)
		}
	}
	var err error
	s.Header, err = headerOf(l.Record)
	switch {
	case l.Err != nil:
	case errors.Is(err, errNoHeader):
		s.Text = "The job ended before it did anything."
		if !s.Active {
			s.Actions = []Action{Rollback}
		}
	case err != nil:
		s.Err = err
	default:
		e.describe(&s)
	}
	return s
}

// describe asks the work for the possible actions and a description.
func (e *Engine) describe(s *Status) {
	j, err := e.readOnly(s)
	ended := s.Record.State.Ended()
	if err == nil {
		s.Details = j.details()
	}
	switch {
	case ended:
		s.Details.Inside = nil
	case err == nil && !s.Active:
		s.Actions = j.work.Actions(s.Record)
	}
	switch {
	case s.Record.State == journal.Closed:
		s.Text = "The job was closed as it was" + At(s.Record) + ": nothing more is done or undone."
	case err != nil:
		s.Text = fmt.Sprintf("The job cannot be opened: %v.", err)
	default:
		s.Text = j.work.Describe(s.Record, s.Active)
	}
	if s.Text == "" {
		s.Text = s.describe()
	}
}

// readOnly returns the job of a status, without locking it.
func (e *Engine) readOnly(s *Status) (*Job, error) {
	j := &Job{id: s.ID, dir: e.Store.DirOf(s.ID), header: s.Header, engine: e, read: s.Record}
	return j, j.openWork()
}

// describe describes the state of any kind of job.
func (s *Status) describe() string {
	switch {
	case s.Record.State == journal.Finished:
		return "The job is done."
	case s.Record.State == journal.RolledBack:
		return "The job was rolled back: everything is as it was before."
	case s.Record.State == journal.Cancelled:
		return "The job was ended before anything was done."
	case s.Active:
		return "The job is running" + At(s.Record) + "."
	}
	text := "The job was interrupted" + At(s.Record) + "."
	switch {
	case slices.Contains(s.Actions, Rollback):
		text += " Resume does the remaining steps, rollback undoes the completed ones."
	case slices.Contains(s.Actions, Close):
		text += " Completed steps cannot be undone: resume does the remaining steps, accept closes the job as it is."
	}
	return text
}

// At returns the running step of a job in parentheses, for a sentence.
func At(r journal.Record) string {
	if r.Running == "" {
		return ""
	}
	return " (step " + r.Running + ")"
}
