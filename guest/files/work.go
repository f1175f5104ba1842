package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// The kinds of job that only change files inside a guest that is off: the text of one file, or
// copies from the host.
const (
	KindEdit   = "edit"
	KindCopyIn = "copy-in"
)

// Options are the options of a job that changes files.
type Options struct {
	job.Options
	// Session has the options with which an appliance is started.
	Session session.Options
	// Scratch is the directory for overlays; "" is the directory of each image.
	Scratch string
}

// work is the work of such a job.
type work struct {
	job.Stepwise
	*Change
	job *Job
}

// OpenJob opens a job of KindEdit or KindCopyIn.
func OpenJob(o session.Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w := &work{Change: &Change{}, job: NewJob(j, o, nil)}
		return w, j.Load(w.Change)
	}
}

// Handlers returns the handlers of the change.
func (w *work) Handlers() map[plan.StepKind]apply.Handler { return w.Change.Handlers(w.job) }

// Actions returns the actions that the change allows.
func (w *work) Actions(r journal.Record) []job.Action { return w.Change.Actions(r) }

// Report says what was changed.
func (w *work) Report(out *job.Outcome) { out.Messages = w.messages(w.job.Header().Kind) }

// Details returns the files of the change.
func (w *work) Details() job.Details { return w.Change.Details(w.job) }

// messages say what was changed.
func (c *Change) messages(kind string) []string {
	if kind == KindEdit {
		return []string{fmt.Sprintf("%s is changed, on %s", c.Files[0].Name, c.Place.Device)}
	}
	lines := []string{fmt.Sprintf("%d file(s) copied, to %s", len(c.Files), c.Place.Device)}
	for _, f := range c.Files {
		lines = append(lines, fmt.Sprintf("%s -> %s", f.From, f.Name))
	}
	return lines
}

// Edit changes the text of one file inside a guest that is off. change gets the present text
// and returns the new one; if they are equal, nothing is done.
func Edit(ctx context.Context, g *disk.Set, path, mount string, change func([]byte) ([]byte, error), o Options) (*job.Outcome, error) {
	return changeFiles(ctx, g, mount, KindEdit, o, func(s *Session) (*Change, error) {
		return s.EditText(ctx, path, change)
	})
}

// CopyIn copies files of the host into a directory of a guest that is off. An existing file gets
// the new content, and keeps owner and mode.
func CopyIn(ctx context.Context, g *disk.Set, files []string, directory, mount string, o Options) (*job.Outcome, error) {
	return changeFiles(ctx, g, mount, KindCopyIn, o, func(s *Session) (*Change, error) {
		return s.copyIn(ctx, files, directory)
	})
}

// changeFiles prepares a change and carries it out as a job, in one appliance.
func changeFiles(ctx context.Context, g *disk.Set, mount string, kind string, o Options, prepare func(*Session) (*Change, error)) (_ *job.Outcome, err error) {
	s, err := StartSession(ctx, g, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.OpenTree(ctx, mount); err != nil {
		return nil, err
	}
	return s.carryOut(ctx, kind, o, prepare)
}

// carryOut prepares a change and carries it out; without a change, nothing is done.
func (s *Session) carryOut(ctx context.Context, kind string, o Options, prepare func(*Session) (*Change, error)) (*job.Outcome, error) {
	c, err := prepare(s)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return &job.Outcome{State: journal.Cancelled, Messages: []string{"nothing to change"}}, nil
	}
	c.Scratch = o.Scratch
	e := job.Engine{Options: o.Options}
	return e.Run(ctx, s.spec(kind, c, o))
}

// spec returns the specification of a job that carries the change out.
func (s *Session) spec(kind string, c *Change, o Options) job.Spec {
	return job.Spec{
		Kind: kind, Target: s.disks.Target(c.Place.Disks[0]), Locks: c.Locks(), Steps: c.Steps(), Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) {
			return c, &work{Change: c, job: NewJob(j, o.Session, s.Session)}, nil
		},
	}
}

// copyIn prepares the copies of some files; nil if all of them have this content already.
func (s *Session) copyIn(ctx context.Context, files []string, directory string) (*Change, error) {
	place, e, err := s.tree.Locate(ctx, directory)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, plan.Refuse(plan.NotAFile, directory, "%s is not a directory", directory)
	}
	if err := s.disks.CheckWritable(ctx, place.Disks); err != nil {
		return nil, err
	}
	c := &Change{Drives: s.drives(), Place: place, SessionDir: s.Dir()}
	for _, from := range files {
		f, err := s.incoming(ctx, from, directory, place)
		if err != nil {
			return nil, err
		}
		if f.Was != f.Is {
			c.Files = append(c.Files, f)
		}
	}
	if len(c.Files) == 0 {
		return nil, nil
	}
	return c, nil
}

// incoming reads a file of the host, and the file in its place in the guest.
func (s *Session) incoming(ctx context.Context, from, directory string, place appliance.Place) (f File, err error) {
	if f.From, err = filepath.Abs(from); err != nil {
		return f, err
	}
	info, err := os.Stat(f.From)
	if errors.Is(err, fs.ErrNotExist) {
		return f, plan.Refuse(plan.NotFound, from, "there is no file %s on this host", from)
	}
	if err != nil {
		return f, err
	}
	if !info.Mode().IsRegular() {
		return f, plan.Refuse(plan.NotAFile, from, "%s is not a regular file", from)
	}
	f.Mode = uint32(info.Mode().Perm())
	if f.Stamp, err = image.StampOf(f.From); err != nil {
		return f, err
	}
	if f.Is, err = hashFile(f.From); err != nil {
		return f, err
	}
	name := filepath.Base(f.From)
	f.Path = filepath.Join(place.Path, name)
	f.Name = joinGuest(directory, name)
	switch e, err := s.tree.Lstat(ctx, place, name); {
	case err != nil:
		return f, err
	case e == nil:
		return f, nil
	case !e.IsFile():
		return f, plan.Refuse(plan.NotAFile, f.Name, "%s already exists, and is not a regular file", f.Name)
	default:
		f.Path = filepath.Join(place.Path, e.Name)
	}
	f.Was, err = s.tree.Sum(ctx, f.Name)
	return f, err
}

// joinGuest adds a name to a path of the guest.
func joinGuest(directory, name string) string {
	if len(directory) > 0 && (directory[len(directory)-1] == '/' || directory[len(directory)-1] == '\\') {
		return directory + name
	}
	return directory + "/" + name
}
