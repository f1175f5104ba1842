package files

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// tree is a guest's file tree in memory: the contents of the files by path. A path that
// ends in "/" is a directory, one that ends in "|" a pipe.
type tree struct {
	files map[string]string
	// ignoresCase reports that Lstat and Sum ignore the case of names, as Windows does.
	ignoresCase bool
	failing     map[string]error // errors by the name of a call
	archive     func(io.Writer) error
	reads       int
}

var errInjected = errors.New("injected")

// entry finds a path, and returns it as it is spelled in the tree.
func (f *tree) entry(path string) (string, *appliance.Entry) {
	path = filepath.Clean(path)
	for name, content := range f.files {
		plain := strings.TrimRight(name, "/|")
		if plain != path && !(f.ignoresCase && strings.EqualFold(plain, path)) {
			continue
		}
		e := &appliance.Entry{Name: filepath.Base(plain), Mode: syscall.S_IFREG | 0o4755, Size: size.Bytes(len(content))}
		switch {
		case strings.HasSuffix(name, "/"):
			e.Mode = syscall.S_IFDIR | 0o755
		case strings.HasSuffix(name, "|"):
			e.Mode = syscall.S_IFIFO
		}
		return name, e
	}
	return "", nil
}

func (f *tree) Stat(_ context.Context, path string) (appliance.Entry, error) {
	_, e := f.entry(path)
	if e == nil {
		return appliance.Entry{}, plan.Refuse(plan.NotFound, path, "there is no %s", path)
	}
	return *e, f.failing["stat"]
}

func (f *tree) Locate(ctx context.Context, path string) (appliance.Place, appliance.Entry, error) {
	e, err := f.Stat(ctx, path)
	return appliance.Place{Path: path, Device: "sda1", Disks: []int{0}}, e, err
}

func (f *tree) Lstat(_ context.Context, parent appliance.Place, name string) (*appliance.Entry, error) {
	_, e := f.entry(filepath.Join(parent.Path, name))
	return e, f.failing["lstat"]
}

func (f *tree) Read(_ context.Context, path string, w io.Writer) error {
	f.reads++
	name, _ := f.entry(path)
	_, err := io.WriteString(w, f.files[name])
	return errors.Join(err, f.failing["read"])
}

func (f *tree) Sum(_ context.Context, path string) (string, error) {
	name, _ := f.entry(path)
	return appliance.Sum([]byte(f.files[name])), f.failing["sum"]
}

func (f *tree) Archive(_ context.Context, _ string, w io.Writer) error { return f.archive(w) }

// newSession returns a session with the file tree. The guest has two disks with the same
// image.
func newSession(t *testing.T, f *tree) *Session {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, make([]byte, size.MiB), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp, err := image.StampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk.Disk{Image: &image.Image{Size: size.MiB, Stamp: stamp}}
	d.Path, d.Format, d.SectorSize, d.Def.Target = path, "raw", 512, "vda"
	return &Session{Session: &session.Session{}, disks: &disk.Set{Name: path, Disks: []*disk.Disk{d}}, tree: f}
}

func checkReason(t *testing.T, err error, want plan.Reason) {
	t.Helper()
	if r, _ := plan.IsRefusal(err); r == nil || r.Reason != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func to(text string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(text), nil }
}

func TestEditText(t *testing.T) {
	ctx := t.Context()
	big := strings.Repeat("x", int(editLimit)+1)
	s := newSession(t, &tree{files: map[string]string{"/etc/motd": "old", "/big": big}})
	change, err := s.EditText(ctx, "/etc/motd", to("new"))
	if err != nil {
		t.Fatal(err)
	}
	f := change.Files[0]
	if string(f.Text) != "new" || f.Was != appliance.Sum([]byte("old")) || f.Is != appliance.Sum([]byte("new")) || f.Path != "/etc/motd" || f.Name != "/etc/motd" {
		t.Errorf("%+v", f)
	}
	if d := change.Drives[0]; len(change.Drives) != 1 || d.Target != "vda" || d.Path != s.disks.Name || d.Sector != 512 || d.Size != size.MiB || d.Stamp != s.disks.Disks[0].Stamp {
		t.Errorf("%+v", change.Drives)
	}
	if c, err := s.EditText(ctx, "/etc/motd", to("old")); c != nil || err != nil {
		t.Errorf("the same text: %+v, %v", c, err)
	}
	_, err = s.EditText(ctx, "/none", to("new"))
	checkReason(t, err, plan.NotFound)
	_, err = s.EditText(ctx, "/big", to("new"))
	checkReason(t, err, plan.NotAFile)
	_, err = s.EditText(ctx, "/etc/motd", to(big))
	checkReason(t, err, plan.NotAFile)
	if _, err := s.EditText(ctx, "/etc/motd", func([]byte) ([]byte, error) { return nil, errInjected }); !errors.Is(err, errInjected) {
		t.Errorf("the change fails: %v", err)
	}
	s.tree.(*tree).failing = map[string]error{"read": errInjected}
	if _, err := s.EditText(ctx, "/etc/motd", to("new")); !errors.Is(err, errInjected) {
		t.Errorf("the file cannot be read: %v", err)
	}
}

