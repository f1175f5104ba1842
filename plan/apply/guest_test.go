package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply/applytest"
)

// newGuestRig is newRig for a domain's disk.
func newGuestRig(t *testing.T, treat plan.Guest) (*rig, *applytest.Guest) {
	t.Helper()
	r := newRigFor(t, plan.Target{Path: "/a.qcow2", Format: "qcow2", Guest: &treat})
	g := &applytest.Guest{Image: r.image, Runs: treat.Running, WasRunning: treat.Running}
	r.growth.Guest = g
	return r, g
}

func treatments() map[string]plan.Guest {
	disks := []plan.TrialDisk{{Target: "vda", Path: "/a.qcow2", Format: "qcow2"}, {Target: "vdb", Path: "/b.raw", Format: "raw"}}
	attempts := []plan.ShutdownAttempt{{Method: "agent", Seconds: 60}}
	return map[string]plan.Guest{
		"trial":          {Name: "dev7", Disk: "vda", Running: true, Trial: true, Disks: disks, Shutdown: attempts},
		"no trial":       {Name: "dev7", Disk: "vda", Running: true, Shutdown: attempts},
		"off":            {Name: "dev7", Disk: "vda"},
		"off with trial": {Name: "dev7", Disk: "vda", Trial: true, Disks: disks[:1], Shutdown: attempts},
	}
}

// TestGuestForward checks that every way to treat a guest ends with the grown image, the
// domain on it, and the run state from before.
func TestGuestForward(t *testing.T) {
	for name, treat := range treatments() {
		t.Run(name, func(t *testing.T) {
			r, g := newGuestRig(t, treat)
			if err := r.forward(context.Background()); err != nil {
				t.Fatal(err)
			}
			if r.image.Bytes != "new" || r.image.Overlay || r.image.Undo || g.Overlay || g.Runs != treat.Running {
				t.Errorf("image %+v, guest %+v", r.image, g)
			}
		})
	}
}

// TestGuestFaults checks that an error at every boundary before the point of no return
// ends with the unchanged image and the run state from before.
func TestGuestFaults(t *testing.T) {
	fault := errors.New("injected")
	for name, treat := range treatments() {
		r, _ := newGuestRig(t, treat)
		for _, s := range r.growth.Plan.Steps {
			if s.Kind == plan.StepPivot || s.Kind == plan.StepClean {
				break // an undo is impossible from here on
			}
			for _, when := range []string{"before", "after"} {
				point := s.ID() + "/" + when
				t.Run(name+" "+strings.ReplaceAll(point, "/", "-"), func(t *testing.T) {
					r, g := newGuestRig(t, treat)
					r.run.Fault = func(_ context.Context, p string) error {
						if p == point {
							return fault
						}
						return nil
					}
					if err := r.forward(context.Background()); !errors.Is(err, fault) {
						t.Fatalf("the fault did not show: %v", err)
					}
					if err := r.back(context.Background()); err != nil {
						t.Fatal(err)
					}
					if r.image.Bytes != "old" || r.image.Overlay || r.image.Undo || g.Overlay || g.Runs != treat.Running {
						t.Errorf("image %+v, guest %+v", r.image, g)
					}
				})
			}
		}
	}
}

// TestSickGuest checks that a failed trial writes nothing into any image.
func TestSickGuest(t *testing.T) {
	r, g := newGuestRig(t, treatments()["trial"])
	g.Sick = true
	if err := r.forward(context.Background()); err == nil {
		t.Fatal("a sick guest passed")
	}
	if err := r.back(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(g.Committed) > 0 || r.image.Bytes != "old" || !g.Runs || g.Overlay {
		t.Errorf("image %+v, guest %+v", r.image, g)
	}
}
