package view

import (
	"encoding/json"
	"io"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
	ptable "github.com/virt-grow/virt-grow/plan/table"
)

// Schema is the name of a document's or an event's format.
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
	Free   []Extent     `json:"free"`
	// Default is what grows without --grow; "" where somebody has to say.
	Default string   `json:"default"`
	Growth  []Growth `json:"growth"`
	Notes   []string `json:"notes,omitempty"`
}

// TableObject is what there is to say about a partition table beside its
// partitions.
type TableObject struct {
	Kind       ptable.Kind      `json:"kind"`
	ID         string           `json:"id"`
	SectorSize size.Bytes       `json:"sector_size"`
	Hybrid     bool             `json:"hybrid,omitempty"`
	Problems   []ptable.Problem `json:"problems,omitempty"`
}

// Extent is a stretch of the disk.
type Extent struct {
	Start size.Bytes `json:"start"`
	Size  size.Bytes `json:"size"`
}

// InspectJSON writes the document of an inspection.
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
	Jobs   []Job  `json:"jobs"`
}

// JobsJSON writes the list of jobs.
func JobsJSON(w io.Writer, jobs []Job) error {
	if jobs == nil {
		jobs = []Job{}
	}
	return Document(w, JobsDocument{Schema("jobs"), jobs})
}

// StatusJSON writes one job.
func StatusJSON(w io.Writer, s Status) error {
	return Document(w, struct {
		Schema string `json:"schema"`
		Status
	}{Schema("status"), s})
}

// DoctorJSON writes the findings.
func DoctorJSON(w io.Writer, findings []Finding, ok bool) error {
	return Document(w, struct {
		Schema   string    `json:"schema"`
		OK       bool      `json:"ok"`
		Findings []Finding `json:"findings"`
	}{Schema("doctor"), ok, findings})
}

// Trouble is an error as a script reads it.
type Trouble struct {
	// Reason is the refusal's, or "usage", "failed", "interrupted",
	// "declined".
	Reason  string `json:"reason"`
	Subject string `json:"subject,omitempty"`
	Error   string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit"`
}

// TroubleJSON writes the document of a command that has no other.
func TroubleJSON(w io.Writer, t Trouble) error {
	return Document(w, struct {
		Schema string `json:"schema"`
		Trouble
	}{Schema("error"), t})
}

// Events writes a run's events, one a line.
type Events struct {
	w      io.Writer
	schema string
	now    func() time.Time
	steps  []plan.Step
}

// NewEvents makes the events of a command.
func NewEvents(w io.Writer, command string, now func() time.Time) *Events {
	return &Events{w: w, schema: Schema(command), now: now}
}

// event is what all events have.
type event struct {
	Schema string    `json:"schema"`
	Event  string    `json:"event"`
	Time   time.Time `json:"time"`
}

func (e *Events) head(name string) event {
	return event{e.schema, name, e.now().UTC()}
}

func (e *Events) write(v any) {
	enc := json.NewEncoder(e.w)
	enc.SetEscapeHTML(false)
	// Nobody who reads: the run goes on, the journal knows.
	_ = enc.Encode(v)
}

// Opened tells the job's name.
func (e *Events) Opened(job string) {
	e.write(struct {
		event
		Job string `json:"job"`
	}{e.head("job"), job})
}

// Note tells what goes on between steps.
func (e *Events) Note(text string) {
	e.write(struct {
		event
		Text string `json:"text"`
	}{e.head("note"), text})
}

// Planned tells the plan.
func (e *Events) Planned(p *plan.Plan) {
	e.steps = p.Steps
	e.write(struct {
		event
		Plan *plan.Plan `json:"plan"`
	}{e.head("plan"), p})
}

// Listed tells the steps of a run without a plan.
func (e *Events) Listed(steps []plan.Step) {
	e.steps = steps
	e.write(struct {
		event
		Steps []plan.Step `json:"steps"`
	}{e.head("steps"), steps})
}

// Event tells what a step is at.
func (e *Events) Event(step apply.Event) {
	type fields struct {
		event
		Phase   apply.Phase `json:"phase"`
		Step    string      `json:"step"`
		Kind    string      `json:"kind"`
		Device  string      `json:"device,omitempty"`
		Number  int         `json:"number,omitempty"`
		Of      int         `json:"of,omitempty"`
		Summary string      `json:"summary,omitempty"`
		Seconds float64     `json:"seconds,omitempty"`
		Percent float64     `json:"percent,omitempty"`
		Error   string      `json:"error,omitempty"`
	}
	f := fields{event: e.head("step"), Phase: step.Phase, Step: step.Step.ID(), Kind: string(step.Step.Kind),
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

// ResultEvent is the last event of a run.
type ResultEvent struct {
	Job     string  `json:"job"`
	Changed bool    `json:"changed"`
	Outcome string  `json:"outcome"`
	Seconds float64 `json:"seconds,omitempty"`
	Overlay string  `json:"overlay,omitempty"`
	Next    string  `json:"next,omitempty"`
	// ToDo is what is left to a person.
	ToDo []string `json:"todo,omitempty"`
	// Said is what came of a job without a plan, for people.
	Said []string `json:"said,omitempty"`
	// Ran are the commands that a guest has run for it.
	Ran []live.Ran `json:"ran,omitempty"`
	*Trouble
}

// RehearsalEvent is the last event of a rehearsal that could be carried out. Times
// are in seconds.
type RehearsalEvent struct {
	Job     string  `json:"job"`     // which is gone
	Changed bool    `json:"changed"` // never
	Outcome string  `json:"outcome"`
	Seconds float64 `json:"seconds"`
	// Viewed says that it was on a view of a running guest's disk, Frozen for how
	// long its file systems stood still for that, Scratch how much the guest
	// overwrote meanwhile.
	Viewed  bool       `json:"viewed"`
	Frozen  float64    `json:"frozen_seconds,omitempty"`
	Scratch size.Bytes `json:"scratch_bytes,omitempty"`
	// Edit is what the steps on the overlay took, Outage how long the guest will be
	// away, and Reserve how long a rollback takes beyond that.
	Edit    float64 `json:"edit_seconds,omitempty"`
	Outage  float64 `json:"outage_seconds,omitempty"`
	Reserve float64 `json:"rollback_seconds,omitempty"`
	// LeftOut are the devices whose content could not be grown in it.
	LeftOut []string `json:"left_out,omitempty"`
}

// Rehearsed tells how a rehearsal went.
func (e *Events) Rehearsed(r RehearsalEvent) {
	e.write(struct {
		event
		RehearsalEvent
	}{e.head("result"), r})
}

// Result tells how the run ended.
func (e *Events) Result(r ResultEvent) {
	e.write(struct {
		event
		ResultEvent
	}{e.head("result"), r})
}
