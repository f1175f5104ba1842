package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/domainjob"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/fstab"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// detachJob is the work of a job that detaches a disk.
type detachJob struct {
	job.Stepwise
	slot
	*detachment
	// fileJob changes the fstab of a guest that is off.
	fileJob *files.Job
}

func newDetach(base *domainjob.Job, v vm, d *detachment, o session.Options, prepared *session.Session) *detachJob {
	return &detachJob{slot: slot{base, v, d.Target, d.Path}, detachment: d, fileJob: files.NewJob(base.Job, o, prepared)}
}

// OpenDetach opens a job of KindDetach.
func OpenDetach(o session.Options) job.Kind {
	return func(j *job.Job) (job.Work, error) {
		d := &detachment{}
		err := j.Load(d)
		return newDetach(domainjob.New(j, nil), vm{}, d, o, nil), err
	}
}

// Handlers returns the handlers for the disk, and those of a change of the fstab.
func (t *detachJob) Handlers() map[plan.StepKind]apply.Handler {
	handlers := map[plan.StepKind]apply.Handler{
		plan.StepUnmount:  {Do: t.unmount, Undo: t.mountAgain},
		plan.StepFstab:    {Do: t.removeLines, Undo: t.restoreLines},
		plan.StepUnplug:   {Do: t.unplugDisk, Undo: t.plugAgain},
		plan.StepUndefine: {Do: t.removeFromDefinition, Undo: t.defineAgain},
		plan.StepDelete:   {Do: t.deleteImage},
	}
	if t.File != nil {
		maps.Copy(handlers, t.File.Handlers(t.fileJob))
	}
	return handlers
}

// Actions are both ways, until the image is deleted, or the fstab's own way back. The
// journal cannot know whether an interrupted deletion has happened.
func (t *detachJob) Actions(r journal.Record) []job.Action {
	deleted := r.Done[string(plan.StepDelete)] || r.Running == string(plan.StepDelete) && !image.Exists(t.detachment.Path)
	if deleted {
		return []job.Action{job.Resume, job.Close}
	}
	return t.File.Actions(r)
}

// Details returns the files that a change of the fstab may leave.
func (t *detachJob) Details() job.Details { return t.File.Details(t.fileJob) }

func (t *detachJob) save() error { return t.Save(t.detachment) }

// unmount ends the guest's use of the disk.
func (t *detachJob) unmount(ctx context.Context, _ plan.Step) error {
	if err := t.CheckRunning(ctx); err != nil {
		return err
	}
	return t.Inside().Release(ctx, t.Name)
}

// mountAgain undoes unmount. The disk may just have been attached again.
func (t *detachJob) mountAgain(ctx context.Context, _ plan.Step) error {
	if running, err := t.IsRunning(ctx); err != nil || !running {
		return err
	}
	left, err := t.Inside().Reuse(ctx, t.Blocks)
	if len(left) > 0 {
		t.Note("not mounted again, because the guest's fstab has no line for it: %s", strings.Join(left, ", "))
	}
	return err
}

func (t *detachJob) removeLines(ctx context.Context, _ plan.Step) error {
	if err := t.CheckRunning(ctx); err != nil {
		return err
	}
	return t.Fstab().Edit(ctx, &t.Change, t.save, func(text []byte) ([]byte, error) { return fstab.RemoveAll(text, t.Entries) })
}

// restoreLines undoes removeLines. If the fstab was changed by others since, it adds
// the lines that are not there.
func (t *detachJob) restoreLines(ctx context.Context, _ plan.Step) error {
	if !t.Change.Known {
		return nil
	}
	if err := t.CheckRunning(ctx); err != nil {
		return err
	}
	return t.Fstab().Restore(ctx, t.Change, func(text []byte) ([]byte, error) {
		for _, e := range t.Entries {
			with, err := fstab.Add(bytes.Clone(text), e)
			if err != nil && !errors.Is(err, fstab.ErrTaken) {
				return nil, err
			}
			if err == nil {
				text = with
			}
		}
		return text, nil
	})
}

func (t *detachJob) unplugDisk(ctx context.Context, _ plan.Step) error {
	return t.unplug(ctx, plan.Seconds(t.Limit))
}

func (t *detachJob) plugAgain(ctx context.Context, _ plan.Step) error {
	if state, err := t.domain.State(ctx); err != nil || state == domain.Off {
		return err
	}
	return t.put(ctx, t.Live, domain.Live)
}

func (t *detachJob) removeFromDefinition(ctx context.Context, _ plan.Step) error {
	return t.undefine(ctx)
}

func (t *detachJob) defineAgain(ctx context.Context, _ plan.Step) error {
	return errors.Join(t.put(ctx, t.Config, domain.Config), t.RestoreDefinition(ctx))
}

// deleteImage deletes the file, unless this domain or another one uses it by now: the job
// may have waited for days.
func (t *detachJob) deleteImage(ctx context.Context, _ plan.Step) error {
	state, err := t.domain.State(ctx)
	if err != nil {
		return err
	}
	taken, err := targets(ctx, t.domain, state == domain.Running)
	if err != nil {
		return err
	}
	for target, source := range taken {
		if image.SameFile(source, t.Path) {
			return plan.Refuse(plan.InUse, t.Path, "%s is disk %s of %s again", t.Path, target, t.domain.Name)
		}
	}
	if err := disk.CheckNotShared(ctx, t.domain, t.Path); err != nil {
		return err
	}
	if err := os.Remove(t.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Report says what was removed from the domain and the guest.
func (t *detachJob) Report(out *job.Outcome) {
	out.Messages = append(out.Messages, fmt.Sprintf("%s no longer has %s", t.domain.Name, t.Target))
	if at := inside.MountPoints(t.Blocks); len(at) > 0 && t.Record().Done[string(plan.StepUnmount)] {
		out.Messages = append(out.Messages, "unmounted: "+strings.Join(at, ", "))
	}
	for _, e := range t.Entries {
		out.Messages = append(out.Messages, "removed from the guest's fstab: "+e.String())
	}
	if t.Delete {
		out.Messages = append(out.Messages, t.Path+" is deleted")
	} else {
		out.Messages = append(out.Messages, "its image stays: "+t.Path)
	}
}
