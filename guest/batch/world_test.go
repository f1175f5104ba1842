package batch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// outage is how long every guest is expected to be away.
const outage = 40 * time.Second

// begun is when every batch begins.
var begun = time.Date(2026, 1, 31, 2, 0, 0, 0, time.UTC)

// world has guests in memory, and their jobs. It implements batch.Jobs.
type world struct {
	mu      sync.Mutex
	changed *sync.Cond
	now     time.Time
	guests  map[string]*machine
	jobs    map[string]*growth
	// trace has what has happened, as "GUEST WHAT".
	trace []string
	// behave is what goes wrong with a guest, hold what has to have happened before a guest
	// goes on from a point ("GUEST WHAT").
	behave map[string]string
	hold   map[string]string
	// boots, launched and away count the guests that are prepared, the appliances and the
	// outages now, with their maxima.
	boots, mostBoots, launched, mostLaunched, away, mostAway int
}

// machine is a guest.
type machine struct{ off, grown bool }

// growth is the job of a guest.
type growth struct {
	guest string
	state journal.JobState
}

func newWorld(names ...string) *world {
	w := &world{now: begun, guests: map[string]*machine{}, jobs: map[string]*growth{}, behave: map[string]string{}, hold: map[string]string{}}
	w.changed = sync.NewCond(&w.mu)
	for _, name := range names {
		w.guests[name] = &machine{}
	}
	return w
}

// clone returns the world as it is now, without its faults. The caller holds the mutex.
func (w *world) clone() *world {
	c := newWorld()
	c.now = w.now
	for name, m := range w.guests {
		copied := *m
		c.guests[name] = &copied
	}
	for id, g := range w.jobs {
		copied := *g
		c.jobs[id] = &copied
	}
	return c
}

// did records what happens, and waits for what the test holds the guest for.
func (w *world) did(ctx context.Context, guest, what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, guest+" "+what)
	w.changed.Broadcast()
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock() // or it ends between the question below and the wait
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	for {
		other, held := w.hold[guest+" "+what]
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !held || slices.Contains(w.trace, other):
			return nil
		}
		w.changed.Wait()
	}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.mostBoots, w.mostLaunched, w.mostAway = max(w.mostBoots, w.boots), max(w.mostLaunched, w.launched), max(w.mostAway, w.away)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Grow plays the growth of one guest.
func (w *world) Grow(ctx context.Context, g batch.Guest, watch batch.Watch) (*job.Outcome, error) {
	if w.behave[g.Name] == "stale" {
		return nil, plan.Refuse(plan.StalePlan, g.Name, "%s has changed", g.Name)
	}
	id := "job-" + g.Name
	w.set(func() {
		for w.jobs[id] != nil {
			id += "+"
		}
		w.jobs[id] = &growth{g.Name, journal.Opening}
		w.launched++
		w.boots++
	})
	launched := true
	ends := func() {
		if launched {
			launched = false
			w.set(func() { w.launched-- })
		}
	}
	defer ends()
	watch.Opened(id)
	err := w.did(ctx, g.Name, "prepares")
	if err == nil && w.behave[g.Name] == "launch" {
		err = errors.New("the appliance does not start")
	}
	w.set(func() { w.boots-- })
	if err == nil {
		err = w.did(ctx, g.Name, "is ready")
	}
	if err == nil {
		err = watch.Admit(ctx, g.Plan)
	}
	if err == nil && !watch.End.IsZero() && w.clock().Add(g.Plan.Outage()+g.Plan.Reserve()).After(watch.End) {
		err = plan.Refuse(plan.Window, g.Name, "the window is too short")
	}
	if err != nil {
		w.set(func() { delete(w.jobs, id) })
		_ = w.did(context.Background(), g.Name, "gives up")
		return nil, err
	}
	return w.outage(ctx, id, watch, ends)
}

func (w *world) job(id string) *growth {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs[id]
}

