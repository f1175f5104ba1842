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

// Action is an action on a job that has not ended.
type Action string

// The actions. Close ends a job as it is: nothing more is done or undone.
const (
	Start    Action = "start" // a new job; Work.Actions never returns it
	Resume   Action = "resume"
	Accept   Action = "accept"
	Rollback Action = "rollback"
	Close    Action = "close"
)

// Work is an open job of one kind.
type Work interface {
	// Handlers returns the handlers of the steps. Each may run again after a crash in
	// it.
	Handlers() map[plan.StepKind]apply.Handler
	// Actions returns the possible actions, the best first. It is called only for a job
	// that has not ended.
	Actions(journal.Record) []Action
	// Describe describes the state of the job in sentences. If it returns "", the engine
	// describes the job by its state and actions. active reports that a process works on the job.
	Describe(r journal.Record, active bool) string
	// Report completes the outcome of a run that went forward.
	Report(*Outcome)
}

// Stepwise is embedded by work that runs its steps in their order. What it has for Actions
// is for work whose every step can be undone until the end.
type Stepwise struct{}

// Actions returns resume and rollback.
func (Stepwise) Actions(journal.Record) []Action { return []Action{Resume, Rollback} }

// Describe returns "": the engine describes the job.
func (Stepwise) Describe(journal.Record, bool) string { return "" }

// Report adds nothing.
func (Stepwise) Report(*Outcome) {}

// Course is work that does not run its steps one by one.
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

// Reasoned is work that knows why an action is not possible.
type Reasoned interface {
	// WhyNot is a sentence about the job without a full stop: "job %s is …".
	WhyNot(Action, journal.Record) string
}

// Failing is work that completes the description of a failure.
type Failing interface {
	// Failed completes a failure, after everything possible was undone. before is
	// the journal's record before the failure.
	Failed(f *Failure, before journal.Record)
}

// Detailed is work with details for its status.
type Detailed interface {
	Details() Details
}

// Details are shown in a status and for a closed job, in addition to the steps.
type Details struct {
	OldSize, NewSize size.Bytes
	// More are further disks that the job grows.
	More []DiskGrowth
	// Overlay and Undo are the job's files next to the image, Others the overlays of
	// the domain's other disks.
	Overlay, Undo string
	Others        []string
	// Files are further files that the job may leave.
	Files []string
	// Inside are the commands that a guest has not run yet.
	Inside []string
	// SeenBefore and SeenAfter are the file systems that the guest's agent listed before
	// the outage and in the health check.
	SeenBefore, SeenAfter []FileSystem
}

// FileSystem is a file system as a running guest sees it.
type FileSystem struct {
	MountPoint, Type string
	// Total and Used are 0 if the agent does not report them.
	Total, Used size.Bytes
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
