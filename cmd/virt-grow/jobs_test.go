package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// makeJob writes a job's journal as a run would have left it.
func makeJob(t *testing.T, state string, at time.Time, agreed bool, entries ...journal.Entry) *journal.Job {
	t.Helper()
	j, err := journal.Store{Dir: state}.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	h := job.Header{Kind: string(growth.Kind), Target: plan.Target{Path: "/img/a.qcow2", Format: "qcow2", SectorSize: 512}, Agreed: agreed}
	data := headerOf(t, h, map[string]any{
		"old_size": size.GiB, "new_size": 2 * size.GiB, "overlay": filepath.Join(state, "o.qcow2"), "undo": filepath.Join(state, "u.qcow2"),
	})
	for _, e := range append([]journal.Entry{{Kind: journal.Opened, Data: data}}, entries...) {
		e.Time = at
		if err := j.Log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// headerOf returns the first entry of a job with this data.
func headerOf(t *testing.T, h job.Header, data any) json.RawMessage {
	t.Helper()
	var err error
	if h.Data, err = json.Marshal(data); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func entered(s journal.JobState) journal.Entry {
	return journal.Entry{Kind: journal.State, Text: string(s)}
}

func begun(step string) journal.Entry { return journal.Entry{Kind: journal.Begin, Step: step} }

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name      string
		agreed    bool
		entries   []journal.Entry
		says      string
		next      string
		otherwise string
	}{
		{"looking", false, nil, "before its plan was confirmed", "rollback", ""},
		{"looking, agreed", true, nil, "while it read the image", "resume", "rollback"},
		{"editing", true, []journal.Entry{entered(journal.Editing), begun("fs:sda1")}, "(step fs:sda1). The image is untouched", "resume", "rollback"},
		{"waiting", true, []journal.Entry{entered(journal.Waiting)}, "waits for accept or rollback", "accept", "rollback"},
		{"before the commit", true, []journal.Entry{entered(journal.Committing), begun("save-undo")}, "just before the commit", "resume", "rollback"},
		{"in the commit", true, []journal.Entry{entered(journal.Committing), begun("commit")}, "do not start the guest", "resume", "rollback"},
		{"done", true, []journal.Entry{entered(journal.Finished)}, "changes are in the image", "", ""},
		{"rolled back", true, []journal.Entry{entered(journal.RolledBack)}, "as it was before", "", ""},
		{"cancelled", true, []journal.Entry{entered(journal.Cancelled)}, "ended before anything", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := t.TempDir()
			j := makeJob(t, state, time.Now(), c.agreed, c.entries...)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			line := func(command string) string {
				if command == "" {
					return ""
				}
				return "virt-grow --state-dir " + state + " " + command + " " + j.ID
			}
			got := try(t, state, "status", "--json", j.ID[len(j.ID)-4:])
			var doc struct {
				Schema, ID, Target, State, Text, Next string
				Active                                bool
				Commands                              []struct{ Command string }
			}
			if err := json.Unmarshal([]byte(got.out), &doc); err != nil {
				t.Fatalf("%v: %q %q", err, got.out, got.err)
			}
			if doc.Schema != "virt-grow/status/v1" || doc.ID != j.ID || doc.Target != "/img/a.qcow2" || doc.Active {
				t.Errorf("%+v", doc)
			}
			if !strings.Contains(doc.Text, c.says) || doc.Next != line(c.next) {
				t.Errorf("says %q, next %q, want %q", doc.Text, doc.Next, line(c.next))
			}
			if c.otherwise != "" && (len(doc.Commands) != 3 || doc.Commands[1].Command != line(c.otherwise) || doc.Commands[2].Command != line("accept")+" --as-is") {
				t.Errorf("commands: %v", doc.Commands)
			}
			if got := try(t, state, "status", j.ID); got.exit != 0 || !strings.Contains(got.out, line(c.next)) {
				t.Errorf("for people: %q", got.out)
			}
		})
	}
}

// TestRunningJob checks that a job that a process holds, here this one, cannot be
// resumed.
func TestRunningJob(t *testing.T) {
	state := t.TempDir()
	j := makeJob(t, state, time.Now(), true, entered(journal.Editing), begun("fs:sda1"))
	defer j.Close()
	if got := try(t, state, "status", j.ID); !strings.Contains(got.out, "editing, running") || strings.Contains(got.out, "resume") {
		t.Errorf("%q", got.out)
	}
	for _, command := range []string{"resume", "rollback", "accept"} {
		if got := try(t, state, command, j.ID); got.exit != exitBusy || !strings.Contains(got.err, "status "+j.ID) {
			t.Errorf("%s: exit %d, %q", command, got.exit, got.err)
		}
	}
}

func TestJobs(t *testing.T) {
	state := t.TempDir()
	at := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	var ids []string
	for i, entries := range [][]journal.Entry{
		{entered(journal.Finished)}, {entered(journal.Waiting)}, {entered(journal.Editing), begun("table:sda")},
	} {
		j := makeJob(t, state, at.Add(time.Duration(i)*time.Minute), true, entries...)
		ids = append(ids, j.ID)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	damage(t, filepath.Join(state, "jobs", ids[2], "journal"))
	got := try(t, state, "jobs", "--json")
	var doc struct {
		Schema string
		Jobs   []map[string]any
	}
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "virt-grow/jobs/v1" || len(doc.Jobs) != 3 {
		t.Fatalf("%+v", doc)
	}
	for i, want := range []struct{ state, next string }{{"done", ""}, {"waiting", "accept"}, {"damaged", "status"}} {
		job := doc.Jobs[i]
		for _, name := range []string{"id", "target", "disk", "state", "next"} {
			if _, ok := job[name]; !ok {
				t.Errorf("job %d has no %q", i, name)
			}
		}
		if job["id"] != ids[i] || job["state"] != want.state || !strings.Contains(job["next"].(string), want.next) {
			t.Errorf("job %d: %v", i, job)
		}
	}
	if got := try(t, state, "status", ids[2]); got.exit != 0 || !strings.Contains(got.out, "cannot be read") {
		t.Errorf("damaged: exit %d, %q", got.exit, got.out)
	}
	if got := try(t, state, "resume", ids[2]); got.exit != exitUnrestored {
		t.Errorf("damaged: exit %d, %q", got.exit, got.err)
	}
}

// damage changes a byte in the middle of a journal.
func damage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestJobsUnfinished checks the list that a host shows when it starts.
func TestJobsUnfinished(t *testing.T) {
	state := t.TempDir()
	if got := try(t, state, "jobs", "--unfinished"); got.exit != 0 {
		t.Errorf("without a job: %+v", got)
	}
	var ids []string
	for i, s := range []journal.JobState{journal.Finished, journal.Waiting, journal.RolledBack, journal.Closed} {
		j := makeJob(t, state, time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC), true, entered(s))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	got := try(t, state, "jobs", "--unfinished", "--json")
	var doc struct{ Jobs []struct{ ID string } }
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || len(doc.Jobs) != 1 || doc.Jobs[0].ID != ids[1] || got.exit != 1 {
		t.Errorf("%v, %+v", err, got)
	}
}