// outage plays the rest of a growth, from any state.
func (w *world) outage(ctx context.Context, id string, watch batch.Watch, edited func()) (*job.Outcome, error) {
	j := w.job(id)
	g, name := w.guests[j.guest], j.guest
	step := func(kind plan.StepKind, phase apply.Phase) {
		watch.Step(apply.Event{Phase: phase, Step: plan.Step{Kind: kind}})
	}
	fails := func(what string) error {
		if err := w.did(ctx, name, what); err != nil {
			return err
		}
		if w.behave[name] == what || w.behave[name] == "stuck" && what == "boots" {
			return errors.New("it fails when it " + what)
		}
		return nil
	}
	enter := func(s journal.JobState) { w.set(func() { j.state = s }) }
	if j.state == journal.Opening || j.state == journal.Editing {
		enter(journal.Editing)
		step(plan.StepShutdown, apply.Started)
		if w.behave[name] == "goes off" {
			w.set(func() { j.state = journal.RolledBack })
			return nil, &job.Failure{Err: plan.Refuse(plan.ShutdownTimeout, name, "%s does not stop", name), Job: id, Restored: true}
		}
		w.set(func() { g.off = true; w.away++ })
		err := fails("goes off")
		edited()
		step(plan.StepSwitch, apply.Started)
		enter(journal.Trial)
		step(plan.StepStart, apply.Started)
		if err == nil {
			err = fails("boots")
		}
		w.set(func() { w.away-- })
		if err != nil {
			f := &job.Failure{Err: err, Job: id, Stopped: true}
			if w.behave[name] != "stuck" {
				f.Restored = true
				w.set(func() { g.off = false; j.state = journal.RolledBack })
				step(plan.StepShutdown, apply.Undone)
			}
			return nil, f
		}
		w.set(func() { g.off = false; w.now = w.now.Add(outage) })
		step(plan.StepHealth, apply.Finished)
		if w.behave[name] == "manual" {
			enter(journal.Waiting)
			return &job.Outcome{Job: id, State: journal.Waiting, Changed: true}, nil
		}
	}
	enter(journal.Committing)
	step(plan.StepPivot, apply.Started)
	_ = w.did(context.Background(), name, "commits")
	w.set(func() { g.off, g.grown, j.state = false, true, journal.Finished })
	return &job.Outcome{Job: id, State: journal.Finished, Changed: true}, nil
}

// Continue plays an action on a job.
func (w *world) Continue(ctx context.Context, g batch.Guest, id string, a job.Action, watch batch.Watch) (*job.Outcome, error) {
	j := w.job(id)
	watch.Opened(id)
	if !slices.Contains(actionsOf(j.state), a) {
		return nil, plan.Refuse(plan.JobState, id, "no %s of a job that is %s", a, j.state)
	}
	if w.behave[g.Name] == "no "+string(a) {
		return nil, &job.Failure{Err: errors.New("the disk is full"), Job: id, Begun: true, Forward: a != job.Rollback}
	}
	switch a {
	case job.Rollback:
		_ = w.did(context.Background(), g.Name, "is rolled back")
		w.set(func() { w.guests[g.Name].off, j.state = false, journal.RolledBack })
		return &job.Outcome{Job: id, State: journal.RolledBack, Changed: true}, nil
	case job.Accept:
		w.set(func() { j.state = journal.Committing })
	}
	return w.outage(ctx, id, watch, func() {})
}

func actionsOf(s journal.JobState) []job.Action {
	switch {
	case s.Ended():
		return nil
	case s == journal.Committing:
		return []job.Action{job.Resume}
	case s == journal.Waiting:
		return []job.Action{job.Accept, job.Rollback}
	}
	return []job.Action{job.Resume, job.Rollback}
}

// Status returns what the journal of a guest's job says.
func (w *world) Status(id string) (job.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j, ok := w.jobs[id]
	if !ok {
		return job.Status{}, journal.ErrNoJob
	}
	return job.Status{ID: id, Record: journal.Record{State: j.state}, Actions: actionsOf(j.state)}, nil
}

// check returns what is wrong with the world at the end: a guest that is off, or a job that
// has not ended.
func (w *world) check() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(w.guests)) {
		if w.guests[name].off {
			errs = append(errs, fmt.Errorf("%s is off", name))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.jobs)) {
		if !w.jobs[id].state.Ended() {
			errs = append(errs, fmt.Errorf("%s is %s", id, w.jobs[id].state))
		}
	}
	return errors.Join(errs...)
}

// stage is a batch on a world.
type stage struct {
	*world
	batch  *batch.Batch
	engine *job.Engine
	id     string
}

