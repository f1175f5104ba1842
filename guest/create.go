package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// creation is what a job that makes an image has to know. Another job may have one
// among what it does.
type creation struct {
	Disk plan.NewDisk  `json:"disk"`
	File image.NewFile `json:"file"`
	// Content is the file system that was made.
	Content plan.Content `json:"content,omitzero"`

	layout *plan.Layout // with the file system, if this process has made it
}

// newSector is the sector size that a new disk is made for.
const newSector = 512

// CreateDisk makes an image as a new job. It is there whole, or not at all.
func CreateDisk(ctx context.Context, d plan.NewDisk, o Options) (*Outcome, error) {
	c, locks, err := newCreation(d)
	if err != nil {
		return nil, err
	}
	return o.Engine().Run(ctx, job.Spec{
		Kind: DiskCreation, Locks: locks, Steps: c.Disk.Steps(), Agreed: true,
		Target: plan.Target{Path: c.Disk.Path, Format: d.Format, SectorSize: newSector},
		Open: func(j *job.Job) (any, job.Work, error) {
			return &c, &creating{job: j, creation: &c, session: o.Session, cache: o.Cache}, nil
		},
	})
}

// newCreation refuses what would not work, and names what a job that makes the
// image has to lock.
func newCreation(d plan.NewDisk) (creation, []string, error) {
	var err error
	if d.Path, err = image.CheckNewPath(d.Path); err != nil {
		return creation{}, nil, err
	}
	if err := d.Check(); err != nil {
		return creation{}, nil, err
	}
	if err := image.CheckSpace(map[string]size.Bytes{filepath.Dir(d.Path): newNeeds(d)}); err != nil {
		return creation{}, nil, err
	}
	c := creation{Disk: d, File: image.NewFile{Path: d.Path, Format: d.Format}}
	lock, err := c.File.Lock()
	return c, []string{lock}, err
}

// newNeeds is about what a new image takes: all of its size if that is allocated,
// else its own tables (8 bytes for each cluster of 64 KiB in qcow2) and what a
// mkfs writes.
func newNeeds(d plan.NewDisk) size.Bytes {
	need := size.MiB
	switch d.Prealloc {
	case "falloc", "full":
		need += d.Size
	case "metadata":
		need += d.Size / 4096
	}
	if d.FS != "" {
		need += 64*size.MiB + d.Size/4096
	}
	return need
}

// creating is the work of a job that does nothing but make an image.
type creating struct {
	job.Stepwise
	job *job.Job
	*creation
	session session.Options
	cache   *session.Cache
}

func openCreation(options session.Options, cache *session.Cache) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w := &creating{job: j, creation: &creation{}, session: options, cache: cache}
		return w, j.Load(w.creation)
	}
}

// Handlers are the creation's.
func (w *creating) Handlers() map[plan.StepKind]apply.Handler {
	return w.handlers(w.job, w.session, w.cache, func() error { return w.job.Save(w.creation) })
}

// Report says what was made.
func (w *creating) Report(out *Outcome) { out.Messages = w.said() }

// Failed knows that nothing was touched that was there before.
func (w *creating) Failed(f *Failure, _ journal.Record) { f.Begun = false }

// said is what came of it, for people.
func (c *creation) said() []string {
	lines := []string{fmt.Sprintf("%s is made: %s, %s (%d bytes)", c.Disk.Path, c.Disk.Format, c.Disk.Size, int64(c.Disk.Size))}
	if c.Disk.FS == "" {
		return lines
	}
	lines = append(lines, "inside: "+c.Disk.Inside()+", UUID "+c.Content.UUID)
	if c.Disk.FS == "ntfs" && c.Disk.Table == plan.TableNone {
		lines = append(lines, "Windows wants a partition table on a fixed disk: it will not see this NTFS")
	}
	return lines
}

// handlers are what the steps of Disk.Steps mean. keep writes c down.
func (c *creation) handlers(j *job.Job, options session.Options, cache *session.Cache, keep func() error) map[plan.StepKind]apply.Handler {
	drop := func(context.Context, plan.Step) error { return c.File.Discard(c.dir(j)) }
	return map[plan.StepKind]apply.Handler{
		plan.StepCreate: {Do: func(ctx context.Context, _ plan.Step) error { return c.create(ctx, j) }, Undo: drop},
		plan.StepFormat: {Do: func(ctx context.Context, s plan.Step) error { return c.format(ctx, j, s, options, keep) }, Undo: drop},
		plan.StepName: {
			Do:   func(context.Context, plan.Step) error { return c.publish(j, cache, keep) },
			Undo: func(ctx context.Context, _ plan.Step) error { return c.File.Unpublish(ctx) },
		},
	}
}

// publish moves it to its place, and keeps what is inside for the next inspection.
func (c *creation) publish(j *job.Job, cache *session.Cache, keep func() error) error {
	err := c.File.Publish(c.dir(j), keep)
	if err == nil && c.layout != nil {
		cache.Save([]image.Stamp{c.File.Made}, c.layout, time.Now())
	}
	return err
}

// create makes the empty image, anew if need be.
func (c *creation) create(ctx context.Context, j *job.Job) error {
	if err := c.File.Begin(c.dir(j)); err != nil {
		return err
	}
	return block.CreateImage(ctx, watch(j, plan.Step{}), c.File.Temp(c.dir(j)), c.Disk.Format, c.Disk.Size, c.Disk.Prealloc)
}

// format makes what is inside, in the appliance.
func (c *creation) format(ctx context.Context, j *job.Job, step plan.Step, options session.Options, keep func() error) error {
	if j.Begins(step.ID()) > 1 {
		// What is in it may be half of anything.
		if err := c.create(ctx, j); err != nil {
			return err
		}
	}
	ctx, stop := image.WatchSpace(ctx, c.dir(j))
	defer stop()
	j.Note("starting the appliance")
	options.Started = j.Started
	s, err := session.Start(ctx, j.Dir(), []session.Drive{{Size: c.Disk.Size, Sector: newSector}}, options, nil)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.AttachNew(ctx, c.File.Temp(c.dir(j)), c.Disk.Format); err != nil {
		return err
	}
	j.Note("making %s", c.Disk.Inside())
	if c.layout, err = s.Appliance.Make(ctx, c.Disk); err != nil {
		return err
	}
	if made, ok := c.layout.Find(c.Disk.Device()); ok {
		c.Content = made.Content
	}
	if err := s.Detach(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.Close(), block.SyncFile(c.File.Temp(c.dir(j)))); err != nil {
		return err
	}
	return keep()
}

// dir is the temporary directory that the image is made in.
func (c *creation) dir(j *job.Job) string { return newDir(j, c.File.Path) }

// newDir is the temporary directory of a file that a job creates.
func newDir(j *job.Job, path string) string { return j.PathNextTo(path, ".new") }

// watch has a program noted down, so that it is found again, and its progress told
// as the step's.
func watch(j *job.Job, s plan.Step) block.Watch {
	w := block.Watch{Started: j.Started}
	if s.Kind != "" {
		w.Percent = func(percent float64) { j.Progress(s, percent) }
	}
	return w
}
