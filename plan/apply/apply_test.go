package apply_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/apply/applytest"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

const MiB, GiB = size.MiB, size.GiB

// volume returns LVM directly on the disk. Its plan has every kind of step but table and
// crypt.
func volume() *plan.Layout {
	pv := size.Bytes(1023) * 4 * MiB
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: 4 * GiB, Sector: 512},
		Devices: []plan.Device{
			{Name: "sda", Kind: plan.Disk, Size: 4 * GiB, Content: plan.Content{Type: plan.ContentPV, Size: pv, Offset: MiB, Group: "vg"}},
			{Name: "vg/data", Kind: plan.LV, Group: "vg", Size: pv, Content: plan.Content{Type: "xfs", Size: pv}},
		},
		Groups: []plan.Group{{Name: "vg", Extent: 4 * MiB, PVs: []string{"sda"}}}}
}

// rig is a run on fakes, with a real journal.
type rig struct {
	run    *apply.Run
	growth *apply.Growth
	image  *applytest.Image
	editor *applytest.Editor
	log    *journal.Log
	events []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigFor(t, plan.Target{Path: "/a.raw", Format: "raw"})
}

func newRigFor(t *testing.T, target plan.Target) *rig {
	t.Helper()
	l := volume()
	p, err := plan.Build(l, target, plan.Request{Size: plan.Amount{Mode: plan.Relative, Bytes: GiB}})
	if err != nil {
		t.Fatal(err)
	}
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	r := &rig{image: &applytest.Image{Old: l.Size, Bytes: "old"}, editor: applytest.NewEditor(l, p.NewSize), log: log}
	r.growth = &apply.Growth{Plan: p, Overlays: apply.Overlays{"": r.image}, Editor: r.editor}
	r.run = &apply.Run{Handlers: r.growth.Handlers(), Log: log, Now: time.Now,
		Emit: func(e apply.Event) { r.events = append(r.events, string(e.Phase)+" "+e.Step.ID()) }}
	return r
}

func (r *rig) begun(id string) bool {
	record := journal.Replay(r.log.Entries())
	return record.Done[id] || record.Running == id
}

func (r *rig) forward(ctx context.Context) error {
	return r.run.Forward(ctx, r.growth.Plan.Steps, journal.Replay(r.log.Entries()).Done)
}

func (r *rig) back(ctx context.Context) error {
	return r.run.Back(ctx, r.growth.Plan.Steps, r.begun)
}

func TestFakeKeepsTheSuite(t *testing.T) {
	r := newRig(t)
	applytest.Suite(t, r.editor, r.growth.Plan)
}

func TestForward(t *testing.T) {
	r := newRig(t)
	if err := r.forward(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r.image.Bytes != "new" || r.image.Overlay || r.image.Undo {
		t.Errorf("image is %+v", r.image)
	}
	record := journal.Replay(r.log.Entries())
	for _, s := range r.growth.Plan.Steps {
		if !record.Done[s.ID()] || !slices.Contains(r.events, "finished "+s.ID()) {
			t.Errorf("%s is not done", s.ID())
		}
	}
}

// TestFaults injects an error at every step boundary. Undoing always restores the image
// and leaves no file; continuing ends with the grown image.
func TestFaults(t *testing.T) {
	for _, s := range newRig(t).growth.Plan.Steps {
		for _, when := range []string{"before", "after"} {
			point := s.ID() + "/" + when
			t.Run(strings.ReplaceAll(point, "/", "-"), func(t *testing.T) {
				r := newRig(t)
				fault := errors.New("injected")
				r.run.Fault = func(_ context.Context, p string) error {
					if p == point {
						return fault
					}
					return nil
				}
				if err := r.forward(context.Background()); !errors.Is(err, fault) {
					t.Fatalf("the fault did not show: %v", err)
				}
				if point == "clean-up/after" || point == "clean-up/before" {
					return // after the commit, an undo may be impossible
				}
				if err := r.back(context.Background()); err != nil {
					t.Fatal(err)
				}
				if r.image.Bytes != "old" || r.image.Overlay || r.image.Undo {
					t.Errorf("after the way back: %+v", r.image)
				}
			})
		}
	}
}

// TestTornCommit continues and undoes an interrupted commit.
func TestTornCommit(t *testing.T) {
	full := errors.New("no space left on device")
	t.Run("back", func(t *testing.T) {
		r := newRig(t)
		r.image.Tear = full
		if err := r.forward(context.Background()); !errors.Is(err, full) {
			t.Fatal(err)
		}
		if r.image.Bytes != "torn" {
			t.Fatal("the commit was not torn: the test proves nothing")
		}
		if err := r.back(context.Background()); err != nil || r.image.Bytes != "old" {
			t.Errorf("%v, %+v", err, r.image)
		}
	})
	t.Run("forward", func(t *testing.T) {
		r := newRig(t)
		r.image.Tear = full
		if err := r.forward(context.Background()); err == nil {
			t.Fatal("no error")
		}
		if err := r.forward(context.Background()); err != nil || r.image.Bytes != "new" {
			t.Errorf("%v, %+v", err, r.image)
		}
	})
}

// stuck is an image whose commit cannot be undone.
type stuck struct{ *applytest.Image }

func (stuck) Revert(context.Context) error { return errors.New("stuck") }

func TestBackStopsAtTheCommit(t *testing.T) {
	r := newRig(t)
	r.growth.Overlays[""] = stuck{r.image}
	r.image.Tear = errors.New("torn")
	if err := r.forward(context.Background()); err == nil {
		t.Fatal("no error")
	}
	if err := r.back(context.Background()); err == nil {
		t.Fatal("no error")
	}
	if !r.image.Overlay || !r.image.Undo {
		t.Errorf("the overlay or the saved bytes were thrown away while the image is torn: %+v", r.image)
	}
}

func TestCancelled(t *testing.T) {
	r := newRig(t)
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(context.Background())
	r.run.Fault = func(ctx context.Context, point string) error {
		if strings.HasPrefix(point, "fs:") {
			cancel(cause)
			<-ctx.Done()
			return fmt.Errorf("whatever the tool says when killed")
		}
		return nil
	}
	if err := r.forward(ctx); !errors.Is(err, cause) {
		t.Errorf("the cause of the cancellation got lost: %v", err)
	}
}

// wrong is an editor whose result is not as planned.
type wrong struct{ *applytest.Editor }

func (wrong) GrowPV(context.Context, string) error { return nil }

func TestVerifyCatchesUndoneWork(t *testing.T) {
	r := newRig(t)
	r.growth.Editor = wrong{r.editor}
	if err := r.forward(context.Background()); err == nil || !strings.Contains(err.Error(), "were planned") {
		t.Errorf("a step that did nothing passed: %v", err)
	}
}

func TestRefusalFromACheck(t *testing.T) {
	r := newRig(t)
	r.editor.Damaged = true
	err := r.forward(context.Background())
	if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != plan.FSDamaged {
		t.Errorf("not a refusal: %v", err)
	}
	if r.image.Bytes != "old" {
		t.Error("the image changed")
	}
}
