// Package create has the kinds of job that create an image: a new image with its content, or a
// copy of an image in another format. The image is made in a directory of the job, and renamed
// to its place when it is complete, so that no existing file is changed.
package create

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

// KindDisk names the kind of job that creates an image.
const KindDisk = "disk-create"

// Tools are needed to create the content of an image: the options for starting an appliance,
// and the inspection cache, which may be nil.
type Tools struct {
	Session session.Options
	Cache   *session.Cache
	// fill creates the content of an image; nil uses an appliance. Tests replace it.
	fill func(ctx context.Context, j *job.Job, path string, d plan.NewDisk) (*plan.Layout, error)
}

// Image is the data of a job that creates an image. It may be a part of another job's data.
type Image struct {
	Disk plan.NewDisk  `json:"disk"`
	File image.NewFile `json:"file"`
	// Content is the file system that was created.
	Content plan.Content `json:"content,omitzero"`

	layout *plan.Layout // with the file system, if this process has made it
}

// newSector is the sector size of a new disk.
const newSector = 512

// Disk creates an image in a new job. After a failure, there is no image.
func Disk(ctx context.Context, d plan.NewDisk, o job.Options, tools Tools) (*job.Outcome, error) {
	c, locks, err := New(d)
	if err != nil {
		return nil, err
	}
	e := job.Engine{Options: o}
	return e.Run(ctx, job.Spec{
		Kind: KindDisk, Locks: locks, Steps: c.Disk.Steps(), Agreed: true,
		Target: plan.Target{Path: c.Disk.Path, Format: d.Format, SectorSize: newSector},
		Open: func(j *job.Job) (any, job.Work, error) {
			return c, &diskWork{job: j, Image: c, tools: tools}, nil
		},
	})
}

// New refuses an image that cannot be created, and returns the locks of the job.
func New(d plan.NewDisk) (c *Image, locks []string, err error) {
	if d.Path, err = image.CheckNewPath(d.Path); err != nil {
		return nil, nil, err
	}
	if err := d.Check(); err != nil {
		return nil, nil, err
	}
	if err := image.CheckSpace(map[string]size.Bytes{filepath.Dir(d.Path): newNeeds(d)}); err != nil {
		return nil, nil, err
	}
	c = &Image{Disk: d, File: image.NewFile{Path: d.Path, Format: d.Format}}
	lock, err := c.File.Lock()
	return c, []string{lock}, err
}

// newNeeds estimates the space for a new image: its whole size if that is allocated, else its
// own tables (8 bytes for each cluster of 64 KiB in qcow2) and what mkfs writes.
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

// diskWork is the work of a job that only creates an image.
type diskWork struct {
	job.Stepwise
	*Image
	job   *job.Job
	tools Tools
}

// OpenDisk opens a job of KindDisk.
func OpenDisk(tools Tools) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		w := &diskWork{job: j, Image: &Image{}, tools: tools}
		return w, j.Load(w.Image)
	}
}

// Handlers returns the handlers of the steps that make the image.
func (w *diskWork) Handlers() map[plan.StepKind]apply.Handler {
	return w.Image.Handlers(w.job, w.tools, func() error { return w.job.Save(w.Image) })
}

// Report says what was created.
func (w *diskWork) Report(out *job.Outcome) { out.Messages = w.Messages() }

// Failed reports that no existing file was changed.
func (w *diskWork) Failed(f *job.Failure, _ journal.Record) { f.Begun = false }

// Messages say what was created.
func (c *Image) Messages() []string {
	lines := []string{fmt.Sprintf("%s is created: %s, %s (%d bytes)", c.Disk.Path, c.Disk.Format, c.Disk.Size, int64(c.Disk.Size))}
	if c.Disk.FS == "" {
		return lines
	}
	lines = append(lines, "content: "+c.Disk.Inside()+", UUID "+c.Content.UUID)
	if c.Disk.FS == "ntfs" && c.Disk.Table == plan.TableNone {
		lines = append(lines, "Windows wants a partition table on a fixed disk: it will not see this NTFS")
	}
	return lines
}

