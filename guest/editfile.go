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
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// openFileChange takes up a job that is nothing but a change of files.
func openFileChange(j *job) (errand, error) {
	c := &fileChange{}
	if err := j.told(c); err != nil {
		return errand{}, err
	}
	return errand{handlers: c.handlers(j), result: func(out *Outcome) { out.Messages = c.said(j.facts.Kind) }}, nil
}

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
	return changeFiles(ctx, g, mount, Editing, o, func(in *visit) (*fileChange, error) {
		return in.editText(ctx, path, change)
	})
}

// CopyIn copies files of the host into a folder of a guest that is off. One that is
// there already gets the new content, and keeps owner and mode.
func CopyIn(ctx context.Context, g *disk.Set, files []string, folder, mount string, o Options) (*Outcome, error) {
	return changeFiles(ctx, g, mount, CopyingIn, o, func(in *visit) (*fileChange, error) {
		return in.copyIn(ctx, files, folder)
	})
}

// changeFiles prepares a change and carries it out as a job, in one appliance.
func changeFiles(ctx context.Context, g *disk.Set, mount string, kind Kind, o Options, prepare func(*visit) (*fileChange, error)) (_ *Outcome, err error) {
	if err := g.CheckOff(); err != nil {
		return nil, err
	}
	if o.Note != nil {
		o.Note("starting the appliance")
	}
	in, err := enter(ctx, g, o.Session)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := in.awake(ctx); err != nil {
		return nil, err
	}
	if err := in.openTree(ctx, mount); err != nil {
		return nil, err
	}
	c, err := prepare(in)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return &Outcome{State: journal.Cancelled, Messages: []string{"nothing to change"}}, nil
	}
	c.Scratch, o.visit = o.Scratch, in
	j, err := openErrand(Facts{Kind: kind, Target: g.Target(c.Place.Disks[0]), Steps: c.steps()}, c.locks(), c, o)
	if err != nil {
		return nil, err
	}
	out, err := j.runErrand(ctx)
	return out, errors.Join(err, j.close())
}

// copyIn prepares the copies of some files. Nil when all of them are there already.
func (in *visit) copyIn(ctx context.Context, files []string, folder string) (*fileChange, error) {
	place, e, err := in.tree.Locate(ctx, folder)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, plan.Refuse(plan.NotAFile, folder, "%s is no folder", folder)
	}
	if err := in.disks.CheckWritable(ctx, place.Disks); err != nil {
		return nil, err
	}
	c := &fileChange{Drives: in.drives, Place: place, Visit: in.folder}
	for _, from := range files {
		f, err := in.incoming(ctx, from, folder, place)
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
func (in *visit) incoming(ctx context.Context, from, folder string, place appliance.Place) (f changedFile, err error) {
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
	switch e, err := in.tree.Lstat(ctx, place, name); {
	case err != nil:
		return f, err
	case e == nil:
		return f, nil
	case !e.IsFile():
		return f, plan.Refuse(plan.NotAFile, f.Name, "there is a %s already, which is no plain file", f.Name)
	default:
		f.Path = filepath.Join(place.Path, e.Name)
	}
	f.Was, err = in.tree.Sum(ctx, f.Name)
	return f, err
}

// joinGuest adds a name to a path of the guest.
func joinGuest(folder, name string) string {
	if len(folder) > 0 && (folder[len(folder)-1] == '/' || folder[len(folder)-1] == '\\') {
		return folder + name
	}
	return folder + "/" + name
}
