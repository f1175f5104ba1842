package guest

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

// filesWork is the work of a job that does nothing but change files.
type filesWork struct {
	job.Stepwise
	job *job.Job
	*fileChange
	changing *changing
}

func newFilesWork(j *job.Job, c *fileChange, options session.Options, prepared *session.Session) *filesWork {
	return &filesWork{job: j, fileChange: c, changing: &changing{j, options, prepared}}
}

func openFiles(options session.Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w := newFilesWork(j, &fileChange{}, options, nil)
		return w, j.Load(w.fileChange)
	}
}

// Handlers are the change's.
func (w *filesWork) Handlers() map[plan.StepKind]apply.Handler { return w.handlers(w.changing) }

// Actions are the change's.
func (w *filesWork) Actions(r journal.Record) []job.Action { return w.actions(r) }

// Report says what was changed.
func (w *filesWork) Report(out *Outcome) { out.Messages = w.said(w.job.Header().Kind) }

// Details are the change's.
func (w *filesWork) Details() job.Details { return w.details(w.changing) }

// said tells what was changed.
func (c *fileChange) said(kind Kind) []string {
	if kind == Editing {
		return []string{fmt.Sprintf("%s is changed, on %s", c.Files[0].Name, c.Place.Device)}
	}
	lines := []string{fmt.Sprintf("%d file(s) copied, to %s", len(c.Files), c.Place.Device)}
	for _, f := range c.Files {
		lines = append(lines, fmt.Sprintf("%s -> %s", f.From, f.Name))
	}
	return lines
}

// EditFile changes the text of one file inside a guest that is off: change is given
// what it is now. When it gives the same back, nothing is done.
func EditFile(ctx context.Context, g *disk.Set, path, mount string, change func([]byte) ([]byte, error), o Options) (*Outcome, error) {
	return changeFiles(ctx, g, mount, Editing, o, func(s *fileSession) (*fileChange, error) {
		return s.editText(ctx, path, change)
	})
}

// CopyIn copies files of the host into a folder of a guest that is off. One that is
// there already gets the new content, and keeps owner and mode.
func CopyIn(ctx context.Context, g *disk.Set, files []string, folder, mount string, o Options) (*Outcome, error) {
	return changeFiles(ctx, g, mount, CopyingIn, o, func(s *fileSession) (*fileChange, error) {
		return s.copyIn(ctx, files, folder)
	})
}

// changeFiles prepares a change and carries it out as a job, in one appliance.
func changeFiles(ctx context.Context, g *disk.Set, mount string, kind Kind, o Options, prepare func(*fileSession) (*fileChange, error)) (_ *Outcome, err error) {
	s, err := startFileSession(ctx, g, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.openTree(ctx, mount); err != nil {
		return nil, err
	}
	c, err := prepare(s)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return &Outcome{State: journal.Cancelled, Messages: []string{"nothing to change"}}, nil
	}
	c.Scratch = o.Scratch
	return o.Engine().Run(ctx, job.Spec{
		Kind: kind, Target: g.Target(c.Place.Disks[0]), Locks: c.locks(), Steps: c.steps(), Agreed: true,
		Open: func(j *job.Job) (any, job.Work, error) { return c, newFilesWork(j, c, o.Session, s.Session), nil },
	})
}

// copyIn prepares the copies of some files. Nil when all of them are there already.
func (s *fileSession) copyIn(ctx context.Context, files []string, folder string) (*fileChange, error) {
	place, e, err := s.tree.Locate(ctx, folder)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, plan.Refuse(plan.NotAFile, folder, "%s is no folder", folder)
	}
	if err := s.disks.CheckWritable(ctx, place.Disks); err != nil {
		return nil, err
	}
	c := &fileChange{Drives: s.drives(), Place: place, SessionDir: s.Dir()}
	for _, from := range files {
		f, err := s.incoming(ctx, from, folder, place)
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

// incoming looks at a file of the host, and at what is in its place.
func (s *fileSession) incoming(ctx context.Context, from, folder string, place appliance.Place) (f changedFile, err error) {
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
		return f, plan.Refuse(plan.NotAFile, from, "%s is no plain file", from)
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
	f.Name = joinGuest(folder, name)
	switch e, err := s.tree.Lstat(ctx, place, name); {
	case err != nil:
		return f, err
	case e == nil:
		return f, nil
	case !e.IsFile():
		return f, plan.Refuse(plan.NotAFile, f.Name, "there is a %s already, which is no plain file", f.Name)
	default:
		f.Path = filepath.Join(place.Path, e.Name)
	}
	f.Was, err = s.tree.Sum(ctx, f.Name)
	return f, err
}

// joinGuest adds a name to a path of the guest.
func joinGuest(folder, name string) string {
	if len(folder) > 0 && (folder[len(folder)-1] == '/' || folder[len(folder)-1] == '\\') {
		return folder + name
	}
	return folder + "/" + name
}
