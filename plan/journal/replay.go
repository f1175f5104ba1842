package journal

import (
	"encoding/json"
	"time"
)

// JobState is what a job as a whole is at.
type JobState string

// The states of a job.
const (
	// Opening: the job is looking at the image; nothing is agreed yet.
	Opening JobState = "opening"
	// Editing: the overlay is being written; the image is untouched.
	Editing JobState = "editing"
	// Working: the steps of a job that has no overlay are under way.
	Working JobState = "working"
	// Trial: the guest is started on the overlay, and has to prove itself.
	Trial JobState = "trial"
	// Waiting: the overlay is complete and verified, and a person decides; a
	// guest runs on it meanwhile.
	Waiting JobState = "waiting"
	// Committing: the image is being written; only forward, or back with the
	// saved undo.
	Committing JobState = "committing"
	// Finished, RolledBack and Cancelled are ends: grown; undone; given up
	// before anything was done. Closed is one, too: a person has decided that nothing
	// more is done or taken back.
	Finished   JobState = "done"
	RolledBack JobState = "rolled-back"
	Cancelled  JobState = "cancelled"
	Closed     JobState = "closed"
)

// Ended reports whether the state is final.
func (s JobState) Ended() bool {
	return s == Finished || s == RolledBack || s == Cancelled || s == Closed
}

// Proc is a program that was started for a job. Pid and start time together
// name one process for as long as the host is up; Boot tells the host's boots
// apart.
type Proc struct {
	Role  string `json:"role"`
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat, in clock ticks
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// Record is what a journal says about its job.
type Record struct {
	State   JobState
	Started time.Time
	// Changed is when the last entry was written.
	Changed time.Time
	// Facts are the Opened entry's.
	Facts json.RawMessage
	// Planned reports that a plan was saved and agreed to.
	Planned bool
	// Done are the steps that are done and not undone; Running is one that
	// has begun and has no end.
	Done    map[string]bool
	Running string
	// Error is the last failure's text, until another step begins.
	Error     string
	Processes []Proc
}

// Replay reads what happened out of the entries.
func Replay(entries []Entry) Record {
	r := Record{State: Opening, Done: map[string]bool{}}
	for _, e := range entries {
		r.apply(e)
	}
	return r
}

func (r *Record) apply(e Entry) {
	r.Changed = e.Time
	switch e.Kind {
	case Opened:
		// A job that begins again opens again; it started when it first did.
		if r.Started.IsZero() {
			r.Started = e.Time
		}
		r.Facts = e.Data
	case Planned:
		r.Planned = true
	case Process:
		var p Proc
		if json.Unmarshal(e.Data, &p) == nil {
			r.Processes = append(r.Processes, p)
		}
	case Begin:
		r.Running, r.Error = e.Step, ""
	case Done:
		r.Done[e.Step] = true
		r.Running, r.Error = "", ""
	case Failed:
		r.Error = e.Text
	case Undoing:
		// From here on it may be half undone: it has to be done or undone again.
		delete(r.Done, e.Step)
		r.Running = e.Step
	case Undone:
		delete(r.Done, e.Step)
		if r.Running == e.Step {
			r.Running = ""
		}
	case State:
		r.State = JobState(e.Text)
	}
}
