// Package recordtest writes the directories of jobs, with fixed names and times, for the
// tests of what is shown of a job.
package recordtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Began is when every job begins.
var Began = time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)

// Job is a job's directory.
type Job struct {
	ID     string
	Header job.Header
	// Plan is the saved plan; nil for none.
	Plan *plan.Plan
	// Batch is the batch file; nil for none.
	Batch *batch.Batch
	// Origin is who runs each command.
	Origin job.Origin
	// Delay is how many seconds the job begins after Began.
	Delay float64
	// Log has the entries after the first one, a line each: the seconds since the first
	// entry, the entry's kind, and its step, text or exit code and text; of a part, its name
	// and data.
	Log string
}

// Write writes the job's directory.
func Write(t testing.TB, store journal.Store, j Job) {
	t.Helper()
	dir := store.DirOf(j.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if j.Plan != nil {
		var text bytes.Buffer
		if err := j.Plan.Write(&text); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "plan.json"), text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		j.Header.Steps = j.Plan.Steps
	}
	if j.Batch != nil {
		if err := j.Batch.WriteFile(filepath.Join(dir, batch.File)); err != nil {
			t.Fatal(err)
		}
	}
	log, err := journal.Open(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	entries := []journal.Entry{{Time: Began, Kind: journal.Opened, Data: encode(t, j.Header)}}
	for line := range strings.Lines(j.Log) {
		if line = strings.TrimSpace(line); line != "" {
			entries = append(entries, j.entry(t, line))
		}
	}
	for _, e := range entries {
		e.Time = e.Time.Add(plan.Seconds(j.Delay))
		if err := log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func (j Job) entry(t testing.TB, line string) journal.Entry {
	t.Helper()
	at, rest, _ := strings.Cut(line, " ")
	kind, rest, _ := strings.Cut(rest, " ")
	seconds, err := strconv.ParseFloat(at, 64)
	if err != nil {
		t.Fatal(err)
	}
	e := journal.Entry{Time: Began.Add(plan.Seconds(seconds)), Kind: journal.Kind(kind)}
	switch e.Kind {
	case journal.State, journal.Note:
		e.Text = rest
	case journal.Run:
		o := j.Origin
		o.Command = rest
		action := job.Start
		if a := job.Action(rest); a == job.Resume || a == job.Accept || a == job.Rollback {
			action = a
		}
		e.Data = encode(t, job.Running{Action: action, Origin: o})
	case journal.Ended:
		var exit int
		code, text, _ := strings.Cut(rest, " ")
		if _, err := fmt.Sscan(code, &exit); err != nil {
			t.Fatal(err)
		}
		e.Text, e.Data = text, encode(t, job.Ending{Exit: &exit})
	case journal.Part:
		name, data, _ := strings.Cut(rest, " ")
		e.Step, e.Data = name, json.RawMessage(data)
	default:
		e.Step, e.Text, _ = strings.Cut(rest, " ")
	}
	return e
}

func encode(t testing.TB, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
