package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
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

// sample returns a sample with more entries in its journal.
func sample(name, more string) recordtest.Job {
	for _, j := range recordtest.Samples() {
		if j.ID == name {
			j.Log += "\n" + more
			return j
		}
	}
	panic("no sample " + name)
}

// outageText is an outage in a line: its phases with what they took, and the second outage.
func outageText(o *record.Outage) string {
	var words []string
	for _, p := range o.Phases {
		words = append(words, fmt.Sprintf("%s %.1f", p.Name, p.Seconds))
	}
	text := strings.Join(words, ", ") + fmt.Sprintf(" = %.1f", o.Seconds)
	if o.RolledBack {
		text += " back"
	}
	if o.Second > 0 {
		text += fmt.Sprintf(", then %.1f", o.Second)
	}
	return text
}

func TestOutage(t *testing.T) {
	const undone = `
		7200 run rollback
		7200 undoing start
		7201 undone start
		7201 undoing switch
		7202 undone switch
		7202 undoing shutdown
		7203 undone shutdown
		7203 state rolled-back
		7203 ended 0`
	for _, c := range []struct{ sample, more, want string }{
		{recordtest.Done, "", "shutdown 4.3, edit 3.9, start 1.5, health 19.2 = 28.9"},
		{recordtest.RolledBack, "", "shutdown 4.3, edit 3.9, start 1.5, health 60.0, rollback 2.0 = 71.7 back"},
		{recordtest.Interrupted, "", "shutdown 4.3, edit 1.0, start 0.0, health 0.0 = 0.0"},
		{recordtest.Interrupted, "100 run rollback\n100 undoing overlay\n101 undone overlay\n101 undoing shutdown\n102 undone shutdown",
			"shutdown 4.3, edit 82.5, start 0.0, health 0.0, rollback 2.0 = 88.8 back"},
		{recordtest.Interrupted, "100 run resume\n100 begin overlay\n101 done overlay\n101 begin start\n102 done start\n102 begin health\n110 done health",
			"shutdown 4.3, edit 83.5, start 1.0, health 8.0 = 96.8"},
		{recordtest.Waiting, undone, "shutdown 4.3, edit 3.9, start 1.5, health 19.2 = 28.9, then 3.0"},
	} {
		store := journal.Store{Dir: t.TempDir()}
		recordtest.Write(t, store, sample(c.sample, c.more))
		r, err := record.Read(guest.Engine(guest.Options{Options: job.Options{Store: store}}), c.sample)
		if err != nil {
			t.Fatal(err)
		}
		if got := outageText(r.Outage); got != c.want {
			t.Errorf("%s is\n%s; want\n%s", c.sample, got, c.want)
		}
	}
}

func TestBatch(t *testing.T) {
	r, err := record.Read(engine(t), recordtest.Batch)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, g := range r.Guests {
		text := fmt.Sprintf("%s %s %s %.1f", g.Name, g.Outcome, g.Reason, g.Outage)
		if g.Record != nil {
			text += " " + string(g.Record.State)
		}
		if g.Plan != nil {
			text += " planned"
		}
		all = append(all, text)
	}
	want := "web1 done  28.9 done; db1 restored health-check 71.7 rolled-back; mail left stopped 0.0 planned; files left stopped 0.0 planned; old7 refused fs-damaged 0.0"
	if got := strings.Join(all, "; "); got != want {
		t.Errorf("the guests are\n%s; want\n%s", got, want)
	}
}

// TestDamaged checks that a job is shown as far as its journal can be read.
func TestDamaged(t *testing.T) {
	e := engine(t)
	path := filepath.Join(e.Store.DirOf(recordtest.Done), "journal")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines[20][30] ^= 1
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := record.Read(e, recordtest.Done)
	if err != nil || r.Unreadable == "" || r.State != "" || r.Plan == nil || len(r.Runs) != 1 || len(r.Actions) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestForeign checks that nothing is shown of a journal of another version, whose entries may
// mean something else.
func TestForeign(t *testing.T) {
	e := engine(t)
	entry := `{"seq":1,"schema":"virt-grow/job/v9","time":"2030-01-01T00:00:00Z","kind":"opened","data":{"kind":"x","target":{"path":"/x"}}}`
	line := fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE([]byte(entry)), entry)
	if err := os.WriteFile(filepath.Join(e.Store.DirOf(recordtest.Done), "journal"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := record.Read(e, recordtest.Done)
	if err != nil || !errors.As(r.Err, new(*journal.SchemaError)) || r.State != "" || r.Kind != "" || !r.Started.IsZero() || r.Plan == nil {
		t.Errorf("%+v, %v", r, err)
	}
}
