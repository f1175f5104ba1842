package view

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
	ptable "github.com/virt-grow/virt-grow/plan/table"
)

// Schema returns the name of a document's or an event's format.
func Schema(what string) string { return "virt-grow/" + what + "/v1" }

// Document writes one JSON document.
func Document(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// InspectDocument is what inspect --json prints.
type InspectDocument struct {
	Schema string       `json:"schema"`
	Target plan.Target  `json:"target"`
	Size   size.Bytes   `json:"size"`
	Table  *TableObject `json:"table,omitempty"`
	Layout *plan.Layout `json:"layout"`
	// Free lists the parts of the disk that belong to no partition.
	Free []Extent `json:"free"`
	// Default is the device that grows without --grow; "" if --grow is needed.
	Default string `json:"default"`
	// Growth says for each file system whether it can grow.
	Growth []Growth `json:"growth"`
	Notes  []string `json:"notes,omitempty"`
}

// TableObject describes a partition table, without its partitions.
type TableObject struct {
	Kind       ptable.Kind      `json:"kind"`
	ID         string           `json:"id"`
	SectorSize size.Bytes       `json:"sector_size"`
	Hybrid     bool             `json:"hybrid,omitempty"`
	Problems   []ptable.Problem `json:"problems,omitempty"`
}

// Extent is a contiguous part of the disk.
type Extent struct {
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
}

// InspectJSON writes the document of inspect.
func InspectJSON(w io.Writer, in Inspection) error {
	doc := InspectDocument{
		Schema: Schema("inspect"), Target: in.Target, Size: in.Layout.Size, Layout: in.Layout,
		Default: in.Default, Growth: in.Growth, Notes: in.Notes, Free: []Extent{},
	}
	if doc.Growth == nil {
		doc.Growth = []Growth{}
	}
	if t := in.Layout.Table; t != nil {
		doc.Table = &TableObject{Kind: t.Kind, ID: t.ID, SectorSize: t.SectorSize, Hybrid: t.Hybrid, Problems: t.Problems}
		for _, e := range t.Free() {
			doc.Free = append(doc.Free, Extent{e.Start, e.Size})
		}
	}
	return Document(w, doc)
}

// JobsDocument is what jobs --json prints.
type JobsDocument struct {
	Schema string `json:"schema"`
	// Jobs are all jobs of the state directory, oldest first.
	Jobs []Job `json:"jobs"`
}

// JobsJSON writes the list of jobs.
func JobsJSON(w io.Writer, jobs []Job) error {
	if jobs == nil {
		jobs = []Job{}
	}
	return Document(w, JobsDocument{Schema("jobs"), jobs})
}

// StatusDocument is what status --json prints.
type StatusDocument struct {
	Schema string `json:"schema"`
	Status
}

// StatusJSON writes one job.
func StatusJSON(w io.Writer, s Status) error {
	return Document(w, StatusDocument{Schema("status"), s})
}

// DoctorDocument is what doctor --json prints.
type DoctorDocument struct {
	Schema string `json:"schema"`
	// OK reports that the host has everything that virt-grow needs.
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// DoctorJSON writes the findings.
func DoctorJSON(w io.Writer, findings []Finding, ok bool) error {
	return Document(w, DoctorDocument{Schema("doctor"), ok, findings})
}

// ErrorReason is why a command failed: the reason of a refusal, or usage, declined,
// interrupted or failed.
type ErrorReason string

// The reasons of errors that are not refusals.
const (
	ReasonUsage       ErrorReason = "usage"
	ReasonDeclined    ErrorReason = "declined"
	ReasonInterrupted ErrorReason = "interrupted"
	ReasonFailed      ErrorReason = "failed"
)

// Trouble is an error in a document or event.
type Trouble struct {
	Reason ErrorReason `json:"reason"`
	// Subject is the device, path or job with the error.
	Subject string `json:"subject,omitempty"`
	// Error is the message, in one line.
	Error string `json:"error"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
	// Exit is the exit code of the command.
	Exit int `json:"exit" jsonschema:"enum=1,enum=3,enum=4,enum=5,enum=6,enum=7,enum=8,enum=64,enum=130"`
}

// ErrorDocument is what a command prints instead of its own document when it fails.
type ErrorDocument struct {
	Schema string `json:"schema"`
	Trouble
}

// TroubleJSON writes an ErrorDocument.
func TroubleJSON(w io.Writer, t Trouble) error {
	return Document(w, ErrorDocument{Schema("error"), t})
}

// Events writes the events of a run, one per line.
type Events struct {
	w      io.Writer
	schema string
	now    func() time.Time
	steps  []plan.Step
	// guest is the guest of a batch that the events are about; "" for other commands.
	guest string
	// mutex is that of all writers of a run: the guests of a batch grow at the same time.
	mutex *sync.Mutex
}

// of returns a writer for the events of one guest.
func (e *Events) of(guest string) *Events {
	own := *e
	own.guest, own.steps = guest, nil
	return &own
}

// NewEvents returns a writer for the events of a command.
func NewEvents(w io.Writer, command string, now func() time.Time) *Events {
	return &Events{w: w, schema: Schema(command), now: now, mutex: &sync.Mutex{}}
}

// EventHeader has the first fields of every event.
type EventHeader struct {
	// Schema is the name of the event's format.
	Schema string `json:"schema"`
	// Event is the kind of event.
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	// Guest is the guest that an event of a batch is about.
	Guest string `json:"guest,omitempty"`
}

// JobEvent has the ID of the job that the run has opened.
type JobEvent struct {
	EventHeader
	Job string `json:"job"`
}

// NoteEvent has a message for people.
type NoteEvent struct {
	EventHeader
	Text string `json:"text"`
}

// PlanEvent has the plan that will be carried out.
type PlanEvent struct {
	EventHeader
	Plan *plan.Plan `json:"plan"`
}

// OnlineEvent has the plan for a running guest's disk.
type OnlineEvent struct {
	EventHeader
	Online
}

// StepsEvent lists the steps of a job that has no plan.
type StepsEvent struct {
	EventHeader
	Steps []plan.Step `json:"steps"`
}

// StepEvent reports that a step has begun, progressed or ended.
type StepEvent struct {
	EventHeader
	Phase apply.Phase `json:"phase"`
	// Step is the step's ID, which identifies it within its job.
	Step string        `json:"step"`
	Kind plan.StepKind `json:"kind"`
	// Device is the device that the step works on.
	Device string `json:"device,omitempty"`
	// Number is the number of the step, from 1.
	Number int `json:"number,omitempty"`
	// Of is the number of the job's steps.
	Of int `json:"of,omitempty"`
	// Summary says what the step does.
	Summary string `json:"summary,omitempty"`
	// Seconds is the step's duration.
	Seconds float64 `json:"seconds,omitempty"`
	// Percent is how much of the step is done.
	Percent float64 `json:"percent,omitempty"`
	// Error is why the step failed.
	Error string `json:"error,omitempty"`
}

// ResultEvent is the last event of a run. A run that failed has the fields of an error
// as well.
type ResultEvent struct {
	EventHeader
	// Job is the job's ID; "" if the run did not open one.
	Job string `json:"job"`
	// Changed reports whether the run changed anything.
	Changed bool    `json:"changed"`
	Outcome Outcome `json:"outcome"`
	// Seconds is the run's duration.
	Seconds float64 `json:"seconds,omitempty"`
	// Overlay is the path of the overlay that waits for accept or rollback.
	Overlay string `json:"overlay,omitempty"`
	// Next is the command to run.
	Next string `json:"next,omitempty"`
	// ManualSteps lists what the user still has to do.
	ManualSteps []string `json:"todo,omitempty"`
	// Messages say what a job without a plan did.
	Messages []string `json:"said,omitempty"`
	// Commands are the commands that the guest ran for the job.
	Commands []live.CommandResult `json:"ran,omitempty"`
	// Guests are the guests of a batch.
	Guests []BatchGuest `json:"guests,omitempty"`
	*Trouble
}

// RehearsalEvent is the last event of a rehearsal that was carried out.
type RehearsalEvent struct {
	EventHeader
	// Job is the ID of the rehearsal's job, which no longer exists.
	Job string `json:"job"`
	// Changed is always false.
	Changed bool    `json:"changed"`
	Outcome Outcome `json:"outcome"`
	// Seconds is the rehearsal's duration.
	Seconds float64 `json:"seconds"`
	// FromSnapshot reports that the rehearsal used a snapshot of a running guest's disk.
	FromSnapshot bool `json:"viewed"`
	// Frozen is how many seconds the guest's file systems were frozen.
	Frozen float64 `json:"frozen_seconds,omitempty"`
	// Scratch is how many bytes the guest overwrote during the rehearsal.
	Scratch size.Bytes `json:"scratch_bytes,omitempty"`
	// Edit is how many seconds the steps on the overlay take.
	Edit float64 `json:"edit_seconds,omitempty"`
	// Outage is how many seconds the guest will be away.
	Outage float64 `json:"outage_seconds,omitempty"`
	// Reserve is how many seconds a rollback adds to the outage.
	Reserve float64 `json:"rollback_seconds,omitempty"`
	// LeftOut are the devices whose content could not be grown in the rehearsal.
	LeftOut []string `json:"left_out,omitempty"`
}

func (e *Events) head(name string) EventHeader {
	return EventHeader{e.schema, name, e.now().UTC(), e.guest}
}

func (e *Events) write(v any) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	enc := json.NewEncoder(e.w)
	enc.SetEscapeHTML(false)
	// A closed pipe does not stop the run: the journal has the result.
	_ = enc.Encode(v)
}

// Opened writes a JobEvent.
func (e *Events) Opened(job string) { e.write(JobEvent{e.head("job"), job}) }

// Note writes a NoteEvent.
func (e *Events) Note(text string) { e.write(NoteEvent{e.head("note"), text}) }

// Planned writes a PlanEvent.
func (e *Events) Planned(p *plan.Plan) {
	e.steps = p.Steps
	e.write(PlanEvent{e.head("plan"), p})
}

// Online writes an OnlineEvent.
func (e *Events) Online(o Online) { e.write(OnlineEvent{e.head("plan"), o}) }

// Listed writes a StepsEvent, for a run without a plan.
func (e *Events) Listed(steps []plan.Step) {
	e.steps = steps
	e.write(StepsEvent{e.head("steps"), steps})
}

// Event writes a StepEvent.
func (e *Events) Event(step apply.Event) {
	f := StepEvent{EventHeader: e.head("step"), Phase: step.Phase, Step: step.Step.ID(), Kind: step.Step.Kind,
		Device: step.Step.Device, Summary: step.Step.Summary, Seconds: step.Took.Seconds(), Percent: step.Percent}
	if step.Err != nil {
		f.Error = step.Err.Error()
	}
	for i, s := range e.steps {
		if s.ID() == f.Step {
			f.Number, f.Of, f.Summary = i+1, len(e.steps), s.Summary
		}
	}
	e.write(f)
}

// Rehearsed writes a RehearsalEvent.
func (e *Events) Rehearsed(r RehearsalEvent) {
	r.EventHeader = e.head("result")
	e.write(r)
}

// Result writes a ResultEvent.
func (e *Events) Result(r ResultEvent) {
	r.EventHeader = e.head("result")
	e.write(r)
}
