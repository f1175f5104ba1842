package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/fstab"
)

// detachJob is the job as its steps see it.
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
		plan.StepFstab:    {Do: t.takeLines, Undo: t.putLinesBack},
		plan.StepUnplug:   {Do: t.letGo, Undo: t.plugAgain},
		plan.StepUndefine: {Do: t.forgetDisk, Undo: t.defineAgain},
		plan.StepDelete:   {Do: t.deleteImage, Undo: t.undelete},
	}
	if t.File != nil {
		maps.Copy(handlers, t.File.handlers(j.changing()))
	}
	return errand{handlers: handlers, result: t.result}, nil
}

func (t *detachJob) unmount(ctx context.Context, _ plan.Step) error {
	if err := t.agentNeeded(ctx); err != nil {
		return err
	}
	now, err := t.domain.Blocks(ctx, t.Name)
	if err != nil {
		return err
	}
	for _, at := range (&detachment{Blocks: now}).mounted() {
		command := []string{"umount", at}
		if at == swap {
			command = []string{"swapoff", t.swapDevice()}
		}
		if _, err := t.domain.Output(ctx, "", command...); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", at, err)
		}
	}
	return t.deactivate(ctx, now)
}

// swap is what lsblk has for a mount point of swap in use.
const swap = "[SWAP]"

func (t *detachJob) swapDevice() string {
	for _, b := range domain.All(t.Blocks) {
		if b.Mount == swap {
			return b.Name
		}
	}
	return t.Name
}

// mountAgain mounts by the fstab where it has a line, else by UUID. The disk may
// just have come back.
func (t *detachJob) mountAgain(ctx context.Context, _ plan.Step) error {
	if running, err := t.inGuest(ctx); err != nil || !running {
		return err
	}
	mounts := slices.DeleteFunc(domain.All(t.Blocks), func(b domain.Block) bool { return b.Mount == "" })
	slices.SortFunc(mounts, func(a, b domain.Block) int { return len(a.Mount) - len(b.Mount) })
	for _, b := range mounts {
		if err := t.mountOne(ctx, b); err != nil {
			return fmt.Errorf("cannot mount %s again: %w", b.Mount, err)
		}
	}
	return nil
}

func (t *detachJob) mountOne(ctx context.Context, b domain.Block) (err error) {
	command := []string{"mount", b.Mount}
	switch {
	case b.Mount == swap:
		command = []string{"swapon", "-U", b.UUID}
	case !slices.ContainsFunc(t.Entries, func(e fstab.Entry) bool { return e.Mount == b.Mount }):
		command = []string{"mount", "UUID=" + b.UUID, b.Mount}
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		all, asked := t.domain.Blocks(ctx, "")
		if asked == nil && slices.ContainsFunc(domain.All(all), func(o domain.Block) bool { return o.Mount == b.Mount }) {
			return nil
		}
		t.activateAgain(ctx)
		if _, err = t.domain.Output(ctx, "", command...); err != nil {
			if stop := domain.Sleep(ctx, 300*time.Millisecond); stop != nil {
				return stop
			}
		}
	}
	return err
}

// activateAgain activates the volume groups that were deactivated.
func (t *detachJob) activateAgain(ctx context.Context) {
	for _, b := range domain.All(t.Blocks) {
		if b.Type == "lvm" {
			_, _ = t.domain.Output(ctx, "", "lvm", "lvchange", "--activate", "y", b.Name)
		}
	}
}

func (t *detachJob) takeLines(ctx context.Context, _ plan.Step) error {
	if err := t.agentNeeded(ctx); err != nil {
		return err
	}
	return t.changeFstab(ctx, &t.Change, func() error { return t.tell(t.detachment) }, t.withoutLines)
}

func (t *detachJob) withoutLines(text []byte) ([]byte, error) {
	for _, e := range t.Entries {
		var err error
		if text, err = fstab.Remove(text, e); err != nil {
			return nil, err
		}
	}
	return text, nil
}

func (t *detachJob) putLinesBack(ctx context.Context, _ plan.Step) error {
	if !t.Change.Known {
		return nil
	}
	if err := t.agentNeeded(ctx); err != nil {
		return err
	}
	return t.restoreFstab(ctx, t.Change, func(text []byte) ([]byte, error) {
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

func (t *detachJob) letGo(ctx context.Context, _ plan.Step) error {
	return t.unplug(ctx, plan.Seconds(t.Limit))
}

func (t *detachJob) plugAgain(ctx context.Context, _ plan.Step) error {
	if state, err := t.domain.State(ctx); err != nil || state == domain.Off {
		return err
	}
	return t.put(ctx, t.Live, domain.Live)
}

func (t *detachJob) forgetDisk(ctx context.Context, _ plan.Step) error { return t.undefine(ctx) }

func (t *detachJob) defineAgain(ctx context.Context, _ plan.Step) error {
	return errors.Join(t.put(ctx, t.Config, domain.Config), t.restoreDefinition(ctx))
}

// deleteImage deletes the file when no definition has it any more.
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

// undelete can only say whether there is anything to take back.
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
		out.Messages = append(out.Messages, "unmounted: "+strings.Join(t.mounted(), ", "))
	}
	for _, e := range t.Entries {
		out.Messages = append(out.Messages, "taken out of the guest's fstab: "+e.String())
	}
	if t.Delete {
		out.Messages = append(out.Messages, t.Path+" is deleted")
	} else {
		out.Messages = append(out.Messages, "its image stays: "+t.Path)
	}
}
