package job

import (
	"context"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Kinds are the kinds of job that an engine knows, by name.
type Kinds map[string]Kind

// Kind opens the work of a job from its header. It changes nothing and connects to
// nothing: jobs are opened to be listed, too.
type Kind func(*Job) (Work, error)

// Action is what can be done about a job that has not ended.
type Action string

// The actions. Close ends a job as it is: nothing more is done or taken back.
const (
	Start    Action = "start" // of a new job; Work.Actions never returns it
	Resume   Action = "resume"
	Accept   Action = "accept"
	Rollback Action = "rollback"
	Close    Action = "close"
)

// Work is an open job of one kind.
type Work interface {
	// Handlers are what the kinds of step mean. Each may run again after a crash in
	// its middle.
	Handlers() map[plan.StepKind]apply.Handler
	// Actions returns what may be done now, best first. It is asked only about a job
	// that has not ended.
	Actions(journal.Record) []Action
	// Describe says in plain words what the job is at. For "" the engine says it
	// by the state and the actions. active reports that a process works on the job.
	Describe(r journal.Record, active bool) string
	// Report completes the outcome of a run that has brought the job forward.
	Report(*Outcome)
}

// Stepwise is embedded by work that runs its steps in their order. What it has for Actions
// is for work whose every step can be taken back until the end.
type Stepwise struct{}

// Actions are to go on or to go back.
func (Stepwise) Actions(journal.Record) []Action { return []Action{Resume, Rollback} }

// Describe leaves it to the engine.
func (Stepwise) Describe(journal.Record, bool) string { return "" }

// Report has nothing to add.
func (Stepwise) Report(*Outcome) {}

// Course is work that does not simply run its steps in their order.
type Course interface {
	// Run carries out Start, Resume, Accept or Rollback, and enters the states that
	// it leads to. Rollback is also run after a failure; Job.Undo undoes the steps.
	Run(context.Context, Action) error
}

// Connected is work that needs a connection, to libvirt for example.
type Connected interface {
	// Connect is called before anything is done with a job of another process.
	Connect(context.Context) error
	// Disconnect is called at the end of every run, new jobs' included.
	Disconnect() error
}

// Reasoned is work that knows why an action is none of those that it offers.
type Reasoned interface {
	// WhyNot is a sentence about the job without a full stop: "job %s is …".
	WhyNot(Action, journal.Record) string
}

// Failing is work that knows more about a failure than the engine does.
type Failing interface {
	// Failed completes a failure, after everything was undone that can be. before is
	// what the journal said when it happened.
	Failed(f *Failure, before journal.Record)
}

// Detailed is work that has more to show than its steps.
type Detailed interface {
	Details() Details
}

// Details are what a status and a closed job tell of besides the steps.
type Details struct {
	OldSize, NewSize size.Bytes
	// More are further disks that the job grows.
	More []DiskGrowth
	// Overlay and Undo are the job's files beside the image, Others the overlays of
	// the domain's other disks.
	Overlay, Undo string
	Others        []string
	// Files are further files that the job may leave.
	Files []string
	// Inside are the commands that a guest has still to run.
	Inside []string
}

// DiskGrowth is what a job does to one disk of a domain.
type DiskGrowth struct {
	Disk             string
	OldSize, NewSize size.Bytes
}

func (d Details) files() []string {
	files := append([]string{d.Overlay, d.Undo}, d.Files...)
	return append(files, d.Others...)
}
