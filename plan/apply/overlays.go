package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Overlays are the images that a job changes through overlays. The key is the Device of the
// job's steps; it is "" for the image that grows, and for an image without a domain.
type Overlays map[string]Image

// Handlers returns the table of the steps before and after the edit of the overlays. Until
// the clean-up, all of them can be undone.
func (o Overlays) Handlers() map[plan.StepKind]Handler {
	return map[plan.StepKind]Handler{
		plan.StepOverlay: {Do: o.create, Undo: o.Drop},
		plan.StepUndo:    {Do: o.each(Image.SaveUndo), Undo: o.each(Image.DropUndo)},
		plan.StepCommit:  {Do: o.each(Image.Commit), Verify: o.hasNewSize, Undo: o.revert},
		plan.StepClean:   {Do: o.CleanUp},
	}
}

// each returns a handler that does the work on the image of the step.
func (o Overlays) each(work func(Image, context.Context) error) Work {
	return func(ctx context.Context, s plan.Step) error {
		i, err := o.of(s)
		if err != nil {
			return err
		}
		return work(i, ctx)
	}
}

func (o Overlays) of(s plan.Step) (Image, error) {
	i, ok := o[s.Device]
	if !ok {
		return nil, fmt.Errorf("step %s: the job has no such disk", s.ID())
	}
	return i, nil
}

// pivotedSize is hasNewSize for a pivot step: its Device is the disk's target, also where
// the image grows alone.
func (o Overlays) pivotedSize(ctx context.Context, s plan.Step) error {
	if i, alone := o[""]; alone {
		return sizeIs(ctx, i, s.To)
	}
	return o.hasNewSize(ctx, s)
}

func (o Overlays) create(ctx context.Context, s plan.Step) error {
	i, err := o.of(s)
	if err != nil {
		return err
	}
	return i.CreateOverlay(ctx, s.To)
}

func (o Overlays) revert(ctx context.Context, s plan.Step) error {
	i, err := o.of(s)
	if err != nil {
		return err
	}
	if err := i.Revert(ctx); err != nil {
		return err
	}
	return sizeIs(ctx, i, s.From)
}

func (o Overlays) hasNewSize(ctx context.Context, s plan.Step) error {
	i, err := o.of(s)
	if err != nil {
		return err
	}
	return sizeIs(ctx, i, s.To)
}

// sizeIs compares the image's size with the planned one. In a step without sizes, the size
// does not change.
func sizeIs(ctx context.Context, i Image, want size.Bytes) error {
	if want == 0 {
		return nil
	}
	got, err := i.Size(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the image has %d bytes, %d were planned", int64(got), int64(want))
	}
	return nil
}

// Drop deletes all overlays.
func (o Overlays) Drop(ctx context.Context, _ plan.Step) error {
	return o.all(func(i Image) error { return i.DropOverlay(ctx) })
}

// CleanUp deletes all overlays, and then the saved bytes.
func (o Overlays) CleanUp(ctx context.Context, s plan.Step) error {
	if err := o.Drop(ctx, s); err != nil {
		return err
	}
	return o.all(func(i Image) error { return i.DropUndo(ctx) })
}

func (o Overlays) all(work func(Image) error) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o)) {
		errs = append(errs, work(o[name]))
	}
	return errors.Join(errs...)
}
