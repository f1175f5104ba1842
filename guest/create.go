package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
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
	c, locks, err := openCreation(d)
	if err != nil {
		return nil, err
	}
	target := plan.Target{Path: c.Disk.Path, Format: d.Format, SectorSize: newSector}
	j, err := openErrand(Facts{Kind: DiskCreation, Target: target, Steps: c.Disk.Steps()}, locks, c, o)
	if err != nil {
		return nil, err
	}
	out, err := j.runErrand(ctx)
	return out, errors.Join(err, j.close())
}

// openCreation refuses what would not work, and names what a job that makes the
// image has to lock.
func openCreation(d plan.NewDisk) (creation, []string, error) {
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

func openCreationErrand(j *job) (errand, error) {
	var c creation
	if err := j.told(&c); err != nil {
		return errand{}, err
	}
	return errand{
		apart:    true,
		handlers: c.handlers(j, func() error { return j.tell(c) }),
		result:   func(out *Outcome) { out.Said = append(out.Said, c.said()...) },
	}, nil
}

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
func (c *creation) handlers(j *job, keep func() error) map[plan.StepKind]apply.Handler {
	drop := func(context.Context, plan.Step) error { return c.File.Discard(j.newDir(c.File.Path)) }
	return map[plan.StepKind]apply.Handler{
		plan.StepCreate: {Do: func(ctx context.Context, _ plan.Step) error { return c.create(ctx, j) }, Undo: drop},
		plan.StepFormat: {Do: func(ctx context.Context, s plan.Step) error { return c.format(ctx, j, s, keep) }, Undo: drop},
		plan.StepName: {
			Do:   func(context.Context, plan.Step) error { return c.appear(j, keep) },
			Undo: func(ctx context.Context, _ plan.Step) error { return c.File.Unpublish(ctx) },
		},
	}
}

// appear gives it its place, and keeps what is inside.
func (c *creation) appear(j *job, keep func() error) error {
	err := c.File.Publish(j.newDir(c.File.Path), keep)
	if err == nil && c.layout != nil {
		j.options.Session.Seen.saw([]image.Stamp{c.File.Made}, c.layout, time.Now())
	}
	return err
}

// create makes the empty image, anew if need be.
func (c *creation) create(ctx context.Context, j *job) error {
	if err := c.File.Begin(j.newDir(c.File.Path)); err != nil {
		return err
	}
	return block.CreateImage(ctx, j.watch(plan.Step{}), c.File.Temp(j.newDir(c.File.Path)), c.Disk.Format, c.Disk.Size, c.Disk.Prealloc)
}

// format makes what is inside, in the appliance.
func (c *creation) format(ctx context.Context, j *job, s plan.Step, keep func() error) (err error) {
	if j.again(s) {
		// What is in it may be half of anything.
		if err := c.create(ctx, j); err != nil {
			return err
		}
	}
	ctx, stop := image.WatchSpace(ctx, j.newDir(c.File.Path))
	defer stop()
	session, err := j.startAppliance(ctx, c.Disk.Size)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			session.Abandon()
		}
	}()
	if err := session.gate.OpenNew(ctx, c.File.Temp(j.newDir(c.File.Path)), c.Disk.Format); err != nil {
		return err
	}
	if err := session.app.Refresh(ctx); err != nil {
		return err
	}
	j.note("making %s", c.Disk.Inside())
	if c.layout, err = session.app.Make(ctx, c.Disk); err != nil {
		return err
	}
	if made, ok := c.layout.Find(c.Disk.Device()); ok {
		c.Content = made.Content
	}
	if err := session.Detach(ctx); err != nil {
		return err
	}
	if err := errors.Join(session.Close(), block.SyncFile(c.File.Temp(j.newDir(c.File.Path)))); err != nil {
		return err
	}
	return keep()
}

// newDir is the temporary directory of a file that the job creates.
func (j *job) newDir(path string) string { return j.beside(path, ".new") }

// startAppliance boots one for a new disk.
func (j *job) startAppliance(ctx context.Context, disk size.Bytes) (*Session, error) {
	j.note("starting the appliance")
	options := j.options.Session
	options.Started = j.started
	return StartSession(ctx, j.held.Dir, disk, newSector, options)
}

// watch has a program noted down, so that it is found again, and its progress told
// as the step's.
func (j *job) watch(s plan.Step) block.Watch {
	w := block.Watch{Started: j.started}
	if s.Kind != "" {
		w.Percent = func(p float64) { j.emit(apply.Event{Phase: apply.Progress, Step: s, Percent: p}) }
	}
	return w
}

// again says whether a step was begun before this time.
func (j *job) again(s plan.Step) bool {
	times := 0
	for _, e := range j.held.Log.Entries() {
		if e.Kind == journal.Begin && e.Step == s.ID() {
			times++
		}
	}
	return times > 1
}
