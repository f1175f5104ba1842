package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

var ctx = context.Background()

func reason(err error) plan.Reason {
	if r, ok := plan.IsRefusal(err); ok {
		return r.Reason
	}
	return ""
}

// cut runs a job that is killed at a point, and returns its name.
func cut(t *testing.T, w *world, kind, point string) string {
	t.Helper()
	if played := w.of(kind).Command("run " + point + "=kill"); !strings.Contains(played, "killed") {
		t.Fatalf("not killed: %s", played)
	}
	return w.ID
}

// verbs are all calls of the engine about one job.
func verbs(e *job.Engine) map[string]func(id string) error {
	return map[string]func(string) error{
		"resume":   func(id string) error { _, err := e.Resume(ctx, id); return err },
		"accept":   func(id string) error { _, err := e.Accept(ctx, id); return err },
		"rollback": func(id string) error { _, err := e.Rollback(ctx, id); return err },
		"close":    func(id string) error { _, err := e.Close(id); return err },
	}
}

// TestActive checks that only one process can work on a job, and that the status says
// so.
func TestActive(t *testing.T) {
	for kind, text := range map[string]string{"files": "The job is running (step name).", "overlay": "It is being edited."} {
		t.Run(kind, func(t *testing.T) {
			e, w := newWorld(t)
			step := strings.Fields(steps[kind])[1]
			e.Fault = func(_ context.Context, point string) error {
				if point != step+"/before" {
					return nil
				}
				id := w.job.ID()
				for verb, run := range verbs(&job.Engine{Options: job.Options{Store: e.Store}, Kinds: e.Kinds}) {
					if err := run(id); reason(err) != plan.JobActive {
						t.Errorf("%s: %v", verb, err)
					}
				}
				s, err := e.Status(id)
				if err != nil || !s.Active || len(s.Actions) > 0 || s.Text != text {
					t.Errorf("%+v, %v", s, err)
				}
				return nil
			}
			if _, err := e.Run(ctx, w.spec(kind)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLocks checks that a disk has only one process and one unfinished job.
func TestLocks(t *testing.T) {
	e, w := newWorld(t)
	release, err := e.Store.LockDisk("disk-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(ctx, w.spec("files")); reason(err) != plan.Locked {
		t.Errorf("run on a disk that is locked: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	id := cut(t, w, "files", "name/before")
	if _, err := e.Run(ctx, w.spec("overlay")); reason(err) != plan.JobActive || !strings.Contains(err.Error(), id) {
		t.Errorf("run on a disk with an unfinished job: %v", err)
	}
	if release, err = e.Store.LockDisk("disk-1"); err != nil {
		t.Fatal(err)
	}
	w.Trace()
	for _, verb := range []string{"resume", "rollback"} {
		if err := verbs(e)[verb](id); reason(err) != plan.Locked || w.Trace() != "" {
			t.Errorf("%s on a disk that is locked: %v", verb, err)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	damage(t, e, id)
	if _, err := e.Run(ctx, w.spec("overlay")); reason(err) != plan.JobActive {
		t.Errorf("run on a disk of a job with a damaged journal: %v", err)
	}
	if _, err := e.Close(id); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(ctx, w.spec("overlay")); err != nil {
		t.Errorf("run when the other job is closed: %v", err)
	}
}

// foreign sets the schema of a job's journal to another version.
func foreign(t *testing.T, e *job.Engine, id string) {
	t.Helper()
	path := filepath.Join(e.Store.DirOf(id), "journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	text := strings.Replace(first[9:], journal.Schema, "virt-grow/job/v2", 1)
	data = fmt.Appendf(nil, "%08x %s\n%s", crc32.ChecksumIEEE([]byte(text)), text, rest)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// damage changes a byte in the middle of a job's journal, behind its first entry.
func damage(t *testing.T, e *job.Engine, id string) {
	t.Helper()
	path := filepath.Join(e.Store.DirOf(id), "journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[slices.Index(data, '\n')+20] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRefused checks that journals that this version cannot read are not changed.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		kind   string
		spoil  func(*testing.T, *job.Engine, string)
		says   string // the error of resume, accept and rollback
		text   string // the text of the status
		closes bool
	}{
		"newer schema": {kind: "files", spoil: foreign, says: "virt-grow/job/v2"},
		"unknown kind": {kind: "strange", spoil: func(*testing.T, *job.Engine, string) {}, says: `does not know the kind of job "strange"`, text: "The job cannot be opened", closes: true},
		"damaged":      {kind: "files", spoil: damage, says: "damaged", closes: true},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := newWorld(t)
			id := newJob(t, e, job.Header{Kind: c.kind, Steps: stepsOf("create name"), Locks: []string{"disk-1"}})
			c.spoil(t, e, id)
			path := filepath.Join(e.Store.DirOf(id), "journal")
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"resume", "accept", "rollback"} {
				if err := verbs(e)[verb](id); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v", verb, err)
				}
			}
			all, err := e.List()
			if err != nil || len(all) != 1 || len(all[0].Actions) > 0 || (all[0].Err == nil) != (c.text != "") || !strings.Contains(all[0].Text, c.text) {
				t.Errorf("list: %+v, %v", all, err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(before) {
				t.Errorf("its journal has changed, %v", err)
			}
			if err := verbs(e)["close"](id); (err == nil) != c.closes {
				t.Errorf("close: %v", err)
			}
			if s, err := e.Status(id); c.text != "" && (err != nil || !strings.HasPrefix(s.Text, "The job was closed as it was")) {
				t.Errorf("closed: %q, %v", s.Text, err)
			}
			if now, err := os.ReadFile(path); !c.closes && (err != nil || string(now) != string(before)) {
				t.Errorf("its journal has changed, %v", err)
			}
		})
	}
	e, _ := newWorld(t)
	for verb, run := range verbs(e) {
		if err := run("20260131-101500-3f2a"); reason(err) != plan.NotFound {
			t.Errorf("%s of no job: %v", verb, err)
		}
	}
	if _, err := e.Status("20260131-101500-3f2a"); err == nil {
		t.Error("no job has a status")
	}
}

// newJob writes a job with only a header, and several states.
func newJob(t *testing.T, e *job.Engine, h job.Header) string {
	t.Helper()
	held, err := e.Store.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	header, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range []journal.Entry{
		{Kind: journal.Opened, Data: header}, {Kind: journal.State, Text: string(journal.Opening)}, {Kind: journal.State, Text: string(journal.Working)},
	} {
		if err := held.Log.Append(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	return held.ID
}

// TestLeftovers checks that processes left by a killed job are ended before the first
// step.
func TestLeftovers(t *testing.T) {
	for _, verb := range []string{"resume", "rollback", "close"} {
		t.Run(verb, func(t *testing.T) {
			e, w := newWorld(t)
			left := exec.Command("sleep", "60")
			if err := left.Start(); err != nil {
				t.Fatal(err)
			}
			proc, err := block.Identify("sleep", left.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- left.Wait() }()
			e.Fault = func(ctx context.Context, point string) error {
				if point == "name/before" {
					w.job.Started(proc)
				}
				return w.Fault(ctx, point)
			}
			id := cut(t, w, "files", "name/before")
			if s, err := e.Status(id); err != nil || len(s.Processes) != 1 {
				t.Errorf("%+v, %v", s, err)
			}
			e.Fault = func(context.Context, string) error {
				if block.Alive(proc) {
					t.Error("a step began while a dead process's own was running")
				}
				return nil
			}
			if err := verbs(e)[verb](id); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
}

// connected is a toy that needs a connection.
type connected struct {
	*files
	err error
}

func (c *connected) Connect(context.Context) error {
	c.Did("connect")
	return c.err
}
func (c *connected) Disconnect() error { c.Did("disconnect"); return nil }

// TestConnected checks that a job that is continued is connected first, and that every
// run disconnects.
func TestConnected(t *testing.T) {
	e, w := newWorld(t)
	broken := errors.New("no libvirt")
	var fails error
	e.Kinds["files"] = func(j *job.Job) (job.Work, error) { return &connected{&files{w.toy(j)}, fails}, nil }
	id := cut(t, w, "files", "name/before")
	if done := w.Trace(); done != "create disconnect" {
		t.Errorf("new: %s", done)
	}
	fails = broken
	_, err := e.Resume(ctx, id)
	if done := w.Trace(); !errors.Is(err, broken) || done != "connect" {
		t.Errorf("broken: %s, %v", done, err)
	}
	fails = nil
	_, err = e.Rollback(ctx, id)
	if done := w.Trace(); err != nil || done != "connect -name -create disconnect" {
		t.Errorf("rollback: %s, %v", done, err)
	}
}

// TestTold checks the messages about a run, and about a closed job.
func TestTold(t *testing.T) {
	e, w := newWorld(t)
	var events, notes []string
	var listed []plan.Step
	e.Emit = func(ev apply.Event) { events = append(events, string(ev.Phase)+" "+ev.Step.ID()) }
	e.Note = func(text string) { notes = append(notes, text) }
	e.Listed = func(steps []plan.Step) { listed = steps }
	out, err := e.Run(ctx, w.spec("forward"))
	if err != nil || !slices.Equal(out.Messages, []string{"it is sent"}) || out.Took <= 0 || len(listed) != 3 || !slices.Contains(events, "finished inside") {
		t.Errorf("%+v, %v; %v, %v", out, err, events, listed)
	}
	w.job.Progress(plan.Step{Kind: "send"}, 50)
	w.job.Note("half of %s", "it")
	if events[len(events)-1] != "progress send" || !slices.Equal(notes, []string{"half of it"}) {
		t.Errorf("%v, %v", events, notes)
	}

	id := cut(t, w, "forward", "inside/before")
	out, err = e.Accept(ctx, id)
	want := []string{"done: the step prepare", "done: the step send", "begun, and perhaps done in part: the step inside"}
	if err != nil || out.State != journal.Closed || !slices.Equal(out.Messages, want) || !strings.Contains(strings.Join(out.ManualSteps, ""), "use it") {
		t.Errorf("closed: %+v, %v", out, err)
	}
	id = cut(t, w, "files", "create/before")
	out, err = e.Close(id)
	want = []string{"begun, and perhaps done in part: the step create", "not done: the step name", "kept: " + filepath.Join(e.Store.DirOf(id), "lock")}
	if err != nil || !slices.Equal(out.Messages, want) {
		t.Errorf("closed: %+v, %v", out, err)
	}
}

// TestDescribe checks that the status describes the state of a job.
func TestDescribe(t *testing.T) {
	for _, c := range []struct{ kind, run, then, text string }{
		{"files", "run", "", "The job is done."},
		{"files", "run name/before=error", "", "The job was rolled back: everything is as it was before."},
		{"files", "run name/before=kill", "", "The job was interrupted (step name). Resume does the remaining steps, rollback undoes the completed ones."},
		{"forward", "run inside/before=kill", "", "The job was interrupted (step inside). Completed steps cannot be undone: resume does the remaining steps, accept closes the job as it is."},
		{"files", "run name/before=kill", "close", "The job was closed as it was (step name): nothing more is done or undone."},
		{"files", "run open=kill", "", "The job ended before it did anything."},
		{"overlay", "keep", "", "It is waiting."},
	} {
		t.Run(c.kind+" "+c.run+" "+c.then, func(t *testing.T) {
			e, w := newWorld(t)
			w.of(c.kind).Command(c.run)
			if c.then != "" {
				w.Command(c.then)
			}
			if s, err := e.Status(w.ID); err != nil || s.Text != c.text {
				t.Errorf("%q, %v", s.Text, err)
			}
		})
	}
}

// TestData checks that the kind's data and the plan survive a crash.
func TestData(t *testing.T) {
	e, w := newWorld(t)
	agreed := &plan.Plan{Schema: plan.Schema, Target: plan.Target{Path: "/a"}, OldSize: size.MiB, NewSize: size.GiB,
		Before: &plan.Layout{Devices: []plan.Device{{Name: "sda"}}}, After: &plan.Layout{Devices: []plan.Device{{Name: "sda"}}}, Steps: stepsOf("create name")}
	e.Fault = func(ctx context.Context, point string) error {
		if point == "create/before" {
			if err := errors.Join(w.job.Save([]int{1, 2}), w.job.Agree(agreed)); err != nil {
				t.Error(err)
			}
		}
		return w.Fault(ctx, point)
	}
	id := cut(t, w, "files", "name/before")
	e.Fault = func(context.Context, string) error {
		var data []int
		if err := w.job.Load(&data); err != nil || !slices.Equal(data, []int{1, 2}) {
			t.Errorf("%v, %v", data, err)
		}
		if w.job.Begins("name") != 2 || !w.job.Begun("name") || w.job.Begins("create") != 1 || !w.job.Completed("create") || w.job.Completed("name") {
			t.Errorf("name was begun %d times", w.job.Begins("name"))
		}
		return nil
	}
	out, err := e.Resume(ctx, id)
	if err != nil || out.Plan == nil || out.Plan.NewSize != size.GiB {
		t.Errorf("%+v, %v", out, err)
	}
	if got := w.job.PathNextTo("/img/a.raw", ".qcow2"); got != "/img/a.raw.virt-grow-"+id+".qcow2" {
		t.Error(got)
	}
	if h := w.job.Header(); h.Kind != "files" || w.job.Target().Path != "/img/files" {
		t.Errorf("%+v", h)
	}
}

// TestHook checks that a user's hook gets the job's data in its environment.
func TestHook(t *testing.T) {
	e, w := newWorld(t)
	s := w.spec("files")
	s.Target.Guest = &plan.Guest{Name: "dev7", Disk: "vda", Connect: "test:///default"}
	s.Target.More = []plan.DiskTarget{{Disk: "vdb", Path: "/img/more"}}
	told := filepath.Join(t.TempDir(), "told")
	e.Fault = func(_ context.Context, point string) error {
		if point != "create/before" {
			return nil
		}
		command := fmt.Sprintf(`echo "$VIRT_GROW_PHASE $VIRT_GROW_JOB $VIRT_GROW_DOMAIN $VIRT_GROW_DISK $VIRT_GROW_DISKS $VIRT_GROW_IMAGE" > %s`, told)
		if err := w.job.Hook(ctx, "post", ""); err != nil {
			t.Error(err)
		}
		if err := w.job.Hook(ctx, "post", "exit 3"); err == nil || !strings.Contains(err.Error(), "the post command failed") {
			t.Error(err)
		}
		return w.job.Hook(ctx, "pre", command)
	}
	if _, err := e.Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(told)
	if want := "pre " + w.job.ID() + " dev7 vda vda vdb /img/files\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
}

// learnsPerFile checks that the time for one file is learned from a step that reads the
// inodes of many files, and the base time from one with few files.
func learnsPerFile(t *testing.T, known *job.Timings, g *plan.Guest) {
	t.Helper()
	check := plan.Step{Kind: plan.StepCheck, Content: "xfs", Full: true, Files: 100}
	known.Learn(g, apply.Event{Phase: apply.Finished, Step: check, Took: 2 * time.Second})
	check.Files = 1000000
	known.Learn(g, apply.Event{Phase: apply.Finished, Step: check, Took: 42 * time.Second})
	check.Files = 500000
	p := &plan.Plan{Steps: []plan.Step{check}}
	if known.Tune(p); math.Abs(p.Steps[0].Seconds-22) > 0.01 {
		t.Errorf("a check of 500,000 files is to take %v s, want 22", p.Steps[0].Seconds)
	}
}

// learnsFromOthers checks that the first estimate for a guest is the median of the host's
// other guests, and the second one its own time.
func learnsFromOthers(t *testing.T, known *job.Timings, start plan.Step) {
	t.Helper()
	learn := func(uuid string, s plan.Step, took time.Duration) {
		known.Learn(&plan.Guest{UUID: uuid}, apply.Event{Phase: apply.Finished, Step: s, Took: took})
	}
	estimate := func(s plan.Step) float64 {
		p := &plan.Plan{Target: plan.Target{Guest: &plan.Guest{UUID: "new"}}, Steps: []plan.Step{s}}
		known.Tune(p)
		return p.Steps[0].Seconds
	}
	learn("quick", start, 3*time.Second)
	learn("slow", start, 10*time.Minute)
	learn("quick", plan.Step{Kind: plan.StepExtend, Content: "ntfs"}, 7*time.Second)
	if got := estimate(start); got != 15 {
		t.Errorf("%v s, want the median of 3, 15 and 600 s", got)
	}
	if got := estimate(plan.Step{Kind: plan.StepExtend, Content: "ntfs"}); got != 7 {
		t.Errorf("ntfs: %v s", got)
	}
	usual, _ := plan.Usual(plan.Step{Kind: plan.StepExtend, Content: "xfs"})
	if got := estimate(plan.Step{Kind: plan.StepExtend, Content: "xfs"}); got != usual {
		t.Errorf("xfs, which no guest has: %v s", got)
	}
	learn("new", start, 40*time.Second)
	if got := estimate(start); got != 40 {
		t.Errorf("%v s, want the guest's own time", got)
	}
}

// TestTimings checks that the durations of steps are saved, and used in the next plan.
func TestTimings(t *testing.T) {
	dir := t.TempDir()
	e, w := newWorld(t)
	e.Timings = job.LoadTimings(dir)
	if _, err := e.Run(ctx, w.spec("files")); err != nil {
		t.Fatal(err)
	}
	known := job.LoadTimings(dir)
	if _, ok := known.Seconds["create/"]; !ok {
		t.Errorf("%v", known.Seconds)
	}
	g := &plan.Guest{UUID: "0b1f"}
	start, copied := plan.Step{Kind: plan.StepStart, Seconds: 1}, plan.Step{Kind: plan.StepMove, Bytes: size.GiB, Seconds: 1}
	for _, took := range []time.Duration{10 * time.Second, 20 * time.Second} {
		known.Learn(g, apply.Event{Phase: apply.Finished, Step: start, Took: took})
		known.Learn(g, apply.Event{Phase: apply.Finished, Step: copied, Took: took})
		known.Learn(g, apply.Event{Phase: apply.Failed, Step: start, Took: time.Hour})
	}
	p := &plan.Plan{Target: plan.Target{Guest: g}, Steps: []plan.Step{start, copied}}
	known.Tune(p)
	if p.Steps[0].Seconds != 15 || p.Steps[1].Seconds != 1 {
		t.Errorf("%v", p.Steps)
	}
	learnsPerFile(t, known, g)
	learnsFromOthers(t, known, start)
	var none *job.Timings
	none.Learn(g, apply.Event{Phase: apply.Finished, Step: start})
	none.Tune(p)
	if err := none.Save(); err != nil || p.Steps[0].Seconds != 15 {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rates.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := job.LoadTimings(dir); len(again.Seconds) > 0 {
		t.Errorf("%v", again.Seconds)
	}
}

// TestDryRun checks the dry run of a new job: its steps, and no trace of it. Sequences run
// every action on a job dry.
func TestDryRun(t *testing.T) {
	_, w := newWorld(t)
	p := w.of("files")
	before, err := os.ReadDir(p.Engine.Store.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var listed []plan.Step
	p.Engine.DryRun, p.Engine.Listed = true, func(steps []plan.Step) { listed = steps }
	out, err := p.Start(t.Context(), "run")
	after, _ := os.ReadDir(p.Engine.Store.Dir)
	if err != nil || out.Changed || out.Job != "" || len(out.Steps) != 2 || len(listed) != 2 || p.Trace() != "" || len(after) != len(before) {
		t.Errorf("%+v, %v, listed %v, files %v", out, err, listed, after)
	}
}
