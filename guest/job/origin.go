package job

import (
	"encoding/json"

	"github.com/virt-grow/virt-grow/plan/journal"
)

// Origin says who runs the program, where, and with which versions. It holds no arguments
// of the command line, because they may contain keys.
type Origin struct {
	// Command is the name of the command: "grow".
	Command string `json:"command,omitempty"`
	// User is the user whose rights the process has. Sudo is the user who called sudo, as
	// the environment says; Login is the user who logged in, as the kernel says.
	User  string `json:"user,omitempty"`
	Sudo  string `json:"sudo,omitempty"`
	Login string `json:"login,omitempty"`
	// Host is the name of the host, System its distribution, Kernel the release of its
	// kernel.
	Host   string `json:"host,omitempty"`
	System string `json:"system,omitempty"`
	Kernel string `json:"kernel,omitempty"`
	// Versions are the versions of virt-grow and of what it uses.
	Versions []Version `json:"versions,omitempty"`
}

// Version is the version of a program or library.
type Version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Running is the data of a Run entry: the action that a process has begun, and its origin.
type Running struct {
	Action Action `json:"action"`
	Origin Origin `json:"origin,omitzero"`
}

// Ending is the data of an Ended entry.
type Ending struct {
	// Exit is the exit code of the process; it is left out if the caller has none.
	Exit *int `json:"exit,omitempty"`
}

// runBegins records that this process begins its work on the job. A journal that cannot be
// written stops the job at its next step.
func (j *Job) runBegins(a Action) {
	r := Running{Action: a}
	if j.engine.Origin != nil {
		r.Origin = j.engine.Origin()
	}
	if data, err := json.Marshal(r); err == nil {
		_ = j.log(journal.Entry{Kind: journal.Run, Data: data})
	}
}

// runEnds records how the work of this process ended.
func (j *Job) runEnds(err error) {
	e := journal.Entry{Kind: journal.Ended}
	if err != nil {
		e.Text = err.Error()
	}
	var end Ending
	if j.engine.Exit != nil {
		exit := j.engine.Exit(err)
		end.Exit = &exit
	}
	if e.Data, err = json.Marshal(end); err == nil {
		_ = j.log(e)
	}
}
