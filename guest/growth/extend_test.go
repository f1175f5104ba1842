package growth

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// windowsVM is a Windows guest, running or off, whose agent has a fixed reply to each
// program.
type windowsVM struct {
	trialDomain
	state  domain.State
	answer error
}

func (w windowsVM) State(context.Context) (domain.State, error) { return w.state, nil }

func (w windowsVM) Ping(context.Context) error {
	if w.state != domain.Running {
		return errors.New("no agent")
	}
	return nil
}

func (w windowsVM) Exec(context.Context, []string) (string, error) { return "", w.answer }

// hold calls test with a growth of a guest that is treated in that way.
func hold(t *testing.T, treated *plan.Guest, test func(*growth)) {
	t.Helper()
	s := newStage(t, treated)
	ended := errors.New("the test has ended")
	_, err := s.Engine.Run(t.Context(), job.Spec{Kind: Kind, Target: s.disk.Target, Open: func(j *job.Job) (any, job.Work, error) {
		test(newGrowth(j, growthData{}, Options{}))
		return nil, nil, ended
	}})
	if !errors.Is(err, ended) {
		t.Fatal(err)
	}
}

// TestExtend checks that the trial fails if Windows cannot extend the volume. Without a
// trial, or if the agent may not run programs, the user is told to extend it, and the
// volume keeps its size.
func TestExtend(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		trial  bool
		vm     windowsVM
		byHand bool
		fails  bool
	}{
		{"done", true, windowsVM{state: domain.Running}, false, false},
		{"may not", true, windowsVM{state: domain.Running, answer: domain.ErrMayNotExec}, true, false},
		{"fails in the trial", true, windowsVM{state: domain.Running, answer: broken}, false, true},
		{"fails without a trial", false, windowsVM{state: domain.Running, answer: broken}, true, false},
		{"off", true, windowsVM{state: domain.Off}, false, true},
	} {
		guest := treatments("agent")
		guest.Trial = c.trial
		hold(t, guest, func(g *growth) {
			step := plan.Step{Kind: plan.StepExtend, Device: "sda1", Summary: "Windows extends C:", Script: "Resize-Partition"}
			volume := func(n size.Bytes) *plan.Layout {
				return &plan.Layout{Devices: []plan.Device{{Name: "sda1", Size: n, Content: plan.Content{Size: n}}}}
			}
			g.plan = &plan.Plan{Steps: []plan.Step{step}, Before: volume(size.GiB), After: volume(2 * size.GiB)}
			err := (&hostGuest{g, c.vm}).Extend(t.Context(), step)
			if (err != nil) != c.fails || slices.Contains(g.data.ByHand, "sda1") != c.byHand {
				t.Errorf("%s: %v, by hand %v", c.name, err, g.data.ByHand)
			}
			g.notExtended()
			if after, _ := g.plan.After.Find("sda1"); (after.Size == size.GiB) != c.byHand {
				t.Errorf("%s: the volume has %s afterwards", c.name, after.Size)
			}
			if steps := g.manualSteps(); (len(steps) > 0) != c.byHand {
				t.Errorf("%s: left to a person: %q", c.name, steps)
			}
		})
	}
}

// TestUnhealthy checks that a guest that went off by itself fails its health check.
func TestUnhealthy(t *testing.T) {
	for _, treated := range []string{"agent", "trial"} {
		hold(t, treatments(treated), func(g *growth) {
			err := (&hostGuest{g, windowsVM{state: domain.Off}}).CheckHealth(t.Context())
			if !errors.As(err, new(*Unhealthy)) {
				t.Errorf("%s: %v", treated, err)
			}
		})
	}
}
