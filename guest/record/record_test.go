package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/record"
	"github.com/virt-grow/virt-grow/guest/record/recordtest"
	"github.com/virt-grow/virt-grow/plan/journal"
)

func engine(t *testing.T) *job.Engine {
	store := journal.Store{Dir: t.TempDir()}
	for _, j := range recordtest.Samples() {
		recordtest.Write(t, store, j)
	}
	return guest.Engine(guest.Options{Options: job.Options{Store: store}})
}

// text is a record in a line: the state, the outage, the health check, the exit codes, and the
// states of the steps.
func text(r *record.Record) string {
	words := []string{string(r.State)}
	if o := r.Outage; o != nil {
		words = append(words, fmt.Sprintf("outage %.1f of %.1f", o.Seconds, o.Estimate))
		if o.RolledBack {
			words = append(words, "back")
		}
	}
	if h := r.Health; h != nil {
		words = append(words, fmt.Sprintf("health %v %v", h.Passed, h.State))
	}
	for _, run := range r.Runs {
		exit := "none"
		if run.Exit != nil {
			exit = fmt.Sprint(*run.Exit)
		}
		words = append(words, run.Command+" by "+run.Sudo+" exit "+exit)
	}
	states := map[record.StepState]int{}
	for _, s := range r.Steps {
		states[s.State]++
	}
	return strings.Join(append(words, fmt.Sprint(states)), ", ")
}

func TestRead(t *testing.T) {
	e := engine(t)
	for name, want := range map[string]string{
		recordtest.Done:        "done, outage 28.9 of 25.6, health true done, grow by alice exit 0, map[done:15]",
		recordtest.RolledBack:  "rolled-back, outage 71.7 of 25.6, back, health false failed, grow by alice exit 7, map[done:7 failed:1 not-begun:3 undone:4]",
		recordtest.Older:       "done, map[done:10]",
		recordtest.Attached:    "done, disk-attach by alice exit 0, map[done:2]",
		recordtest.Interrupted: "editing, outage 0.0 of 25.6, health false not-begun, grow by alice exit none, map[done:3 interrupted:1 not-begun:11]",
		recordtest.Waiting:     "waiting, outage 28.9 of 25.6, health true done, grow by alice exit 0, map[done:12 not-begun:3]",
	} {
		r, err := record.Read(e, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(r); got != want {
			t.Errorf("%s is\n%s; want\n%s", name, got, want)
		}
	}
}
