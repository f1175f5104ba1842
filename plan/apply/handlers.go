package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// Growth has what the steps of a growth work on.
type Growth struct {
	// Plan is needed by the steps inside the overlay.
	Plan   *plan.Plan
	Editor Editor
	// Overlays has the image that grows under the key "".
	Overlays Overlays
	// Guest is nil for an image without a domain.
	Guest Guest
}

// Handlers returns the growth's table. The handlers read the fields when a step runs, so
// the plan and the editor may be set later.
func (g *Growth) Handlers() map[plan.StepKind]Handler {
	h := map[plan.StepKind]Handler{
		plan.StepCheck:         {Do: g.check},
		plan.StepSnapshotCheck: {Do: g.check},
		plan.StepMove:          {Do: g.move},
		plan.StepTable:         {Do: g.writeTable, Verify: g.partitionsHaveSize},
		plan.StepCrypt:         {Do: g.growCrypt, Verify: g.deviceHasSize},
		plan.StepPV:            {Do: g.growPV, Verify: g.contentHasSize},
		plan.StepLV:            {Do: g.growLV, Verify: g.deviceHasSize},
		plan.StepFS:            {Do: g.growFS}, // the verify step follows directly
		plan.StepVerify:        {Do: g.verifyAll},
		plan.StepWrite:         {Do: g.writeFiles},

		plan.StepShutdown: {Do: g.shutDown, Undo: g.startAgain},
		plan.StepSwitch:   {Do: g.redirect, Undo: g.restore},
		plan.StepStart:    {Do: g.start, Undo: g.stop},
		plan.StepExtend:   {Do: g.extend},
		plan.StepHealth:   {Do: g.checkHealth},
		plan.StepPivot:    {Do: g.pivot, Verify: g.pivotedSize},
		plan.StepStop:     {Do: g.shutDown},
		plan.StepRestore:  {Do: g.restore},
	}
	maps.Copy(h, g.Overlays.Handlers())
	return h
}

func (g *Growth) shutDown(ctx context.Context, _ plan.Step) error    { return g.Guest.ShutDown(ctx) }
func (g *Growth) startAgain(ctx context.Context, _ plan.Step) error  { return g.Guest.StartAgain(ctx) }
func (g *Growth) redirect(ctx context.Context, _ plan.Step) error    { return g.Guest.Redirect(ctx) }
func (g *Growth) restore(ctx context.Context, _ plan.Step) error     { return g.Guest.Restore(ctx) }
func (g *Growth) start(ctx context.Context, _ plan.Step) error       { return g.Guest.Start(ctx) }
func (g *Growth) stop(ctx context.Context, _ plan.Step) error        { return g.Guest.Stop(ctx) }
func (g *Growth) extend(ctx context.Context, s plan.Step) error      { return g.Guest.Extend(ctx, s) }
func (g *Growth) checkHealth(ctx context.Context, _ plan.Step) error { return g.Guest.CheckHealth(ctx) }

func (g *Growth) pivot(ctx context.Context, s plan.Step) error { return g.Guest.Pivot(ctx, s.Device) }

// pivotedSize verifies the size of the disk that grew; the others keep their size.
func (g *Growth) pivotedSize(ctx context.Context, s plan.Step) error {
	if s.To == 0 {
		return nil
	}
	return g.Overlays.pivotedSize(ctx, s)
}

func (g *Growth) check(ctx context.Context, s plan.Step) error {
	if s.Full {
		return g.Editor.Check(ctx, s.Device, s.Content)
	}
	d, ok := g.Plan.Before.Find(s.Device)
	if !ok {
		return fmt.Errorf("the plan has no %s", s.Device)
	}
	return g.Editor.Compare(ctx, s.Device, d.Content)
}

func (g *Growth) move(ctx context.Context, s plan.Step) error { return g.Editor.Move(ctx, s) }

func (g *Growth) writeFiles(ctx context.Context, s plan.Step) error {
	return g.Editor.WriteFiles(ctx, s.Write)
}

func (g *Growth) writeTable(ctx context.Context, s plan.Step) error {
	disk := g.Plan.After.DiskNamed(s.Device)
	if disk == nil {
		return fmt.Errorf("the plan has no disk %s", s.Device)
	}
	return g.Editor.WriteTable(ctx, s.Device, disk.Size, s.Ends)
}

// partitionsHaveSize verifies that the appliance's kernel sees the partitions' new sizes.
func (g *Growth) partitionsHaveSize(ctx context.Context, s plan.Step) error {
	if slices.ContainsFunc(g.Plan.Steps, growsInside) {
		return nil // the sizes of the logical partitions are verified instead
	}
	for _, e := range s.Ends {
		if e.Delete {
			continue
		}
		name := plan.PartitionName(s.Device, strconv.Itoa(e.Number))
		want, ok := g.Plan.After.Find(name)
		if !ok {
			return fmt.Errorf("the plan has no %s", name)
		}
		if err := g.haveSize(ctx, name, want.Size); err != nil {
			return err
		}
	}
	return nil
}

func growsInside(s plan.Step) bool {
	return s.Kind == plan.StepFS || s.Kind == plan.StepPV || s.Kind == plan.StepCrypt
}

func (g *Growth) growCrypt(ctx context.Context, s plan.Step) error {
	return g.Editor.GrowCrypt(ctx, s.Device)
}

func (g *Growth) growPV(ctx context.Context, s plan.Step) error {
	return g.Editor.GrowPV(ctx, s.Device)
}

func (g *Growth) growLV(ctx context.Context, s plan.Step) error {
	return g.Editor.GrowLV(ctx, s.Device, s.To)
}

func (g *Growth) growFS(ctx context.Context, s plan.Step) error {
	if s.Mounted {
		return g.Editor.GrowMounted(ctx, s.Device, s.Content, s.To)
	}
	return g.Editor.GrowFS(ctx, s.Device, s.Content)
}

func (g *Growth) deviceHasSize(ctx context.Context, s plan.Step) error {
	return g.haveSize(ctx, s.Device, s.To)
}

func (g *Growth) haveSize(ctx context.Context, device string, want size.Bytes) error {
	got, err := g.Editor.DeviceSize(ctx, device)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s has %d bytes, %d were planned", device, int64(got), int64(want))
	}
	return nil
}

func (g *Growth) contentHasSize(ctx context.Context, s plan.Step) error {
	got, err := g.Editor.ContentSize(ctx, s.Device, plan.ContentPV)
	if err != nil {
		return err
	}
	if got != s.To {
		return fmt.Errorf("the PV on %s has %d bytes, %d were planned", s.Device, int64(got), int64(s.To))
	}
	return nil
}

// fills verifies the size that the file system records of itself.
func (g *Growth) fills(ctx context.Context, device, content string, want size.Bytes) error {
	got, err := g.Editor.ContentSize(ctx, device, content)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the %s on %s has %d bytes, %d were planned", content, device, int64(got), int64(want))
	}
	return nil
}

// verifyAll verifies the whole result with other tools than those that wrote it. The sizes
// of devices were verified with the steps that changed them.
func (g *Growth) verifyAll(ctx context.Context, s plan.Step) error {
	if err := g.Editor.VerifyTable(ctx); err != nil {
		return err
	}
	if s.Content == "" {
		return nil
	}
	if err := g.verifyFS(ctx, s); err != nil {
		return err
	}
	return g.fills(ctx, s.Device, s.Content, s.To)
}

func (g *Growth) verifyFS(ctx context.Context, s plan.Step) error {
	if s.Full {
		return g.Editor.VerifyFS(ctx, s.Device, s.Content)
	}
	return g.Editor.MountReadOnly(ctx, s.Device)
}
