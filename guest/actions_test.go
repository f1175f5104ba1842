package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/device"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/online"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// actionCases are interrupted jobs: the kind, the data and the entries of the journal,
// and the actions that are possible, best first. "+STEP" is a step that is done, "STEP"
// one that has begun. PATH is a file of one byte, GONE a path without a file.
var actionCases = []struct{ kind, data, entries, actions string }{
	{create.KindDisk, `{}`, "create", "resume rollback"},
	{create.KindDisk, `{}`, "+create name", "resume rollback"},
	{create.KindConversion, `{}`, "+copy compare", "resume rollback"},
	{files.KindEdit, `{}`, "write", "resume rollback"},
	{files.KindEdit, `{}`, "+write +save-undo:vda commit:vda", "resume rollback"},
	{files.KindEdit, `{}`, "+write +save-undo:vda +commit:vda", "resume rollback"},
	{files.KindEdit, `{}`, "+write +save-undo:vda +commit:vda clean-up", "resume close"},
	{files.KindCopyIn, `{}`, "+commit:vda +clean-up", "resume close"},
	{device.KindMedium, `{}`, "+medium:config medium:live", "resume rollback"},
	{device.KindAttach, `{}`, "+define plug", "resume rollback"},
	{device.KindAttach, `{"file":{}}`, "+define +commit:vda", "resume rollback"},
	{device.KindAttach, `{"file":{}}`, "+define +commit:vda clean-up", "resume close"},
	{device.KindDetach, `{"path":"PATH"}`, "+unplug undefine", "resume rollback"},
	{device.KindDetach, `{"path":"PATH","delete":true}`, "+unplug +undefine delete", "resume rollback"},
	{device.KindDetach, `{"path":"GONE","delete":true}`, "+unplug +undefine delete", "resume close"},
	{device.KindDetach, `{"path":"PATH","delete":true}`, "+unplug +undefine +delete", "resume close"},
	{device.KindDetach, `{"path":"PATH","file":{}}`, "+write +commit:vda +undefine clean-up", "resume close"},
	{online.Kind, `{"plan":{"old_size":1048576,"new_size":2097152}}`, "", "resume rollback"},
	{online.Kind, `{"plan":{"old_size":1048576,"new_size":2097152}}`, "container", "resume rollback"},
	{online.Kind, `{"plan":{"old_size":524288,"new_size":1048576}}`, "container", "resume close"},
	{online.Kind, `{"plan":{"old_size":1048576,"new_size":2097152}}`, "+container", "resume close"},
	{online.Kind, `{"plan":{"old_size":1048576,"new_size":1048576}}`, "inside", "resume close"},
	{online.Kind, `{}`, "container", ""}, // its plan is missing
}

func TestActions(t *testing.T) {
	for _, c := range actionCases {
		t.Run(c.kind+" "+c.entries, func(t *testing.T) {
			o := Options{Options: job.Options{Store: journal.Store{Dir: t.TempDir()}}}
			s, err := Engine(o).Status(cutOff(t, o.Store, c.kind, c.data, c.entries))
			if got := strings.Trim(fmt.Sprint(s.Actions), "[]"); err != nil || got != c.actions {
				t.Errorf("%s, %v; want %s", got, err, c.actions)
			}
			told := map[bool]string{true: "rollback undoes", false: "accept closes the job"}[strings.HasSuffix(c.actions, "rollback")]
			if c.actions != "" && !strings.Contains(s.Text, told) {
				t.Errorf("it does not say %q: %s", told, s.Text)
			}
		})
	}
}

// cutOff writes the journal of an interrupted job, and returns the job's name. The image
// is a raw disk of 1 MiB.
func cutOff(t *testing.T, store journal.Store, kind string, data, entries string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	data = strings.NewReplacer("PATH", image, "GONE", image+".gone").Replace(data)
	h := job.Header{Kind: kind, Target: plan.Target{Path: image, Format: "raw", Guest: &plan.Guest{Name: "dev7", Disk: "vda"}}, Data: json.RawMessage(data)}
	header, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	held, err := store.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	log := []journal.Entry{{Kind: journal.Opened, Data: header}, {Kind: journal.State, Text: string(journal.Working)}}
	for _, word := range strings.Fields(entries) {
		step, done := strings.CutPrefix(word, "+")
		log = append(log, journal.Entry{Kind: journal.Begin, Step: step})
		if done {
			log = append(log, journal.Entry{Kind: journal.Done, Step: step})
		}
	}
	for _, e := range log {
		if err := held.Log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return held.ID
}