// Handlers returns the handlers for the steps of Disk.Steps. save writes the image to the
// journal.
func (c *Image) Handlers(j *job.Job, tools Tools, save func() error) map[plan.StepKind]apply.Handler {
	drop := func(context.Context, plan.Step) error { return c.File.Discard(c.dir(j)) }
	return map[plan.StepKind]apply.Handler{
		plan.StepCreate: {Do: func(ctx context.Context, _ plan.Step) error { return c.create(ctx, j) }, Undo: drop},
		plan.StepFormat: {Do: func(ctx context.Context, s plan.Step) error { return c.format(ctx, j, s, tools, save) }, Undo: drop},
		plan.StepName: {
			Do:   func(context.Context, plan.Step) error { return c.publish(j, tools.Cache, save) },
			Undo: func(ctx context.Context, _ plan.Step) error { return c.File.Unpublish(ctx) },
		},
	}
}

// publish moves the image to its place, and adds its layout to the inspection cache.
func (c *Image) publish(j *job.Job, cache *session.Cache, save func() error) error {
	err := c.File.Publish(c.dir(j), save)
	if err == nil && c.layout != nil {
		cache.Save([]image.Stamp{c.File.Made}, c.layout, time.Now())
	}
	return err
}

// create creates the empty image, and replaces one that an earlier run left.
func (c *Image) create(ctx context.Context, j *job.Job) error {
	if err := c.File.Begin(c.dir(j)); err != nil {
		return err
	}
	return block.CreateImage(ctx, watch(j, plan.Step{}), c.File.Temp(c.dir(j)), c.Disk.Format, c.Disk.Size, c.Disk.Prealloc)
}

// format creates the content.
func (c *Image) format(ctx context.Context, j *job.Job, step plan.Step, tools Tools, save func() error) (err error) {
	if j.Begins(step.ID()) > 1 {
		// The image may have half of its content.
		if err := c.create(ctx, j); err != nil {
			return err
		}
	}
	ctx, stop := image.WatchSpace(ctx, c.dir(j))
	defer stop()
	fill := tools.fill
	if fill == nil {
		fill = tools.fillInAppliance
	}
	if c.layout, err = fill(ctx, j, c.File.Temp(c.dir(j)), c.Disk); err != nil {
		return err
	}
	if made, ok := c.layout.Find(c.Disk.Device()); ok {
		c.Content = made.Content
	}
	if err := block.SyncFile(c.File.Temp(c.dir(j))); err != nil {
		return err
	}
	return save()
}

// fillInAppliance creates the content of the image at path, and returns its layout.
func (t Tools) fillInAppliance(ctx context.Context, j *job.Job, path string, d plan.NewDisk) (_ *plan.Layout, err error) {
	j.Note("starting the appliance")
	t.Session.Started = j.Started
	s, err := session.Start(ctx, j.Dir(), []session.Drive{{Size: d.Size, Sector: newSector}}, t.Session, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.AttachNew(ctx, path, d.Format); err != nil {
		return nil, err
	}
	j.Note("creating %s", d.Inside())
	layout, err := s.Appliance.Make(ctx, d)
	if err != nil {
		return nil, err
	}
	return layout, s.Detach(ctx)
}

// dir returns the temporary directory in which the image is made.
func (c *Image) dir(j *job.Job) string { return newDir(j, c.File.Path) }

// newDir returns the temporary directory of a file that a job creates.
func newDir(j *job.Job, path string) string { return j.PathNextTo(path, ".new") }

// watch records a program in the journal, so that it is found after a crash, and reports its
// progress as that of the step.
func watch(j *job.Job, s plan.Step) block.Watch {
	w := block.Watch{Started: j.Started}
	if s.Kind != "" {
		w.Percent = func(percent float64) { j.Progress(s, percent) }
	}
	return w
}
