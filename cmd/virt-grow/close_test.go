package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/online"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// makeJobOf writes the journal of a job of that kind, whose domain, libvirt and image do
// not exist.
func makeJobOf(t *testing.T, state string, kind string, steps []plan.Step, entries ...journal.Entry) string {
	t.Helper()
	j, err := journal.Store{Dir: state}.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	target := plan.Target{Path: filepath.Join(state, "gone.qcow2"), Format: "qcow2", Guest: &plan.Guest{Connect: "qemu+unix:///system?socket=/nowhere", Name: "gone", UUID: "0b1f", Disk: "vda"}}
	var data any = json.RawMessage(`{"plan":{"in_guest":"agent"},"left":[{"what":"fs","argv":["xfs_growfs","/"]}]}`)
	if kind == growth.Kind || kind == growth.KindRehearsal {
		data = map[string]string{"overlay": filepath.Join(state, "o.qcow2")}
	}
	header := headerOf(t, job.Header{Kind: kind, Target: target, Locks: []string{"disk-1-1"}, Steps: steps, Agreed: true}, data)
	for _, e := range append([]journal.Entry{{Kind: journal.Opened, Data: header}}, entries...) {
		e.Time = time.Now()
		if err := j.Log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// TestClose checks that each job can be ended by some command even if nothing that it
// needs exists any more.
func TestClose(t *testing.T) {
	done := func(step plan.StepKind) journal.Entry { return journal.Entry{Kind: journal.Done, Step: string(step)} }
	grows := []plan.Step{{Kind: plan.StepContainer, Summary: "grow vda of gone"}, {Kind: plan.StepInside, Summary: "grow the content in the guest"}}
	for _, c := range []struct {
		what    string
		kind    string
		steps   []plan.Step
		entries []journal.Entry
		accept  bool // without --as-is
		says    []string
	}{
		{what: "online, the disk has grown", kind: online.Kind, steps: grows, accept: true,
			entries: []journal.Entry{entered(journal.Working), begun("container"), done(plan.StepContainer), begun("inside")},
			says:    []string{"done: grow vda of gone", "begun, and perhaps done in part: grow the content in the guest", "xfs_growfs /"}},
		{what: "online, nothing was sent", kind: online.Kind, steps: grows, entries: []journal.Entry{entered(journal.Working)}, says: []string{"not done: grow vda of gone"}},
		{what: "growth that looks", kind: growth.Kind},
		{what: "growth that edits", kind: growth.Kind, entries: []journal.Entry{entered(journal.Editing), begun("fs:sda1")}},
		{what: "growth in its trial", kind: growth.Kind, entries: []journal.Entry{entered(journal.Trial), begun("health")}, says: []string{"kept: "}},
		{what: "growth that waits", kind: growth.Kind, entries: []journal.Entry{entered(journal.Waiting)}},
		{what: "growth in its commit", kind: growth.Kind, entries: []journal.Entry{entered(journal.Committing), begun("commit")}},
		{what: "growth in its pivot", kind: growth.Kind, entries: []journal.Entry{entered(journal.Committing), begun("pivot:vda")}},
		{what: "rehearsal", kind: growth.KindRehearsal, entries: []journal.Entry{entered(journal.Editing)}},
		{what: "attach", kind: device.KindAttach, steps: []plan.Step{{Kind: plan.StepPlug, Summary: "plug"}}, entries: []journal.Entry{entered(journal.Working), begun("plug")}},
		{what: "detach", kind: device.KindDetach, steps: []plan.Step{{Kind: plan.StepUnplug, Summary: "unplug"}}, entries: []journal.Entry{entered(journal.Working), begun("unplug")}},
		{what: "medium", kind: device.KindMedium, steps: []plan.Step{{Kind: plan.StepMedium, Summary: "insert"}}, entries: []journal.Entry{entered(journal.Working), begun("medium")}},
		{what: "edit", kind: files.KindEdit, steps: []plan.Step{{Kind: plan.StepCommit, Summary: "commit"}}, entries: []journal.Entry{entered(journal.Working), begun("commit")}},
		{what: "a kind of another version", kind: "unheard-of", steps: []plan.Step{{Kind: "strange", Summary: "strange"}}, entries: []journal.Entry{entered(journal.Working)}},
	} {
		t.Run(c.what, func(t *testing.T) {
			state := t.TempDir()
			if err := os.WriteFile(filepath.Join(state, "o.qcow2"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			id := makeJobOf(t, state, c.kind, c.steps, c.entries...)
			for _, command := range []string{"resume", "rollback"} {
				if got := try(t, state, command, id); got.exit == 0 || !strings.Contains(got.err, "accept "+id+" --as-is") {
					t.Errorf("%s: exit %d, %q", command, got.exit, got.err)
				}
			}
			words := []string{"accept", id, "--json"}
			if !c.accept {
				words = append(words, "--as-is")
			}
			got := try(t, state, words...)
			if got.exit != 0 || !strings.Contains(got.out, `"outcome":"closed"`) || !strings.Contains(got.out, `"changed":false`) {
				t.Errorf("accept: exit %d, %s%s", got.exit, got.out, got.err)
			}
			for _, say := range c.says {
				if !strings.Contains(got.out, say) {
					t.Errorf("it does not say %q: %s", say, got.out)
				}
			}
			if got := try(t, state, "jobs", "--json"); !strings.Contains(got.out, `"closed"`) || strings.Contains(got.out, "virt-grow --state") {
				t.Errorf("jobs: %s", got.out)
			}
			if got := try(t, state, "status", id); !strings.Contains(got.out, "closed as it was") {
				t.Errorf("status: %s", got.out)
			}
			if got := try(t, state, "accept", id, "--as-is"); got.exit != exitRefused {
				t.Errorf("twice: exit %d, %s", got.exit, got.err)
			}
			if _, err := os.Stat(filepath.Join(state, "o.qcow2")); err != nil {
				t.Error("the overlay is gone")
			}
		})
	}
}

// TestCloseDamaged checks that a job with an unreadable journal is moved away with all
// its files.
func TestCloseDamaged(t *testing.T) {
	state := t.TempDir()
	id := makeJobOf(t, state, growth.Kind, nil, entered(journal.Editing))
	damage(t, filepath.Join(state, "jobs", id, "journal"))
	if got := try(t, state, "resume", id); got.exit != exitUnrestored || !strings.Contains(got.err, "--as-is") {
		t.Errorf("resume: exit %d, %s", got.exit, got.err)
	}
	if got := try(t, state, "accept", id, "--as-is"); got.exit != 0 || !strings.Contains(got.out, filepath.Join(state, "closed", id)) {
		t.Errorf("exit %d, %s%s", got.exit, got.out, got.err)
	}
	if got := try(t, state, "jobs"); !strings.Contains(got.out, "no jobs") {
		t.Errorf("%s", got.out)
	}
	if _, err := os.Stat(filepath.Join(state, "closed", id, "journal")); err != nil {
		t.Error(err)
	}
}
