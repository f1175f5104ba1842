package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
)

// State is the state of a job: a journal.JobState, or that its journal cannot be read.
type State string

// The states of a job whose journal this version of the program cannot read.
const (
	StateDamaged State = "damaged"
	StateNewer   State = "newer-job" // another version of the program began the job
)

// Job is a job in a list.
type Job struct {
	ID string `json:"id"`
	// Target is the domain's name, or the path of the image.
	Target string `json:"target"`
	// Disk is the target of the domain's disk, for example "vda"; "" for an image.
	Disk string `json:"disk"`
	// Disks are the targets of all disks that the job grows, if there are several.
	Disks []string `json:"disks,omitempty"`
	State State    `json:"state"`
	// Active reports whether a process is working on the job now.
	Active  bool      `json:"active"`
	Started time.Time `json:"started,omitzero"`
	// Next is the command to run; "" when there is nothing to do.
	Next string `json:"next"`
}

// Jobs prints the list of jobs.
func Jobs(w io.Writer, s Style, jobs []Job) error {
	p := &page{Style: s}
	if len(jobs) == 0 {
		p.line("no jobs")
	} else {
		t := table{heads: []string{"JOB", "STARTED", "STATE", "TARGET", "NEXT"}}
		for _, j := range jobs {
			state := string(j.State)
			if j.Active {
				state += " (running)"
			}
			t.add(j.ID, clock(j.Started), state, j.where(), j.Next)
		}
		p.whole(t)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// where returns the target: an image, or a domain with its disks.
func (j Job) where() string {
	switch {
	case j.Disk == "":
		return j.Target
	case len(j.Disks) > 0:
		return j.Target + " " + strings.Join(j.Disks, ", ")
	}
	return j.Target + " " + j.Disk
}

// whole prints a table without cutting it, so that the last column can be copied.
func (p *page) whole(t table) {
	p.Width = maxWidth
	p.table(t)
}

// clock returns a date and time for people, in the time zone of t.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02 15:04:05")
}

// DiskGrowth is what a job does to one disk of a domain.
type DiskGrowth struct {
	Disk    string     `json:"disk"`
	OldSize size.Bytes `json:"old_size"`
	NewSize size.Bytes `json:"new_size"`
}

// Status is the state of one job.
type Status struct {
	Job
	// Changed is when the last entry of the journal was written.
	Changed time.Time  `json:"changed,omitzero"`
	OldSize size.Bytes `json:"old_size,omitempty"`
	NewSize size.Bytes `json:"new_size,omitempty"`
	// More are the other disks that the job grows.
	More  []DiskGrowth `json:"more_disks,omitempty"`
	Grows string       `json:"grows,omitempty"`
	// Text says in sentences what happened.
	Text string `json:"text"`
	// Error is the last error.
	Error string       `json:"error,omitempty"`
	Steps []StepStatus `json:"steps,omitempty"`
	// Overlay is the file that has the change until the commit.
	Overlay *File `json:"overlay,omitempty"`
	// Undo is the file with the bytes of the image that the commit overwrites.
	Undo *File `json:"undo,omitempty"`
	// Others are the overlays of a domain's other disks.
	Others []File `json:"others,omitempty"`
	// Processes are the processes that the job started and that still run.
	Processes []Process `json:"processes,omitempty"`
	// LeftInside are the commands that the guest has not run yet.
	LeftInside []string `json:"left_inside,omitempty"`
	// Guests are the guests of a batch.
	Guests []BatchGuest `json:"guests,omitempty"`
	// Commands are the commands that are possible now, the best first.
	Commands []Command `json:"commands,omitempty"`
}

// StepState is the state of a step.
type StepState string

// The states of a step.
const (
	StepOpen  StepState = "open"
	StepBegun StepState = "begun"
	StepDone  StepState = "done"
)

// StepStatus is one step of a job.
type StepStatus struct {
	// ID identifies the step within its job.
	ID string `json:"id"`
	// Summary says what the step does.
	Summary string    `json:"summary"`
	State   StepState `json:"state"`
}

// File is a file of a job.
type File struct {
	Path string `json:"path"`
	// Exists reports whether the file exists.
	Exists bool `json:"exists"`
	// Bytes is the space that the file takes on the host.
	Bytes size.Bytes `json:"bytes,omitempty"`
}

// Process is a program that a job started and that still runs.
type Process struct {
	// Role says what the job started the program for.
	Role string `json:"role"`
	// Pid is the process ID on the host.
	Pid int `json:"pid"`
}

// Command is a command line, and what it does.
type Command struct {
	// Line is the command line.
	Line string `json:"command"`
	// What says what the command does.
	What string `json:"what"`
}

// Statuses prints the status of one job.
func Statuses(w io.Writer, s Style, j Status) error {
	p := &page{Style: s}
	state := string(j.State)
	if j.Active {
		state += ", running"
	}
	p.head("Job %s: %s", j.ID, state)
	if j.Target != "" {
		p.line("  %-8s %s", j.whatItIs(), j.where())
	}
	if j.NewSize > 0 {
		p.line("  growth   %s%s", change(j.OldSize, j.NewSize), grower(j.Grows))
		for _, d := range j.More {
			p.line("           %s %s", d.Disk, change(d.OldSize, d.NewSize))
		}
	}
	p.times(j)
	p.file("overlay", j.Overlay)
	for i := range j.Others {
		p.file("overlay", &j.Others[i])
	}
	p.file("undo", j.Undo)
	for _, proc := range j.Processes {
		p.line("  process  %s, pid %d", proc.Role, proc.Pid)
	}
	p.raw("")
	p.paragraph("", "%s", j.Text)
	if j.Error != "" {
		p.paragraph("", "The error: %s", j.Error)
	}
	if len(j.Guests) > 0 {
		p.raw("")
		p.guestsOfBatch(j.Guests)
	}
	p.stepList(j.Steps)
	if len(j.LeftInside) > 0 {
		p.head("Left to run in the guest")
		p.verbatim(strings.Join(j.LeftInside, "\n"))
	}
	p.commands(j.Commands)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// whatItIs names the kind of the target.
func (j *Status) whatItIs() string {
	switch {
	case len(j.Guests) > 0:
		return "batch"
	case j.Disk == "":
		return "image"
	}
	return "domain"
}

func grower(device string) string {
	if device == "" {
		return ""
	}
	return ", " + device
}

func (p *page) times(j Status) {
	if !j.Started.IsZero() {
		p.line("  started  %s", clock(j.Started))
	}
	if !j.Changed.IsZero() {
		p.line("  last     %s", clock(j.Changed))
	}
}

func (p *page) file(what string, f *File) {
	if f == nil || !f.Exists {
		return
	}
	p.line("  %-8s %s (%s)", what, f.Path, f.Bytes)
}

func (p *page) stepList(steps []StepStatus) {
	if len(steps) == 0 {
		return
	}
	p.head("Steps")
	for i, s := range steps {
		p.line("%4d. %-5s  %s", i+1, s.State, s.Summary)
	}
}

func (p *page) commands(commands []Command) {
	if len(commands) == 0 {
		return
	}
	p.head("What to run")
	n := 0
	for _, c := range commands {
		n = max(n, columns(c.Line))
	}
	for _, c := range commands {
		p.raw("  " + fmt.Sprintf("%-*s", n, p.clean(c.Line)) + "  " + p.clean(c.What))
	}
}
