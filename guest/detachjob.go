package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/inside"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// detachJob does and undoes the steps of a detachment.
type detachJob struct {
	slot
	*detachment
}

func openDetach(j *job) (errand, error) {
	t := &detachJob{detachment: &detachment{}}
	if err := j.told(t.detachment); err != nil {
		return errand{}, err
	}
	t.slot = slot{job: j, target: t.Target, path: t.Path}
	handlers := map[plan.StepKind]apply.Handler{
		plan.StepUnmount:  {Do: t.unmount, Undo: t.mountAgain},
		plan.StepFstab:    {Do: t.removeLines, Undo: t.restoreLines},
		plan.StepUnplug:   {Do: t.unplugDisk, Undo: t.plugAgain},
		plan.StepUndefine: {Do: t.removeFromDefinition, Undo: t.defineAgain},
		plan.StepDelete:   {Do: t.deleteImage, Undo: t.undelete},
	}
	if t.File != nil {
		maps.Copy(handlers, t.File.handlers(j.changing()))
	}
	return errand{handlers: handlers, result: t.result}, nil
}

func (t *detachJob) save() error { return t.tell(t.detachment) }

// unmount ends the guest's use of the disk.
func (t *detachJob) unmount(ctx context.Context, _ plan.Step) error {
	if err := t.checkRunning(ctx); err != nil {
		return err
	}
	return t.agent().Release(ctx, t.Name)
}

// mountAgain undoes unmount. The disk may just have come back.
func (t *detachJob) mountAgain(ctx context.Context, _ plan.Step) error {
	if running, err := t.isRunning(ctx); err != nil || !running {
		return err
	}
	left, err := t.agent().Reuse(ctx, t.Blocks)
	if len(left) > 0 {
		t.note("not mounted again, because the guest's fstab has no line for it: %s", strings.Join(left, ", "))
	}
	return err
}

func (t *detachJob) removeLines(ctx context.Context, _ plan.Step) error {
	if err := t.checkRunning(ctx); err != nil {
		return err
	}
	return t.fstab().Edit(ctx, &t.Change, t.save, func(text []byte) ([]byte, error) { return fstab.RemoveAll(text, t.Entries) })
}

// restoreLines undoes removeLines. Where the fstab was changed by others since, it adds
// the lines that are not there.
func (t *detachJob) restoreLines(ctx context.Context, _ plan.Step) error {
	if !t.Change.Known {
		return nil
	}
	if err := t.checkRunning(ctx); err != nil {
		return err
	}
	return t.fstab().Restore(ctx, t.Change, func(text []byte) ([]byte, error) {
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
	return errors.Join(t.put(ctx, t.Config, domain.Config), t.restoreDefinition(ctx))
}

// deleteImage deletes the file, unless one of the definitions has it again.
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
		if source == t.Path {
			return plan.Refuse(plan.InUse, t.Path, "%s is disk %s of %s again", t.Path, target, t.domain.Name)
		}
	}
	if err := os.Remove(t.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// undelete fails if the file is deleted: that cannot be undone.
func (t *detachJob) undelete(context.Context, plan.Step) error {
	if image.Exists(t.Path) {
		return nil
	}
	return errOnlyForward
}

func (t *detachJob) result(out *Outcome) {
	out.Messages = append(out.Messages, fmt.Sprintf("%s has no %s any more", t.domain.Name, t.Target))
	done := t.now().Done
	if done[string(plan.StepUnmount)] {
		out.Messages = append(out.Messages, "unmounted: "+strings.Join(inside.MountPoints(t.Blocks), ", "))
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
