package journal

import (
	"encoding/json"
	"time"
)

// JobState is the state of a job.
type JobState string

// The states of a job.
const (
	// Opening: the job reads the image; no plan is confirmed yet.
	Opening JobState = "opening"
	// Editing: the overlay is being written; the image is untouched.
	Editing JobState = "editing"
	// Working: the steps of a job without an overlay are being carried out.
	Working JobState = "working"
	// Trial: the guest was started on the overlay, and must pass its health check.
	Trial JobState = "trial"
	// Waiting: the overlay is complete and verified, and the user decides; meanwhile a
	// guest runs on it.
	Waiting JobState = "waiting"
	// Committing: the image is being written; the job can only be finished, or undone
	// with the saved bytes.
	Committing JobState = "committing"
	// The final states: everything was done; everything was undone; the job ended before
	// anything was done; the user closed the job as it is.
	Finished   JobState = "done"
	RolledBack JobState = "rolled-back"
	Cancelled  JobState = "cancelled"
	Closed     JobState = "closed"
)

// Ended reports whether the state is final.
func (s JobState) Ended() bool {
	return s == Finished || s == RolledBack || s == Cancelled || s == Closed
}

// Proc is a process that was started for a job. Pid and start time identify the process
// until the host's next boot; Boot identifies the boot.
type Proc struct {
	Role  string `json:"role"`
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat, in clock ticks
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// Record is what a journal says about the job.
type Record struct {
	State   JobState
	Started time.Time
	// Changed is when the last entry was written, apart from those for the record only.
	Changed time.Time
	// Facts is the data of the Opened entry.
	Facts json.RawMessage
	// Planned reports that a plan was confirmed and saved.
	Planned bool
	// Done has the steps that are done and not undone; Running is the step that has begun
	// and not ended.
	Done    map[string]bool
	Running string
	// Error is the text of the last failure, until another step begins.
	Error     string
	Processes []Proc
	// Parts has what was recorded last of each part of the job.
	Parts map[string]json.RawMessage
}

// Replay returns what happened, according to the entries.
func Replay(entries []Entry) Record {
	r := Record{State: Opening, Done: map[string]bool{}, Parts: map[string]json.RawMessage{}}
	for _, e := range entries {
		r.apply(e)
	}
	return r
}

func (r *Record) apply(e Entry) {
	switch e.Kind {
	case Run, Ended, Note:
		return
	}
	r.Changed = e.Time
	switch e.Kind {
	case Opened:
		// A job that begins again has another Opened entry; the first one counts.
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
		// The step may now be half undone: it must be done or undone again.
		delete(r.Done, e.Step)
		r.Running = e.Step
	case Undone:
		delete(r.Done, e.Step)
		if r.Running == e.Step {
			r.Running = ""
		}
	case State:
		r.State = JobState(e.Text)
	case Part:
		r.Parts[e.Step] = e.Data
	}
}
