package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// fleet is a batch of real guests, which share a state directory.
type fleet struct {
	*env
	guests []*vm
	file   string
}

// newFleet starts guests, and plans a batch in which their root disks grow to 1 GiB. lines are
// those of the inventory before the guests; a guest's treatment follows its name.
func newFleet(t *testing.T, lines string, guests map[string]lab.Spec, treatments map[string]string) *fleet {
	t.Helper()
	f := &fleet{env: newEnv(t)}
	text := fmt.Sprintf("connect: %s\n%sdefaults: {boot-timeout: 90s, shutdown-timeout: 60s}\nguests:\n", f.URI(), lines)
	for _, name := range []string{"a", "b", "c"} {
		spec, ok := guests[name]
		if !ok {
			continue
		}
		x := f.start(t, name, spec, false, labDisk{"xfs", "qcow2"})
		x.state = filepath.Join(f.dir, "fleet.state")
		x.note(t)
		f.guests = append(f.guests, x)
		text += fmt.Sprintf("  - {name: %s, disks: [{disk: vda, size: 1G}]%s}\n", name, treatments[name])
	}
	f.file = filepath.Join(f.dir, "batch.json")
	if code, out := f.guests[0].run(t, "", "batch", "plan", inventoryFile(t, text), "-o", f.file); code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	return f
}

// do runs a command on the batch to its end.
func (f *fleet) do(t *testing.T, fault string, args ...string) (int, string) {
	t.Helper()
	u := f.guests[0].launch(t, fault, args...)
	code := u.end(t)
	checkLines(t, u.out.String())
	return code, u.out.String()
}

// id returns the ID of the batch's job.
func (f *fleet) id(t *testing.T) string {
	t.Helper()
	code, out := f.do(t, "", "batch", "status", "--json")
	_, rest, _ := strings.Cut(out, `"id": "`)
	id, _, found := strings.Cut(rest, `"`)
	if code != exitDone || !found {
		t.Fatalf("exit %d\n%s", code, out)
	}
	return id
}

// says fails the test unless the status of the newest batch has these texts.
func (f *fleet) says(t *testing.T, texts ...string) {
	t.Helper()
	code, out := f.do(t, "", "batch", "status")
	for _, text := range texts {
		if code != exitDone || !strings.Contains(out, text) {
			t.Errorf("exit %d: not %q in\n%s", code, text, out)
		}
	}
}

// checkAsBefore fails the test unless the guest runs on its image, which has its old size.
func (x *vm) checkAsBefore(t *testing.T) {
	t.Helper()
	if got := sizeOf(t, x.disks[0]); got == x.want {
		t.Errorf("the image of %s is grown", x.Name)
	}
	x.beating(t, time.Now())
	x.checkKept(t)
}

// TestBatch kills a batch of two guests in the trial of the canary, while the second guest is
// prepared, and rolls it back. Then it kills the same batch while the canary is off, resumes
// it, and accepts the second guest.
func TestBatch(t *testing.T) {
	level.Need(t, level.Long)
	f := newFleet(t, "canary: 1\n", map[string]lab.Spec{"a": {}, "b": {}}, map[string]string{"b": ", accept: manual"})
	a, b := f.guests[0], f.guests[1]

	f.do(t, "health/before=kill", "batch", "apply", "--yes", f.file)
	f.says(t, "* a    unfinished", "rollback "+f.id(t))
	if code, out := f.do(t, "", "batch", "rollback", f.id(t)); code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	a.checkAsBefore(t)
	b.checkAsBefore(t)

	a.note(t)
	b.note(t)
	f.do(t, "start/before=kill", "batch", "apply", "--yes", f.file, "--json")
	f.says(t, "* a    unfinished")
	if code, out := f.do(t, "", "batch", "resume", "--yes", f.id(t)); code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	f.says(t, "* a    done", "b    waiting")
	if code, out := f.do(t, "", "batch", "accept", "--json", f.id(t)); code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	f.says(t, "2 of 2 guests are grown")
	a.checkGrown(t)
	b.checkGrown(t)
}

// TestBatchOverlap grows three guests. While a guest is away, the next one is prepared;
// libvirtd is killed and started again meanwhile.
func TestBatchOverlap(t *testing.T) {
	level.Need(t, level.All)
	f := newFleet(t, "canary: 1\n", map[string]lab.Spec{"a": {}, "b": {}, "c": {}}, nil)
	u := f.guests[0].launch(t, "", "batch", "apply", "--yes", "--json", f.file)
	f.guests[0].at(t, "start")
	if err := f.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := f.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	if code := u.end(t); code != exitDone {
		t.Fatalf("exit %d\n%s", code, &u.out)
	}
	out := u.out.String()
	checkLines(t, out)
	// Each text comes after the one before.
	at := 0
	for _, text := range []string{`"guest":"b"`, `"name":"a","outcome":"done"`, `"name":"b","outcome":"done"`, `"name":"c","outcome":"done"`} {
		next := strings.Index(out[at:], text)
		if next < 0 {
			t.Errorf("%s does not follow:\n%s", text, out)
			break
		}
		at += next
	}
	for _, x := range f.guests {
		x.checkGrown(t)
	}
}

// TestBatchCanaryFails checks that nothing else begins after the canary has hung in its
// trial, and that the canary runs on its old image.
func TestBatchCanaryFails(t *testing.T) {
	level.Need(t, level.All)
	hangs := lab.Spec{Cmdline: []string{fmt.Sprintf("was=%d", 512<<20), "bigger=hang"}}
	f := newFleet(t, "canary: 1\nparallel: 2\n", map[string]lab.Spec{"a": hangs, "b": {}}, nil)
	code, out := f.do(t, "", "batch", "apply", "--yes", f.file)
	if code != exitRestored || !strings.Contains(out, "* a    restored") || !strings.Contains(out, "b    left (stopped)") {
		t.Errorf("exit %d\n%s", code, out)
	}
	for _, x := range f.guests {
		x.checkAsBefore(t)
	}
	if jobs, _ := os.ReadDir(filepath.Join(f.guests[0].state, "jobs")); len(jobs) != 2 {
		t.Errorf("%d jobs: only the batch and the canary should have one", len(jobs))
	}
}
