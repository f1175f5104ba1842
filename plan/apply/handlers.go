package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

type action func(context.Context, *Run, plan.Step) error

// handler is what one kind of step means. verify may be nil where do itself
// cannot succeed without being right, undo where dropping the overlay is it.
type handler struct{ do, verify, undo action }

// Work does or undoes one step. It may be called again after a crash in the middle
// of it.
type Work func(context.Context, plan.Step) error

func (w Work) action() action {
	if w == nil {
		return nil
	}
	return func(ctx context.Context, _ *Run, s plan.Step) error { return w(ctx, s) }
}

// Handler is what one kind of step means in a job of another kind. Without an Undo
// it cannot be taken back once it was begun.
type Handler struct{ Do, Undo Work }

var handlers = map[plan.StepKind]handler{
	plan.StepOverlay: {do: createOverlay, undo: dropOverlay},
	plan.StepCheck:   {do: check},
	plan.StepMove:    {do: move},
	plan.StepTable:   {do: writeTable, verify: partitionsHaveSize},
	plan.StepCrypt:   {do: growCrypt, verify: deviceHasSize},
	plan.StepPV:      {do: growPV, verify: contentHasSize},
	plan.StepLV:      {do: growLV, verify: deviceHasSize},
	plan.StepFS:      {do: growFS}, // the verify step comes right behind it
	plan.StepVerify:  {do: verifyAll},
	plan.StepUndo:    {do: saveUndo, undo: dropUndo},
	plan.StepCommit:  {do: commit, verify: imageHasSize, undo: revert},
	plan.StepClean:   {do: cleanUp},

	plan.StepShutdown: {do: shutDown, undo: startAgain},
	plan.StepSwitch:   {do: redirect, undo: restore},
	plan.StepStart:    {do: start, undo: stop},
	plan.StepExtend:   {do: extend},
	plan.StepHealth:   {do: checkHealth},
	plan.StepPivot:    {do: pivot, verify: pivotedSize},
	plan.StepStop:     {do: shutDown},
	plan.StepRestore:  {do: restore},
}

func shutDown(ctx context.Context, r *Run, _ plan.Step) error    { return r.Guest.ShutDown(ctx) }
func startAgain(ctx context.Context, r *Run, _ plan.Step) error  { return r.Guest.StartAgain(ctx) }
func redirect(ctx context.Context, r *Run, _ plan.Step) error    { return r.Guest.Redirect(ctx) }
func restore(ctx context.Context, r *Run, _ plan.Step) error     { return r.Guest.Restore(ctx) }
func start(ctx context.Context, r *Run, _ plan.Step) error       { return r.Guest.Start(ctx) }
func stop(ctx context.Context, r *Run, _ plan.Step) error        { return r.Guest.Stop(ctx) }
func extend(ctx context.Context, r *Run, s plan.Step) error      { return r.Guest.Extend(ctx, s) }
func checkHealth(ctx context.Context, r *Run, _ plan.Step) error { return r.Guest.CheckHealth(ctx) }

func pivot(ctx context.Context, r *Run, s plan.Step) error { return r.Guest.Pivot(ctx, s.Device) }

// pivotedSize looks at the disk that grew; the others keep their size.
func pivotedSize(ctx context.Context, r *Run, s plan.Step) error {
	if s.To == 0 {
		return nil
	}
	return sizeIs(ctx, r, s.To)
}

func createOverlay(ctx context.Context, r *Run, s plan.Step) error {
	return r.Image.CreateOverlay(ctx, s.To)
}

func dropOverlay(ctx context.Context, r *Run, _ plan.Step) error {
	return r.Image.DropOverlay(ctx)
}

func check(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.Check(ctx, s.Device, s.Content)
}

func move(ctx context.Context, r *Run, s plan.Step) error { return r.Editor.Move(ctx, s) }

func writeTable(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.WriteTable(ctx, r.Plan.NewSize, s.Ends)
}

