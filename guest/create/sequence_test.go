package create

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/size"
)

// sequences are jobs that create or copy an image, one in each line, as scripts of
// jobtest.Player. The images are real. The trace shows "fill" for the work of the
// appliance, and "inside" is a fault in it. Before a job is continued, "taken" makes
// another program create a file with the image's name, "written" makes it write to the
// image, and "source" makes it write to the source.
var sequences = `
empty > create name > done
empty create/before=error > -create > error, forgotten
empty create/after=error > -create > error, forgotten
empty name/before=error > create -name -create > restored untouched, rolled-back
empty name/after=error > create -name -create > restored untouched, rolled-back
empty name/before=cancel > create -name -create > restored untouched, rolled-back
empty create/after=kill > > killed, working: resume rollback ; resume > create name > done
empty create/after=kill > > killed, working: resume rollback ; rollback > -create > rolled-back
empty name/before=kill > create > killed, working: resume rollback ; resume > name > done
empty name/before=kill > create > killed, working: resume rollback ; resume taken=error > -name -create > restored untouched, rolled-back
empty name/before=kill > create > killed, working: resume rollback ; rollback taken=error > -name -create > rolled-back
empty name/after=kill > create > killed, working: resume rollback ; resume > name > done
empty name/after=kill > create > killed, working: resume rollback ; rollback > -name -create > rolled-back
empty name/after=kill > create > killed, working: resume rollback ; resume written=error > name > done
empty name/after=kill > create > killed, working: resume rollback ; rollback written=error > > unrestored untouched, working: resume rollback ; resume > name > done
filled > create fill format name > done
filled inside=error > create -format -create > restored untouched, rolled-back
filled format/after=error > create fill -format -create > restored untouched, rolled-back
filled format/before=kill > create > killed, working: resume rollback ; resume > fill format name > done
filled format/after=kill > create fill > killed, working: resume rollback ; resume > fill format name > done
filled format/after=kill > create fill > killed, working: resume rollback ; rollback > -format -create > rolled-back
filled name/before=kill > create fill format > killed, working: resume rollback ; resume > name > done
small > > too-small, no job
exists > > file-exists, no job
elsewhere > > not-found, no job

convert > copy compare name > done
convert copy/before=error > -copy > error, forgotten
convert compare/before=error > copy -copy > restored untouched, rolled-back
convert compare/after=cancel > copy -copy > restored untouched, rolled-back
convert name/after=error > copy compare -name -copy > restored untouched, rolled-back
convert copy/after=kill > > killed, working: resume rollback ; resume > copy compare name > done
convert copy/after=kill > > killed, working: resume rollback ; rollback > -copy > rolled-back
convert compare/before=kill > copy > killed, working: resume rollback ; resume > compare name > done
convert compare/before=kill > copy > killed, working: resume rollback ; resume source=error > -copy > restored untouched, rolled-back
convert name/before=kill > copy compare > killed, working: resume rollback ; resume taken=error > -name -copy > restored untouched, rolled-back
convert name/after=kill > copy compare > killed, working: resume rollback ; resume > name > done
convert name/after=kill > copy compare > killed, working: resume rollback ; rollback > -name -copy > rolled-back
convert-vmdk > copy compare name > done
convert-raw > copy compare name > done
convert-missing > > not-found, no job
convert-exists > > file-exists, no job
`

func TestSequences(t *testing.T) {
	jobtest.Run(t, sequences, func(t *testing.T, line string) string {
		s := newStage(t)
		got := s.Play(line)
		s.check(t, line)
		return got
	})
}

// stage is a directory with a source, where an image is created.
type stage struct {
	*jobtest.Player
	source, path string
	format       string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{Player: jobtest.New(t, nil), source: filepath.Join(dir, "source.raw"), path: filepath.Join(dir, "new.qcow2"), format: "qcow2"}
	if err := os.WriteFile(s.source, bytes.Repeat([]byte("source"), 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Engine.Kinds = job.Kinds{KindDisk: s.reopened(OpenDisk(s.tools())), KindConversion: s.reopened(OpenConversion)}
	s.Engine.Emit = func(e apply.Event) {
		switch e.Phase {
		case apply.Finished:
			s.Did(e.Step.ID())
		case apply.Undone:
			s.Did("-" + e.Step.ID())
		}
	}
	s.Start = s.begin
	return s
}

func (s *stage) tools() Tools { return Tools{fill: s.fill} }

// fill does the work of the appliance.
func (s *stage) fill(ctx context.Context, _ *job.Job, path string, _ plan.NewDisk) (*plan.Layout, error) {
	if err := s.Fault(ctx, "inside"); err != nil {
		return nil, err
	}
	s.Did("fill")
	_, err := block.Run(ctx, "qemu-io", "-f", "qcow2", "-c", "write -P 0x68 1M 64k", path)
	return &plan.Layout{Devices: []plan.Device{{Name: "sda", Content: plan.Content{Type: "ext4", UUID: "aaaa-1"}}}}, err
}

// begin begins a job. The second word of the command is an option.
func (s *stage) begin(ctx context.Context, command string) (*job.Outcome, error) {
	verb, option, _ := strings.Cut(command, "-")
	if verb == "exists" || option == "exists" {
		if err := os.WriteFile(s.path, []byte("theirs"), 0o600); err != nil {
			return nil, err
		}
	}
	if verb == "convert" {
		switch option {
		case "vmdk", "raw":
			s.format, s.path = option, filepath.Join(filepath.Dir(s.path), "new."+option)
		case "missing":
			s.source += ".missing"
		}
		return Convert(ctx, s.source, s.path, ConvertOptions{From: "raw", To: s.format}, s.Engine.Options)
	}
	d := plan.NewDisk{Path: s.path, Format: "qcow2", Size: 4 * size.MiB}
	switch verb {
	case "filled":
		d.FS, d.Table = "ext4", plan.TableNone
	case "small":
		d.FS, d.Table, d.Size = "ext4", plan.TableNone, size.MiB
	case "elsewhere":
		d.Path = filepath.Join(s.path, "none", "new.qcow2")
	}
	return Disk(ctx, d, s.Engine.Options, s.tools())
}

func (s *stage) reopened(kind job.Kind) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w, err := kind(j)
		switch w := w.(type) {
		case *diskWork:
			return &stagedDisk{w, s}, err
		case *converting:
			return &stagedCopy{w, s}, err
		}
		return nil, errors.New("no such work")
	}
}

