package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// runsOf returns the Run, Ended and Note entries of a job in a line.
func runsOf(t *testing.T, e *job.Engine, id string) string {
	t.Helper()
	s, err := e.Status(id)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, entry := range s.Entries {
		switch entry.Kind {
		case journal.Run:
			var r job.Running
			if err := json.Unmarshal(entry.Data, &r); err != nil {
				t.Fatal(err)
			}
			words = append(words, fmt.Sprintf("%s by %s", r.Action, r.Origin.User))
		case journal.Ended:
			var end job.Ending
			if err := json.Unmarshal(entry.Data, &end); err != nil {
				t.Fatal(err)
			}
			words = append(words, fmt.Sprintf("exit %d %s", *end.Exit, entry.Text))
		case journal.Note:
			words = append(words, "note "+entry.Text)
		}
	}
	return strings.Join(words, ", ")
}

// TestOrigin checks that the journal has who ran each command and how it ended, and nothing of
// a command that was refused.
func TestOrigin(t *testing.T) {
	e, w := newWorld(t)
	user := "alice"
	e.Origin = func() job.Origin { return job.Origin{User: user} }
	e.Exit = func(err error) int {
		if err != nil {
			return 7
		}
		return 0
	}
	id := cut(t, w, "forward", "inside/before")
	user = "bob"
	e.Fault = func(_ context.Context, point string) error {
		if point == "inside/before" {
			return errors.New("injected")
		}
		return nil
	}
	if _, err := e.Resume(ctx, id); err == nil {
		t.Error("the resume was to fail")
	}
	e.Fault = nil
	if _, err := e.Rollback(ctx, id); err == nil {
		t.Error("the rollback was to be refused")
	}
	before, err := e.Status(id)
	if err != nil {
		t.Fatal(err)
	}
	user = "carol"
	if _, err := e.Close(id); err != nil {
		t.Fatal(err)
	}
	want := "start by alice, resume by bob, exit 7 inside: injected, close by carol, exit 0 "
	if got := runsOf(t, e, id); got != want {
		t.Errorf("the journal has\n%s; want\n%s", got, want)
	}
	if after, err := e.Status(id); err != nil || !after.Record.Changed.After(before.Record.Changed) {
		t.Errorf("the job was closed, and last changed at %v and %v, %v", before.Record.Changed, after.Record.Changed, err)
	}
}

// TestNote checks that a message is kept, and one that is only shown is not.
func TestNote(t *testing.T) {
	e, w := newWorld(t)
	var shown []string
	e.Note = func(text string) { shown = append(shown, text) }
	e.Origin, e.Exit = nil, func(error) int { return 0 }
	e.Fault = func(_ context.Context, point string) error {
		if point == "name/before" {
			w.job.Note("kept")
			w.job.Show("shown")
		}
		return nil
	}
	if _, err := e.Run(ctx, w.spec("files")); err != nil {
		t.Fatal(err)
	}
	if want := "start by , note kept, exit 0 "; runsOf(t, e, w.ID) != want || strings.Join(shown, " ") != "kept shown" {
		t.Errorf("the journal has %s, and %q were shown", runsOf(t, e, w.ID), shown)
	}
}