// TestNotWritable checks that the target's directory is checked before any change.
func TestNotWritable(t *testing.T) {
	s := newSession(t, &tree{files: map[string]string{"/a": "", "/d/": ""}})
	s.disks.Disks[0].Path += ".none"
	if _, err := s.EditText(t.Context(), "/a", to("new")); err == nil {
		t.Error("edit: no error")
	}
	if _, err := s.copyIn(t.Context(), nil, "/d"); err == nil {
		t.Error("copy-in: no error")
	}
}

func TestCopyIn(t *testing.T) {
	dir := t.TempDir()
	host := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := host("a", "new"), host("B.txt", "b")
	for name, c := range map[string]struct {
		files       []string
		directory   string
		ignoresCase bool
		fails       string
		want        []string // the path of each change, and "was" if the file exists
		reason      plan.Reason
	}{
		"new":                  {files: []string{a}, directory: "/d", want: []string{"/d/a"}},
		"two":                  {files: []string{a, b}, directory: "/d/", want: []string{"/d/a", "/d/B.txt"}},
		"it is there already":  {files: []string{a, b}, directory: "/same", want: []string{"/same/B.txt"}},
		"all are there":        {files: []string{a}, directory: "/same"},
		"over another":         {files: []string{a}, directory: "/other", want: []string{"/other/a was"}},
		"in another case":      {files: []string{b}, directory: `/win`, ignoresCase: true, want: []string{"/win/b.TXT was"}},
		"over a directory":     {files: []string{a}, directory: "/dirs", reason: plan.NotAFile},
		"over a pipe":          {files: []string{a}, directory: "/pipes", reason: plan.NotAFile},
		"into a file":          {files: []string{a}, directory: "/same/a", reason: plan.NotAFile},
		"into nothing":         {files: []string{a}, directory: "/none", reason: plan.NotFound},
		"no such file":         {files: []string{a + ".none"}, directory: "/d", reason: plan.NotFound},
		"a directory":          {files: []string{dir}, directory: "/d", reason: plan.NotAFile},
		"the place is unknown": {files: []string{a}, directory: "/d", fails: "lstat"},
		"the sum is unknown":   {files: []string{a}, directory: "/other", fails: "sum"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &tree{ignoresCase: c.ignoresCase, files: map[string]string{"/d/": "", "/same/": "", "/same/a": "new", "/other/": "", "/other/a": "old",
				"/win/": "", "/win/b.TXT": "old", "/dirs/": "", "/dirs/a/": "", "/pipes/": "", "/pipes/a|": ""}}
			f.failing = map[string]error{c.fails: errInjected}
			change, err := newSession(t, f).copyIn(t.Context(), c.files, c.directory)
			switch {
			case c.reason != "":
				checkReason(t, err, c.reason)
				return
			case c.fails != "":
				if !errors.Is(err, errInjected) {
					t.Error(err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			var got []string
			if change != nil {
				for _, f := range change.Files {
					text := f.Path
					if f.Was != "" {
						text += " was"
					}
					got = append(got, text)
					if f.Mode != 0o640 || f.Is == "" || f.Is == f.Was || f.Stamp == (image.Stamp{}) {
						t.Errorf("%+v", f)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestJoinGuest(t *testing.T) {
	for _, c := range [][2]string{{"/d", "/d/a"}, {"/", "/a"}, {`C:\`, `C:\a`}, {`C:\d`, `C:\d/a`}, {"", "/a"}} {
		if got := joinGuest(c[0], "a"); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

// TestNothingToChange checks that no job is begun if the text stays the same.
func TestNothingToChange(t *testing.T) {
	s := newSession(t, &tree{files: map[string]string{"/motd": "old"}})
	p := jobtest.New(t, nil)
	out, err := s.carryOut(t.Context(), KindEdit, Options{Options: p.Engine.Options}, func(s *Session) (*Change, error) {
		return s.EditText(t.Context(), "/motd", to("old"))
	})
	if err != nil || out.State != journal.Cancelled || p.ID != "" {
		t.Errorf("%+v, %v, job %q", out, err, p.ID)
	}
	_, err = s.carryOut(t.Context(), KindEdit, Options{}, func(*Session) (*Change, error) { return nil, errInjected })
	if !errors.Is(err, errInjected) {
		t.Error(err)
	}
}

// TestChangedMeanwhile checks that no appliance is started for a disk that another
// program has written to since the change was prepared.
func TestChangedMeanwhile(t *testing.T) {
	s := newSession(t, &tree{files: map[string]string{"/motd": "old"}})
	p := jobtest.New(t, nil)
	_, err := s.carryOut(t.Context(), KindEdit, Options{Options: p.Engine.Options}, func(s *Session) (*Change, error) {
		c, err := s.EditText(t.Context(), "/motd", to("new"))
		return c, errors.Join(err, os.Chtimes(s.disks.Name, time.Time{}, time.Now().Add(time.Hour)))
	})
	checkReason(t, err, plan.ImageChanged)
}

// TestSteps checks that the steps name only the disks of the file system, in order.
func TestSteps(t *testing.T) {
	c := &Change{Drives: []drive{{Target: "vda"}, {Target: "vdb"}, {Target: "vdc"}}, Place: appliance.Place{Device: "vg/root", Disks: []int{0, 2}}}
	for _, name := range []string{"/a", "/b", "/c"} {
		c.Files = append(c.Files, File{Name: name})
	}
	var ids []string
	for _, s := range c.Steps() {
		ids = append(ids, s.ID())
	}
	if got := strings.Join(ids, " "); got != "write save-undo:vda save-undo:vdc commit:vda commit:vdc clean-up" {
		t.Error(got)
	}
	if got := c.Steps()[0].Summary; !strings.Contains(got, "/a, /b, /c (on vg/root)") {
		t.Error(got)
	}
	c.Files = append(c.Files, File{Name: "/d", From: "/tmp/d"})
	if got := c.Steps()[0].Summary; !strings.Contains(got, "4 files") {
		t.Error(got)
	}
	if got := c.messages(KindCopyIn); got[0] != "4 file(s) copied, to vg/root" || got[4] != "/tmp/d -> /d" {
		t.Errorf("%q", got)
	}
}

// TestOverlayNames checks that an overlay is created beside its image, that of a block
// device in the job's directory, and all of them in a directory that the user gives. Two
// disks with the same name get different files.
func TestOverlayNames(t *testing.T) {
	p := jobtest.New(t, nil)
	var j *job.Job
	p.Engine.Kinds = job.Kinds{}
	spec := job.Spec{Kind: KindEdit, Target: plan.Target{Path: "/images/a.raw"}, Steps: []plan.Step{{Kind: plan.StepClean}}, Agreed: true,
		Open: func(opened *job.Job) (any, job.Work, error) { j = opened; return nil, nil, errInjected }}
	if _, err := p.Engine.Run(t.Context(), spec); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	for _, c := range []struct {
		drive   drive
		scratch string
		want    string
	}{
		{drive{Path: "/images/a.raw"}, "", "/images/a.raw.virt-grow-JOB.qcow2"},
		{drive{Path: "/images/a.raw", Target: "vdb"}, "", "/images/a.raw.virt-grow-JOB.vdb.qcow2"},
		{drive{Path: "/dev/vg/a", Block: true, Target: "vda"}, "", "DIR/a.virt-grow-JOB.vda.qcow2"},
		{drive{Path: "/dev/vg/a", Block: true, Target: "vda"}, "/scratch", "/scratch/a.virt-grow-JOB.vda.qcow2"},
	} {
		o := (&Change{Scratch: c.scratch}).overlay(&Job{Job: j}, c.drive)
		want := strings.NewReplacer("JOB", j.ID(), "DIR", j.Dir()).Replace(c.want)
		if o.Path != want || o.Undo != strings.TrimSuffix(want, ".qcow2")+".undo.qcow2" || o.Image != c.drive.Path {
			t.Errorf("%+v, want %s", o, want)
		}
	}
}

func TestCopyOut(t *testing.T) {
	archive := func(w io.Writer) error {
		_, err := w.Write(pack(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
			tar.Header{Name: "./file", Typeflag: tar.TypeReg, Mode: 0o644}, tar.Header{Name: "./pipe", Typeflag: tar.TypeFifo}).Bytes())
		return err
	}
	f := &tree{files: map[string]string{"/etc/motd": "hello", "/etc/": "", "/": "", `C:\/`: ""}, archive: archive}
	for name, c := range map[string]struct {
		path, to string // below a directory with a file "there" and a directory "dir"
		at       string // the path of the new file
		content  string // of the new file
		archive  func(io.Writer) error
		fails    string
		reason   plan.Reason
	}{
		"a file":                       {path: "/etc/motd", to: "motd", at: "motd", content: "hello"},
		"into a directory":             {path: "/etc/motd", to: "dir", at: "dir/motd", content: "hello"},
		"a directory":                  {path: "/etc", to: "etc", at: "etc"},
		"a directory into a directory": {path: "/etc", to: "dir", at: "dir/etc"},
		"over a file":                  {path: "/etc/motd", to: "there", reason: plan.FileExists},
		"no such file":                 {path: "/none", to: "none", reason: plan.NotFound},
		"into nowhere":                 {path: "/etc/motd", to: "none/motd"},
		"it cannot be read":            {path: "/etc/motd", to: "motd", fails: "read"},
		"it cannot be packed":          {path: "/etc", to: "etc", archive: func(w io.Writer) error { return errors.Join(archive(w), errInjected) }},
		"it leads out": {path: "/etc", to: "etc", archive: func(w io.Writer) error {
			_, err := w.Write(pack(t, tar.Header{Name: "../out", Typeflag: tar.TypeReg}).Bytes())
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "there"), []byte("theirs"), 0o600), os.Mkdir(filepath.Join(dir, "dir"), 0o700)); err != nil {
				t.Fatal(err)
			}
			f.failing, f.reads = map[string]error{c.fails: errInjected}, 0
			if f.archive = archive; c.archive != nil {
				f.archive = c.archive
			}
			copied, err := copyOut(t.Context(), f, c.path, filepath.Join(dir, c.to))
			if c.at == "" {
				if err == nil {
					t.Error("no error")
				}
				if c.reason != "" {
					checkReason(t, err, c.reason)
					if f.reads > 0 {
						t.Error("it was read all the same")
					}
				}
			} else if err != nil || copied.To != filepath.Join(dir, c.at) || copied.Path != c.path {
				t.Errorf("%+v, %v", copied, err)
			}
			if c.content != "" {
				text, err := os.ReadFile(copied.To)
				info, _ := os.Stat(copied.To)
				if err != nil || string(text) != c.content || info.Mode() != 0o755 {
					t.Errorf("%q, mode %v, %v", text, info.Mode(), err)
				}
			} else if c.at != "" {
				text, err := os.ReadFile(filepath.Join(copied.To, "file"))
				if err != nil || string(text) != "./file" || len(copied.LeftOut) != 1 {
					t.Errorf("%q, %v, left out %q", text, err, copied.LeftOut)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".virt-grow-*")); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if text, _ := os.ReadFile(filepath.Join(dir, "there")); string(text) != "theirs" {
				t.Errorf("a file of another program has %q", text)
			}
		})
	}
}

func TestBaseOf(t *testing.T) {
	for name, want := range map[string]string{"etc": "etc", "/": "root", "C:": "root", `C:\`: "root", "..": "root", "a.txt": "a.txt"} {
		if got := baseOf(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// TestStartSessionRefuses checks that no appliance is started for a running guest.
func TestStartSessionRefuses(t *testing.T) {
	_, err := StartSession(t.Context(), &disk.Set{Name: "a", Running: true}, Options{})
	checkReason(t, err, plan.InUse)
}

func TestExplainUnread(t *testing.T) {
	refusal := plan.Refuse(plan.NotFound, "", "no such file system")
	for _, c := range []struct {
		err     error
		running bool
		adds    bool
	}{{nil, true, false}, {errInjected, false, false}, {errInjected, true, true}, {refusal, true, false}} {
		err := explainUnread(c.err, c.running)
		if !errors.Is(err, c.err) || (err != c.err) != c.adds {
			t.Errorf("%v, running %t: %v", c.err, c.running, err)
		}
	}
}