// stagedDisk and stagedCopy make other programs act before a job is continued.
type stagedDisk struct {
	*diskWork
	stage *stage
}

type stagedCopy struct {
	*converting
	stage *stage
}

func (w *stagedDisk) Connect(ctx context.Context) error { return w.stage.others(ctx) }
func (w *stagedDisk) Disconnect() error                 { return nil }
func (w *stagedCopy) Connect(ctx context.Context) error { return w.stage.others(ctx) }
func (w *stagedCopy) Disconnect() error                 { return nil }

func (s *stage) others(ctx context.Context) error {
	var err error
	if s.Fault(ctx, "taken") != nil {
		err = os.WriteFile(s.path, []byte("theirs"), 0o600)
	}
	if s.Fault(ctx, "written") != nil {
		_, err = block.Run(ctx, "qemu-io", "-f", "qcow2", "-c", "write 2M 64k", s.path)
	}
	if s.Fault(ctx, "source") != nil {
		err = os.WriteFile(s.source, bytes.Repeat([]byte("others"), 64<<10), 0o600)
	}
	return err
}

// check fails the test unless the image exists if the script ends with it, a file of
// another program is unchanged, and the directory holds no other files.
func (s *stage) check(t *testing.T, line string) {
	t.Helper()
	text, err := os.ReadFile(s.path)
	switch theirs := strings.Contains(line, "taken=") || strings.Contains(line, "exists"); {
	case theirs && string(text) != "theirs":
		t.Error("the file of another program is gone")
	case !theirs && (err == nil) != strings.HasSuffix(line, "done"):
		t.Errorf("the image is there: %v", err == nil)
	}
	if err == nil && strings.HasPrefix(line, "convert") && strings.HasSuffix(line, "done") {
		c := block.Copy{Source: s.source, From: "raw", Target: s.path, To: s.format}
		if err := c.Compare(t.Context(), block.Watch{}); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(s.path + ".virt-grow-*"); len(left) > 0 {
		t.Errorf("left beside it: %v", left)
	}
}

// TestSources checks which sources can be copied.
func TestSources(t *testing.T) {
	for format, given := range map[string]string{"raw": "raw", "qcow2": "", "vdi": "vdi"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.qcow2")
			if _, err := block.Run(t.Context(), "qemu-img", "create", "-f", format, path, "4M"); err != nil {
				t.Fatal(err)
			}
			img, err := openSource(t.Context(), path, ConvertOptions{From: given})
			if err != nil || img.Size != 4*size.MiB {
				t.Errorf("%+v, %v", img, err)
			}
		})
	}
}

// TestNeeds checks how much space a new image needs.
func TestNeeds(t *testing.T) {
	for _, c := range []struct {
		prealloc, fs string
		want         size.Bytes
	}{
		{"", "", size.MiB},
		{"metadata", "", 2 * size.MiB},
		{"full", "", size.MiB + 4*size.GiB},
		{"falloc", "", size.MiB + 4*size.GiB},
		{"", "xfs", 66 * size.MiB},
	} {
		if got := newNeeds(plan.NewDisk{Size: 4 * size.GiB, Prealloc: c.prealloc, FS: c.fs}); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.prealloc, c.fs, got, c.want)
		}
	}
}

// TestMessages checks the messages about a new image.
func TestMessages(t *testing.T) {
	c := Image{Disk: plan.NewDisk{Path: "/a", Format: "raw", Size: size.GiB, FS: "ntfs", Table: plan.TableNone}, Content: plan.Content{UUID: "1234"}}
	if got := strings.Join(c.Messages(), "\n"); !strings.Contains(got, "UUID 1234") || !strings.Contains(got, "Windows wants a partition table") {
		t.Errorf("got\n%s", got)
	}
}

// TestRefusedSources: images that QEMU has marked as corrupt (bit 1 of the incompatible
// features, at byte 72), or encrypts itself (the method at byte 32; docs/interop/qcow2).
func TestRefusedSources(t *testing.T) {
	for name, c := range map[string]struct {
		at   int64
		bits byte
		want plan.Reason
	}{
		"corrupt":   {79, 2, plan.ImageDamaged},
		"encrypted": {35, 1, plan.FormatUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.qcow2")
			if _, err := block.Run(t.Context(), "qemu-img", "create", "-f", "qcow2", path, "4M"); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{c.bits}, c.at); err != nil {
				t.Fatal(err)
			}
			_, err = openSource(t.Context(), path, ConvertOptions{})
			if r, _ := plan.IsRefusal(err); r == nil || r.Reason != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
