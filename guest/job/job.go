package job

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Job is one job, for its kind. A job that is only read has an ID and a header; methods that
// write need a job that this process has locked.
type Job struct {
	id, dir string
	header  Header
	work    Work

	engine *Engine
	held   *journal.Job // nil for a job that is only read
	// read is the record of a job that is only read.
	read   journal.Record
	run    *apply.Run
	unlock func() error
	// uninhibit ends what KeepHostUp has begun; nil if it has not.
	uninhibit func()
	// connected reports that the work must be disconnected at the end.
	connected bool
}

// ID returns the job's ID.
func (j *Job) ID() string { return j.id }

// Dir returns the job's directory, which only its owner can read.
func (j *Job) Dir() string { return j.dir }

// Header returns the job's present header.
func (j *Job) Header() Header { return j.header }

// Target returns what the job works on.
func (j *Job) Target() plan.Target { return j.header.Target }

// Steps returns the job's steps, as far as they are known.
func (j *Job) Steps() []plan.Step { return j.header.Steps }

// Load reads the kind's own data.
func (j *Job) Load(into any) error { return json.Unmarshal(j.header.Data, into) }

// Save writes the kind's own data to the journal.
func (j *Job) Save(data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	j.header.Data = text
	return j.writeHeader()
}

// PlanOf reads the plan that was confirmed for a job.
func PlanOf(store journal.Store, id string) (*plan.Plan, error) {
	f, err := store.PlanOf(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return plan.Read(f)
}

// Agree saves a confirmed plan and its steps, which the job carries out from here on.
func (j *Job) Agree(p *plan.Plan) error {
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		return err
	}
	if err := j.held.SavePlan(text.Bytes()); err != nil {
		return err
	}
	j.header.Steps = p.Steps
	if err := j.writeHeader(); err != nil {
		return err
	}
	return j.log(journal.Entry{Kind: journal.Planned})
}

// Plan returns the confirmed plan; nil if there is none.
func (j *Job) Plan() (*plan.Plan, error) {
	if !j.Record().Planned {
		return nil, nil
	}
	f, err := j.engine.Store.PlanOf(j.id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return plan.Read(f)
}

// PlanPath returns the path of the saved plan.
func (j *Job) PlanPath() string { return j.held.PlanPath() }

func (j *Job) writeHeader() error {
	data, err := json.Marshal(j.header)
	if err != nil {
		return err
	}
	return j.log(journal.Entry{Kind: journal.Opened, Data: data})
}

func (j *Job) log(e journal.Entry) error {
	e.Time = time.Now()
	return j.held.Log.Append(e)
}

// Record returns the present content of the journal.
func (j *Job) Record() journal.Record {
	if j.held == nil {
		return j.read
	}
	return journal.Replay(j.held.Log.Entries())
}

// Begun reports whether a step was begun and not undone.
func (j *Job) Begun(id string) bool { return Begun(j.Record(), id) }

// Begun reports whether a record has a step as begun and not undone.
func Begun(r journal.Record, id string) bool { return r.Done[id] || r.Running == id }

// Begins returns how often a step was begun, ever.
func (j *Job) Begins(id string) int {
	n := 0
	for _, e := range j.held.Log.Entries() {
		if e.Kind == journal.Begin && e.Step == id {
			n++
		}
	}
	return n
}

// Completed reports whether a step was completed when it was last begun, even if it has been
// undone since, or is being undone.
func (j *Job) Completed(id string) bool {
	done := false
	for _, e := range j.held.Log.Entries() {
		if e.Step == id && (e.Kind == journal.Begin || e.Kind == journal.Done) {
			done = e.Kind == journal.Done
		}
	}
	return done
}

// everDone reports whether any step was ever completed.
func (j *Job) everDone() bool {
	return slices.ContainsFunc(j.held.Log.Entries(), func(e journal.Entry) bool { return e.Kind == journal.Done })
}

// Enter records a new state of the job.
func (j *Job) Enter(s journal.JobState) error {
	return j.log(journal.Entry{Kind: journal.State, Text: string(s)})
}

// SavePart records how far a part of the job has come. Several goroutines may call it.
func (j *Job) SavePart(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return j.log(journal.Entry{Kind: journal.Part, Step: name, Data: text})
}

// NotBegun records that a step that was begun has done nothing.
func (j *Job) NotBegun(id string) error {
	return j.log(journal.Entry{Kind: journal.Undone, Step: id})
}

// Do runs one step.
func (j *Job) Do(ctx context.Context, s plan.Step) error { return j.run.Do(ctx, s) }

// Forward runs the steps that are not done, in order.
func (j *Job) Forward(ctx context.Context, steps []plan.Step) error {
	return j.run.Forward(ctx, steps, j.Record().Done)
}

// Undo undoes every step that was begun, in reverse order, and enters the state rolled-back. It
// does not fail if only the journal cannot be written, because everything is undone then.
func (j *Job) Undo(ctx context.Context, steps []plan.Step) error {
	if err := j.run.Back(ctx, steps, j.Begun); err != nil {
		return err
	}
	if err := j.Enter(journal.RolledBack); err != nil {
		j.Note("everything is undone, but %v: roll back again when there is room", err)
	}
	return nil
}

// Started records a process in the journal. A process that could not be recorded is
// ended with the others at the end of this process; only a crash could leave it.
func (j *Job) Started(p journal.Proc) {
	if data, err := json.Marshal(p); err == nil {
		_ = j.log(journal.Entry{Kind: journal.Process, Data: data})
	}
}

// Note shows a message to people, and keeps it for the record of the job.
func (j *Job) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	_ = j.log(journal.Entry{Kind: journal.Note, Text: text})
	j.show(text)
}

// Show shows a message to people, which is of no interest afterwards.
func (j *Job) Show(format string, args ...any) { j.show(fmt.Sprintf(format, args...)) }

func (j *Job) show(text string) {
	if j.engine.Note != nil {
		j.engine.Note(text)
	}
}

// KeepHostUp keeps the host from being shut down until the end of this run of the job, undo
// included. If that is not possible, the job goes on.
func (j *Job) KeepHostUp(why string) {
	if j.uninhibit != nil || j.engine.Inhibit == nil {
		return
	}
	release, err := j.engine.Inhibit(why)
	if err != nil {
		j.Note("%v", err)
	}
	j.uninhibit = release
}

// Progress reports the progress of a step, in percent.
func (j *Job) Progress(s plan.Step, percent float64) {
	j.emit(apply.Event{Phase: apply.Progress, Step: s, Percent: percent})
}

func (j *Job) emit(e apply.Event) {
	j.engine.Timings.Learn(j.header.Target.Guest, e)
	if j.engine.Emit != nil {
		j.engine.Emit(e)
	}
}

// Fault injects faults within a step, in tests.
func (j *Job) Fault(ctx context.Context, point string) error {
	if j.engine.Fault == nil {
		return nil
	}
	return j.engine.Fault(ctx, point)
}

// Timings returns the timings of earlier steps; nil if there are none.
func (j *Job) Timings() *Timings { return j.engine.Timings }

// PathNextTo names a file of the job next to another one.
func (j *Job) PathNextTo(path, ending string) string {
	return filepath.Join(filepath.Dir(path), filepath.Base(path)+".virt-grow-"+j.id+ending)
}

// forget deletes a job without any information of interest.
func (j *Job) forget() error { return os.RemoveAll(j.dir) }

// may reports whether the work offers an action now.
func (j *Job) may(a Action) bool { return slices.Contains(j.work.Actions(j.Record()), a) }
