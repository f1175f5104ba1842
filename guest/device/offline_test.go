package device

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/create"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/size"
)

// offlineSequences change devices and the fstab of a guest that is off, as scripts of
// jobtest.Player. The guest's image is real; qemu-io writes what an appliance would
// write.
var offlineSequences = `
mount > +config define write save-undo commit clean-up > done
mount define/after=kill > +config > killed, working: resume rollback ; resume > define write save-undo commit clean-up > done
mount commit/after=error > +config define write save-undo -commit -save-undo -write -config -define > restored, rolled-back
mount commit/after=kill > +config define write save-undo > killed, working: resume rollback ; rollback > -commit -save-undo -write -config -define > rolled-back
mount clean-up/before=error > +config define write save-undo commit > forward, working: resume close ; rollback > > job-state, working: resume close ; resume > clean-up > done
made > create format name +config define fstab write save-undo commit clean-up > done
made fstab/after=kill > create format name +config define > killed, working: resume rollback ; resume > fstab write save-undo commit clean-up > done
made commit/before=error > create format name +config define fstab write save-undo -commit -save-undo -write -fstab -config -define -name -format -create > restored, rolled-back
detach > write save-undo commit -config undefine clean-up > done
detach undefine/after=error > write save-undo commit -config +config -undefine -commit -save-undo -write > restored, rolled-back
detach undefine/after=kill > write save-undo commit -config > killed, working: resume rollback ; resume > undefine clean-up > done
detach clean-up/before=kill > write save-undo commit -config undefine > killed, working: resume close ; accept > > closed
`

func TestOfflineSequences(t *testing.T) {
	jobtest.Run(t, offlineSequences, func(t *testing.T, line string) string {
		s := newOffline(t)
		got := s.Play(line)
		data, err := os.ReadFile(s.root)
		if err != nil {
			t.Fatal(err)
		}
		changed := !strings.HasSuffix(line, "rolled-back")
		if bytes.Contains(data, []byte("hhhh")) != changed {
			t.Errorf("the guest's image is not as it should be; changed: %v", changed)
		}
		if !changed {
			s.checkRestored(t, true, false)
		}
		return got
	})
}

// offlineStage is a domain that is off, with an image that has its fstab.
type offlineStage struct {
	*stage
	root string
}

func newOffline(t *testing.T) *offlineStage {
	t.Helper()
	s := &offlineStage{stage: newStage(t, "off")}
	s.root = filepath.Join(filepath.Dir(s.image), "root.raw")
	if err := os.WriteFile(s.root, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start = func(ctx context.Context, command string) (*job.Outcome, error) { return s.begin(ctx, t, command) }
	return s
}

var foundOnDisk = []plan.Content{{Type: "xfs", UUID: "bbbb-1"}}

// change returns the change of the guest's fstab, as a session would prepare it.
func (s *offlineStage) change(t *testing.T, text []byte) *files.Change {
	t.Helper()
	stamp, err := image.StampOf(s.root)
	if err != nil {
		t.Fatal(err)
	}
	file := files.File{Change: appliance.Change{Path: fstab.Path}, Name: fstab.Path}
	file.SetText(text)
	data, err := json.Marshal(map[string]any{
		"drives": []any{map[string]any{"path": s.root, "format": "raw", "sector": 512, "size": 8 * size.MiB, "stamp": stamp}},
		"place":  appliance.Place{Device: "sda", Disks: []int{0}}, "files": []files.File{file},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &files.Change{}
	if err := json.Unmarshal(data, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *offlineStage) begin(ctx context.Context, t *testing.T, command string) (*job.Outcome, error) {
	o := Options{Options: files.Options{Options: s.Engine.Options}}
	if command == "detach" {
		s.giveDisk()
		p := &detaching{domain: s.vm(), request: DetachRequest{Disk: "vdb", Unmount: true}}
		if err := p.prepare(ctx); err != nil {
			return nil, err
		}
		text, err := p.withoutDisk(foundOnDisk, []byte(s.fstab+"UUID=bbbb-1 /data xfs defaults 0 2\n"))
		if err != nil {
			return nil, err
		}
		p.File = s.change(t, text)
		return p.start(ctx, p.File.Locks(), o, func(base *domainjob.Job) job.Work {
			return &stagedDetach{newDetach(base, s.vm(), &p.detachment, session.Options{}, nil), s.stage}
		})
	}
	p := &attaching{domain: s.vm(), request: AttachRequest{Mount: "/data"}}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	p.Disk.Path, p.Disk.Format = s.image, "raw"
	if command == "made" {
		n := plan.NewDisk{Path: filepath.Join(filepath.Dir(s.image), "made.qcow2"), Format: "qcow2", Size: 4 * size.MiB, FS: "ext4", Table: plan.TableNone}
		made, _, err := create.New(n)
		if err != nil {
			return nil, err
		}
		p.Made, p.Disk.Path, p.Disk.Format = made, n.Path, n.Format
	}
	text, err := p.lineFor(foundOnDisk, []byte(s.fstab))
	if err != nil {
		return nil, err
	}
	p.File = s.change(t, text)
	return p.start(ctx, p.File.Locks(), o, func(base *domainjob.Job) job.Work {
		return &stagedAttach{newAttach(base, s.vm(), &p.attachment, session.Options{}, nil, nil), s.stage}
	})
}

// Handlers returns handlers that need no appliance and report a new ext4.
func (w *stagedAttach) Handlers() map[plan.StepKind]apply.Handler {
	handlers := w.attachJob.Handlers()
	if w.Made != nil && w.Made.Disk.FS != "" {
		made := handlers[plan.StepFormat]
		made.Do = func(context.Context, plan.Step) error {
			w.Made.Content = plan.Content{Type: "ext4", UUID: "cccc-1"}
			return w.save()
		}
		handlers[plan.StepFormat] = made
	}
	withoutAppliance(handlers, w.File, w.Details())
	return handlers
}

func (w *stagedDetach) Handlers() map[plan.StepKind]apply.Handler {
	handlers := w.detachJob.Handlers()
	withoutAppliance(handlers, w.File, w.Details())
	return handlers
}

// withoutAppliance replaces the handler that writes the fstab by one that uses qemu-io.
func withoutAppliance(handlers map[plan.StepKind]apply.Handler, c *files.Change, d job.Details) {
	if c == nil {
		return
	}
	write := handlers[plan.StepWrite]
	write.Do = func(ctx context.Context, _ plan.Step) error {
		o := block.Overlay{Image: c.Drives[0].Path, Format: "raw", Path: d.Files[0], Undo: d.Files[1]}
		if err := o.Create(ctx, 8*size.MiB); err != nil {
			return err
		}
		_, err := block.Run(ctx, "qemu-io", "-f", "qcow2", "-c", "write -P 0x68 3M 64k", o.Path)
		return err
	}
	handlers[plan.StepWrite] = write
}

// TestOfflineUUID checks that the fstab line for a new file system gets its UUID.
func TestOfflineUUID(t *testing.T) {
	t.Parallel()
	s := newOffline(t)
	if got := s.Command("made write/before=kill"); !strings.Contains(got, "killed") {
		t.Fatal(got)
	}
	status, err := s.Engine.Status(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status.Header.Data), "cccc-1") {
		t.Errorf("the job has\n%s", status.Header.Data)
	}
}
