// Package record gathers what is known of a job or of a batch of jobs: what was asked, by whom and when, the plan,
// what each step took, and how it ended. It only reads the job's directory. The job may be
// running, unfinished or ended, of any kind, and begun by an earlier version; what a journal
// does not have is left out, and never guessed.
package record

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Record is what is known of one job.
type Record struct {
	// Job is the job's ID.
	Job string `json:"job"`
	// Kind is the kind of the job, "growth" for example.
	Kind   string       `json:"kind"`
	Target *plan.Target `json:"target,omitempty"`
	// State is the job's state when it was read; "" if its journal cannot be read.
	State journal.JobState `json:"state"`
	// Active reports that a process was working on the job.
	Active bool `json:"active"`
	// Started is when the job began, Changed when something last happened.
	Started time.Time `json:"started,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
	// Text says in sentences what happened.
	Text string `json:"text"`
	// Error is the last error.
	Error string `json:"error,omitempty"`
	// Unreadable is why the journal or the plan cannot be read.
	Unreadable string `json:"unreadable,omitempty"`
	// Err is the error of a journal that cannot be read.
	Err error `json:"-"`
	// Runs are the commands that worked on the job, the first one first. Journals of older
	// versions have none.
	Runs []Run `json:"runs,omitempty"`
	// Plan is the confirmed plan; jobs of some kinds have none.
	Plan *plan.Plan `json:"plan,omitempty"`
	// Steps are the job's steps with what they took.
	Steps  []TimedStep   `json:"steps,omitempty"`
	Outage *Outage       `json:"outage,omitempty"`
	Health *HealthResult `json:"health,omitempty"`
	// Seen are the file systems as the running guest reported them.
	Seen  []SeenFS `json:"seen,omitempty"`
	Notes []Note   `json:"notes,omitempty"`
	// Actions are the actions that were possible, the best first.
	Actions []job.Action `json:"actions,omitempty"`
	// OldSize and NewSize are the disk's sizes, for a job that has no plan.
	OldSize size.Bytes `json:"old_size,omitempty"`
	NewSize size.Bytes `json:"new_size,omitempty"`
	// Batch is what was planned, for a job that grows many guests; Guests are its guests in
	// the order of the inventory.
	Batch  *Batch       `json:"batch,omitempty"`
	Guests []BatchGuest `json:"guests,omitempty"`
}

// Run is the work of one command on the job.
type Run struct {
	Action job.Action `json:"action"`
	job.Origin
	Began time.Time `json:"began"`
	// Ended is left out if the command was killed, or still runs.
	Ended time.Time `json:"ended,omitzero"`
	// Exit is the command's exit code.
	Exit *int `json:"exit,omitempty"`
	// Error is why the command failed.
	Error string `json:"error,omitempty"`
}

// Note is a message that was shown to people.
type Note struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// SeenFS is a file system as the guest's agent listed it before the outage and in the health
// check.
type SeenFS struct {
	MountPoint string    `json:"mount_point"`
	Type       string    `json:"type"`
	Before     *SeenSize `json:"before,omitempty"`
	After      *SeenSize `json:"after,omitempty"`
}

// SeenSize is the size of a file system as the guest sees it, without what the file system
// keeps for itself.
type SeenSize struct {
	// Total and Used are in bytes; 0 if the agent does not report them.
	Total size.Bytes `json:"total"`
	Used  size.Bytes `json:"used"`
}

// Read reads the record of a job, without locking the job.
func Read(e *job.Engine, name string) (*Record, error) {
	s, err := e.Status(name)
	if err != nil {
		return nil, err
	}
	return Of(e, s), nil
}

// Of returns the record of a job whose status is known. It reads the job's plan, and the jobs
// of a batch's guests.
func Of(e *job.Engine, s job.Status) *Record {
	r := of(e.Store, s)
	if standings := batch.Standings(e, s); standings != nil {
		r.addBatch(e, standings)
	}
	return r
}

// of makes the record from a status. A journal of another version is not shown at all, because
// its entries may mean something else; of a damaged one, what is before the damage is.
func of(store journal.Store, s job.Status) *Record {
	if errors.As(s.Err, new(*journal.SchemaError)) {
		s = job.Status{ID: s.ID, Active: s.Active, Err: s.Err}
	}
	r := &Record{Job: s.ID, Kind: s.Header.Kind, State: s.Record.State, Active: s.Active,
		Started: s.Record.Started, Changed: s.Record.Changed, Text: s.Text, Error: s.Record.Error,
		Runs: runs(s.Entries), Notes: notes(s.Entries), Actions: s.Actions,
		Seen: seen(s.Details.SeenBefore, s.Details.SeenAfter), OldSize: s.Details.OldSize, NewSize: s.Details.NewSize}
	if s.Header.Target.Path != "" || s.Header.Target.Guest != nil {
		r.Target = &s.Header.Target
	}
	if s.Err != nil {
		r.State, r.Unreadable, r.Err = "", s.Err.Error(), s.Err
	}
	steps := s.Header.Steps
	if p, err := job.PlanOf(store, s.ID); err == nil && (s.Record.Planned || s.Err != nil) {
		r.Plan, steps = p, p.Steps
		if r.Target == nil {
			r.Target = &p.Target
		}
	} else if s.Record.Planned {
		r.Unreadable = "the job's plan: " + err.Error()
	}
	g := s.Header.Target.Guest
	away := g != nil && g.Running && slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Kind == plan.StepShutdown })
	r.Steps = timed(steps, away, s.Entries)
	r.Health = healthOf(r.Steps)
	if away {
		r.Outage = outageOf(r.Steps, s.Entries)
	}
	return r
}

// runs returns the commands that worked on the job.
func runs(entries []journal.Entry) (all []Run) {
	for _, e := range entries {
		switch e.Kind {
		case journal.Run:
			var begun job.Running
			if json.Unmarshal(e.Data, &begun) == nil {
				all = append(all, Run{Action: begun.Action, Origin: begun.Origin, Began: e.Time})
			}
		case journal.Ended:
			var end job.Ending
			if json.Unmarshal(e.Data, &end) == nil && len(all) > 0 {
				last := &all[len(all)-1]
				last.Ended, last.Exit, last.Error = e.Time, end.Exit, e.Text
			}
		}
	}
	return all
}

func notes(entries []journal.Entry) (all []Note) {
	for _, e := range entries {
		if e.Kind == journal.Note {
			all = append(all, Note{e.Time, e.Text})
		}
	}
	return all
}

// seen joins the two lists of the agent by mount point.
func seen(before, after []job.FileSystem) (all []SeenFS) {
	for _, f := range before {
		all = append(all, SeenFS{MountPoint: f.MountPoint, Type: f.Type, Before: &SeenSize{f.Total, f.Used}})
	}
	for _, f := range after {
		i := slices.IndexFunc(all, func(s SeenFS) bool { return s.MountPoint == f.MountPoint })
		if i < 0 {
			i, all = len(all), append(all, SeenFS{MountPoint: f.MountPoint, Type: f.Type})
		}
		all[i].After = &SeenSize{f.Total, f.Used}
	}
	return all
}