// newStage returns a batch of guests named a, b, c, … as the words of a line say:
//
//	a b c canary=1 parallel=2 stop=1 end=3m b:boots
//
// "b:boots" is what goes wrong with a guest: the last word is one of the world's points, or
// "stale", "launch", "manual", "refused", "stuck". "end=3m" is when the window ends.
func newStage(t *testing.T, line string) *stage {
	t.Helper()
	b := &batch.Batch{Schema: batch.Schema, Connect: "test:///default", Parallel: 1, StopAfter: 1}
	s := &stage{world: newWorld(), batch: b, engine: &job.Engine{}}
	s.engine.Store = journal.Store{Dir: t.TempDir()}
	s.engine.Opened = func(id string) { s.id = id }
	canary := 0
	for _, word := range strings.Fields(line) {
		name, behaviour, wrong := strings.Cut(word, ":")
		switch key, value, setting := strings.Cut(word, "="); {
		case wrong:
			s.behave[name] = strings.ReplaceAll(behaviour, "_", " ")
		case !setting:
			s.guests[word] = &machine{}
			b.Guests = append(b.Guests, planned(word))
		case key == "end":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			b.Window.End = begun.Add(d).Format(time.RFC3339)
		default:
			n := map[string]*int{"canary": &canary, "parallel": &b.Parallel, "stop": &b.StopAfter}[key]
			if _, err := fmt.Sscan(value, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range b.Guests {
		g := &b.Guests[i]
		if i < canary {
			b.Canary = append(b.Canary, g.Name)
		}
		if s.behave[g.Name] == "refused" {
			g.Plan, g.Refusal = nil, &batch.Refusal{Reason: batch.Reason(plan.NotFound), Message: "there is no domain " + g.Name}
		}
	}
	s.use(batch.Options{})
	return s
}

func planned(name string) batch.Guest {
	layout := func(n size.Bytes) *plan.Layout {
		return &plan.Layout{Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: n}}}
	}
	p := &plan.Plan{Schema: plan.Schema, OldSize: size.GiB, NewSize: 2 * size.GiB, Before: layout(size.GiB), After: layout(2 * size.GiB),
		Target: plan.Target{Path: "/images/" + name, Format: "raw", SectorSize: 512, Guest: &plan.Guest{Name: name, UUID: "uuid-" + name, Disk: "vda", Running: true, Trial: true}},
		Steps:  []plan.Step{{Kind: plan.StepShutdown, Seconds: outage.Seconds()}}}
	return batch.Guest{Name: name, UUID: "uuid-" + name, Plan: p, Outage: outage.Seconds(), Treatment: inventory.DefaultTreatment()}
}

// options adds what every run of the stage takes.
func (s *stage) options(o batch.Options) batch.Options {
	o.Options, o.Jobs, o.Now = s.engine.Options, s.world, s.clock
	o.Sleep = func(_ context.Context, d time.Duration) error {
		s.set(func() { s.now = s.now.Add(d) })
		return nil
	}
	return o
}

// use continues the stage's jobs with options.
func (s *stage) use(o batch.Options) {
	s.engine.Kinds = job.Kinds{batch.Kind: batch.Open(s.options(o))}
}

func (s *stage) apply(ctx context.Context) error {
	_, err := batch.Apply(ctx, s.batch, "/batch.json", s.options(batch.Options{}))
	return err
}

// do does an action on the batch. "resume" begins with the guests that are left, "finish"
// does not.
func (s *stage) do(ctx context.Context, action string) (err error) {
	s.trace = nil
	s.use(batch.Options{Begin: action == "resume"})
	switch action {
	case "resume", "finish":
		_, err = s.engine.Resume(ctx, s.id)
	case "accept":
		_, err = s.engine.Accept(ctx, s.id)
	case "rollback":
		_, err = s.engine.Rollback(ctx, s.id)
	}
	return err
}

// told returns the guests' outcomes, the batch's state and what can be done next:
// "a done, b left stopped > waiting: resume".
func (s *stage) told(t *testing.T) string {
	t.Helper()
	status, err := s.engine.Status(s.id)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, g := range batch.Standings(s.world, status) {
		words = append(words, strings.TrimSpace(g.Name+" "+string(g.Outcome)+" "+string(g.Reason)))
	}
	text := strings.Join(words, ", ") + " > " + string(status.Record.State)
	if len(status.Actions) > 0 {
		text += ": " + strings.Trim(fmt.Sprint(status.Actions), "[]")
	}
	return text
}

// copied returns the stage as a crash would leave it now. No guest changes meanwhile.
func (s *stage) copied(t *testing.T) *stage {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &stage{world: s.world.clone(), batch: s.batch, engine: &job.Engine{}, id: s.id}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "jobs"), os.DirFS(filepath.Join(s.engine.Store.Dir, "jobs"))); err != nil {
		t.Fatal(err)
	}
	c.engine.Store = journal.Store{Dir: dir}
	return c
}
