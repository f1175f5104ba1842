package files

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// sequences are changes of a file, one in each line, as scripts of jobtest.Player. The
// overlay and the image are real; qemu-io writes what the appliance would write. "text"
// is a fault in that write, "boot", "attach" and "detach" are faults of the session, and
// "image" makes another program write to the image. "prepared" begins with the session
// in which the change was prepared, "copy" copies a file of the host, and "written"
// makes another program write to that file.
var sequences = `
run > write save-undo commit clean-up > done
run text=error > -write > error, forgotten
run save-undo/before=cancel > write -save-undo -write > restored, rolled-back
run commit/after=error > write save-undo -commit -save-undo -write > restored, rolled-back
run clean-up/before=error > write save-undo commit > forward, working: resume close ; rollback > > job-state, working: resume close ; resume > clean-up > done
run write/after=kill > > killed, working: resume rollback ; resume > write save-undo commit clean-up > done
run save-undo/before=kill > write > killed, working: resume rollback ; resume image=error > -save-undo -write > restored, rolled-back
run commit/after=kill > write save-undo > killed, working: resume rollback ; resume > commit clean-up > done
run commit/after=kill > write save-undo > killed, working: resume rollback ; rollback > -commit -save-undo -write > rolled-back
run clean-up/before=kill > write save-undo commit > killed, working: resume close ; accept > > closed
run boot=error > -write > error, forgotten
run detach=error > -write > error, forgotten
run boot=cancel > -write > error, forgotten
prepared > write save-undo commit clean-up > done
prepared attach=error > -write > error, forgotten
prepared detach=error > -write > error, forgotten
prepared text=error > -write > error, forgotten
prepared write/after=kill > > killed, working: resume rollback ; resume > write save-undo commit clean-up > done
copy > write save-undo commit clean-up > done
copy written=error > -write > stale-plan, forgotten
`

func TestSequences(t *testing.T) {
	jobtest.Run(t, sequences, func(t *testing.T, line string) string {
		d := newDisk(t)
		got := d.Play(line)
		d.check(t, line)
		return got
	})
}

// testDisk is a raw image, with a change of a file on it.
type testDisk struct {
	*jobtest.Player
	path   string
	change *Change
	host   string // the file on the host that is copied
	open   int    // number of open sessions
}

// textAt is the offset of the file's text on the disk.
const textAt = 3 << 20

func newDisk(t *testing.T) *testDisk {
	t.Helper()
	d := &testDisk{Player: jobtest.New(t, nil), path: filepath.Join(t.TempDir(), "a.raw")}
	if err := os.WriteFile(d.path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp, err := image.StampOf(d.path)
	if err != nil {
		t.Fatal(err)
	}
	file := File{Change: appliance.Change{Path: "/motd"}, Name: "/motd"}
	file.SetText([]byte("hello"))
	d.change = &Change{
		Drives: []drive{{Path: d.path, Format: "raw", Sector: 512, Size: 8 * size.MiB, Stamp: stamp}},
		Place:  appliance.Place{Device: "sda", Disks: []int{0}}, Files: []File{file},
	}
	d.host = filepath.Join(t.TempDir(), "motd")
	if err := os.WriteFile(d.host, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Engine.Kinds = job.Kinds{KindEdit: func(j *job.Job) (job.Work, error) {
		w, err := OpenJob(session.Options{})(j)
		w.(*work).job.boot = d.boot
		return &onDisk{w.(*work), d}, err
	}}
	d.Engine.Emit = d.trace
	d.Start = d.begin
	return d
}

// begin begins a job with a change that was prepared in a session.
func (d *testDisk) begin(ctx context.Context, command string) (*job.Outcome, error) {
	if command == "copy" {
		stamp, err := image.StampOf(d.host)
		if err != nil {
			return nil, err
		}
		f := &d.change.Files[0]
		f.From, f.Stamp, f.Text = d.host, stamp, nil
	}
	s := &Session{Session: &session.Session{}, disks: &disk.Set{Disks: []*disk.Disk{{Image: &image.Image{Target: plan.Target{Path: d.path}}}}}}
	spec := s.spec(KindEdit, d.change, Options{})
	open := spec.Open
	spec.Open = func(j *job.Job) (any, job.Work, error) {
		data, w, err := open(j)
		made := w.(*work).job
		made.boot = d.boot
		if made.prepared = nil; command == "prepared" {
			d.open++
			made.prepared = &fakeSession{testDisk: d}
		}
		return data, w, err
	}
	return d.Engine.Run(ctx, spec)
}

func (d *testDisk) trace(e apply.Event) {
	switch e.Phase {
	case apply.Finished:
		d.Did(e.Step.ID())
	case apply.Undone:
		d.Did("-" + e.Step.ID())
	}
}

func (d *testDisk) boot(ctx context.Context, _ *Change, overlays []string) (editSession, error) {
	if err := d.Fault(ctx, "boot"); err != nil {
		return nil, err
	}
	if d.Fault(ctx, "written") != nil {
		if err := os.WriteFile(d.host, []byte("goodbye"), 0o600); err != nil {
			return nil, err
		}
	}
	d.open++
	return &fakeSession{d, overlays}, nil
}

// fakeSession is a session in which qemu-io writes the text to the place where an
// appliance would write it.
type fakeSession struct {
	*testDisk
	overlays []string
}

func (s *fakeSession) Running() bool { return true }

func (s *fakeSession) Processes() []journal.Proc { return []journal.Proc{{Pid: 1 << 30}} }

func (s *fakeSession) Attach(ctx context.Context, overlays ...string) error {
	s.overlays = overlays
	return s.Fault(ctx, "attach")
}

func (s *fakeSession) Detach(ctx context.Context) error { return s.Fault(ctx, "detach") }

func (s *fakeSession) Close() error {
	s.open--
	return nil
}

func (s *fakeSession) Write(ctx context.Context, at appliance.Place, changes []appliance.Change, from func(appliance.Change) string) error {
	if err := s.Fault(ctx, "text"); err != nil {
		return err
	}
	text, err := os.ReadFile(from(changes[0]))
	if err != nil || at.Device != "sda" || string(text) != "hello" {
		return fmt.Errorf("%q on %s, %w", text, at.Device, err)
	}
	_, err = block.Run(ctx, "qemu-io", "-f", "qcow2", "-c", "write -P 0x68 3M 64k", s.overlays[0])
	return err
}

// onDisk makes other programs write to the image before a job is continued.
type onDisk struct {
	*work
	disk *testDisk
}

func (w *onDisk) Connect(ctx context.Context) error {
	if w.disk.Fault(ctx, "image") == nil {
		return nil
	}
	f, err := os.OpenFile(w.disk.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte("theirs"), 1<<20)
	return err
}

func (w *onDisk) Disconnect() error { return nil }

// check fails the test unless the image has the text or is unchanged, as the script
// says, and no other file is left beside it.
func (d *testDisk) check(t *testing.T, line string) {
	t.Helper()
	data, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if d.open != 0 {
		t.Errorf("%d sessions are left open", d.open)
	}
	changed := strings.HasSuffix(line, "done") || strings.HasSuffix(line, "closed")
	want := bytes.Repeat([]byte{0}, 64<<10)
	if changed {
		want = bytes.Repeat([]byte{0x68}, 64<<10)
	}
	if !bytes.Equal(data[textAt:textAt+len(want)], want) {
		t.Errorf("the image is not as it should be; changed: %v", changed)
	}
	left, _ := filepath.Glob(d.path + ".virt-grow-*")
	if strings.HasSuffix(line, "closed") != (len(left) > 0) {
		t.Errorf("left beside it: %v", left)
	}
}