// partitionsHaveSize asks the appliance's kernel whether it sees the
// partitions as the table now has them.
func partitionsHaveSize(ctx context.Context, r *Run, s plan.Step) error {
	if slices.ContainsFunc(r.Plan.Steps, growsInside) {
		return nil // what grows inside is measured, and cannot be larger
	}
	for _, e := range s.Ends {
		if e.Delete {
			continue
		}
		name := fmt.Sprintf("sda%d", e.Number)
		want, ok := r.Plan.After.Find(name)
		if !ok {
			return fmt.Errorf("the plan has no %s", name)
		}
		if err := haveSize(ctx, r, name, want.Size); err != nil {
			return err
		}
	}
	return nil
}

func growsInside(s plan.Step) bool {
	return s.Kind == plan.StepFS || s.Kind == plan.StepPV || s.Kind == plan.StepCrypt
}

func growCrypt(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.GrowCrypt(ctx, s.Device)
}

func growPV(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.GrowPV(ctx, s.Device)
}

func growLV(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.GrowLV(ctx, s.Device, s.To)
}

func growFS(ctx context.Context, r *Run, s plan.Step) error {
	return r.Editor.GrowFS(ctx, s.Device, s.Content)
}

func deviceHasSize(ctx context.Context, r *Run, s plan.Step) error {
	return haveSize(ctx, r, s.Device, s.To)
}

func haveSize(ctx context.Context, r *Run, device string, want size.Bytes) error {
	got, err := r.Editor.DeviceSize(ctx, device)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s has %d bytes, %d were planned", device, int64(got), int64(want))
	}
	return nil
}

func contentHasSize(ctx context.Context, r *Run, s plan.Step) error {
	got, err := r.Editor.ContentSize(ctx, s.Device, plan.ContentPV)
	if err != nil {
		return err
	}
	if got != s.To {
		return fmt.Errorf("the PV on %s has %d bytes, %d were planned", s.Device, int64(got), int64(s.To))
	}
	return nil
}

// fills checks the file system's own idea of its size.
func fills(ctx context.Context, r *Run, device, content string, want size.Bytes) error {
	got, err := r.Editor.ContentSize(ctx, device, content)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the %s on %s has %d bytes, %d were planned", content, device, int64(got), int64(want))
	}
	return nil
}

// verifyAll looks at the whole result once more, with what did not write it.
// Devices' sizes were verified with the step that changed each.
func verifyAll(ctx context.Context, r *Run, s plan.Step) error {
	if err := r.Editor.VerifyTable(ctx); err != nil {
		return err
	}
	if s.Content == "" {
		return nil
	}
	if err := r.Editor.VerifyFS(ctx, s.Device, s.Content); err != nil {
		return err
	}
	return fills(ctx, r, s.Device, s.Content, s.To)
}

func saveUndo(ctx context.Context, r *Run, _ plan.Step) error { return r.Image.SaveUndo(ctx) }
func dropUndo(ctx context.Context, r *Run, _ plan.Step) error { return r.Image.DropUndo(ctx) }
func commit(ctx context.Context, r *Run, _ plan.Step) error   { return r.Image.Commit(ctx) }

func imageHasSize(ctx context.Context, r *Run, s plan.Step) error {
	return sizeIs(ctx, r, s.To)
}

func revert(ctx context.Context, r *Run, s plan.Step) error {
	if err := r.Image.Revert(ctx); err != nil {
		return err
	}
	return sizeIs(ctx, r, s.From)
}

func sizeIs(ctx context.Context, r *Run, want size.Bytes) error {
	got, err := r.Image.Size(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the image has %d bytes, %d were planned", int64(got), int64(want))
	}
	return nil
}

func cleanUp(ctx context.Context, r *Run, _ plan.Step) error {
	if err := r.Image.DropOverlay(ctx); err != nil {
		return err
	}
	return r.Image.DropUndo(ctx)
}
