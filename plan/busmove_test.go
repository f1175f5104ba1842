package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

func TestBusMove(t *testing.T) {
	keep := plan.Request{Size: plan.Amount{Mode: plan.Keep}, Grow: []plan.GrowTarget{{Name: plan.GrowNone, Amount: plan.Amount{Mode: plan.Fill}}}, Bus: &plan.BusRequest{To: "virtio"}}
	forced := keep
	forced.Bus = &plan.BusRequest{To: "virtio", EvenUnbootable: true}
	grows := request("+1G")
	grows.Bus = keep.Bus
	files := []plan.FileEdit{{Path: "/etc/fstab", Before: []byte("/dev/sda1"), After: []byte("UUID=1")}}
	problem := plan.Refuse(plan.BusDriver, "6.1.0", "there is no virtio_blk")
	const trial = "switch start health pivot:hda restore clean-up"
	for name, c := range map[string]struct {
		request plan.Request
		guest   plan.Guest
		found   *plan.BusFindings
		running bool
		steps   string
		warns   string
		refused plan.Reason
	}{
		"moves":                    {request: keep, found: &plan.BusFindings{}, running: true, steps: "shutdown overlay " + trial},
		"moves, off":               {request: keep, found: &plan.BusFindings{}, steps: "overlay " + strings.Replace(trial, "restore", "stop restore", 1)},
		"names are replaced":       {request: keep, found: &plan.BusFindings{Files: files, Warnings: []string{"a warning"}}, running: true, steps: "shutdown overlay write " + trial, warns: "a warning"},
		"moves and grows":          {request: grows, found: &plan.BusFindings{Files: files}, running: true, steps: "shutdown overlay check:sda fs:sda verify:sda write " + trial},
		"no driver":                {request: keep, found: &plan.BusFindings{Problem: problem}, refused: plan.BusDriver},
		"no driver, but forced":    {request: forced, found: &plan.BusFindings{Problem: problem, Files: files}, running: true, steps: "shutdown overlay write " + trial, warns: "no virtio_blk"},
		"no agent":                 {request: forced, guest: plan.Guest{Name: "no agent"}, found: &plan.BusFindings{}, refused: plan.NoAgent},
		"no agent, but a command":  {request: keep, guest: plan.Guest{Health: plan.Health{Command: "ping"}}, found: &plan.BusFindings{}, running: true, steps: "shutdown overlay " + trial},
		"no agent, but a person":   {request: keep, guest: plan.Guest{Manual: true}, found: &plan.BusFindings{}, running: true, steps: "shutdown overlay " + trial},
		"nothing was looked at":    {request: keep, refused: plan.BusUnclear},
		"not even with --even-...": {request: forced, refused: plan.BusUnclear},
	} {
		l := whole(fs("xfs", 10*GiB))
		l.Bus = c.found
		g := &plan.Guest{Name: "old", Disk: "hda", Bus: "ide", Running: c.running, Trial: true, Manual: c.guest.Manual, Health: c.guest.Health,
			Disks: []plan.TrialDisk{{Target: "hda"}}, Moves: []plan.BusMove{{Disk: "hda", Target: "vda", From: "ide", To: "virtio"}}}
		if c.guest.Name+c.guest.Health.Command == "" && !c.guest.Manual {
			g.Health.Agent = true
		}
		target := plan.Target{Path: "/a", Format: "qcow2", Guest: g}
		p, err := plan.Build(l, target, c.request)
		if r, ok := plan.IsRefusal(err); ok || c.refused != "" {
			if !ok || r.Reason != c.refused {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(ids(p), " "); got != c.steps {
			t.Errorf("%s: %s, want %s", name, got, c.steps)
		}
		if c.warns != "" && !slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, c.warns) }) {
			t.Errorf("%s: warnings %q", name, p.Warnings)
		}
		if moves := p.Steps[slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.StepSwitch })].Summary; !strings.Contains(moves, "hda from ide to virtio, as vda") {
			t.Errorf("%s: %s", name, moves)
		}
		again := *l
		again.Bus = nil
		if again.Fingerprint() != p.Fingerprint {
			t.Errorf("%s: the fingerprint depends on what was found about the bus", name)
		}
		if !p.Changes() || p.Resizes() != (c.request.Size.Mode != plan.Keep) {
			t.Errorf("%s: changes %t, resizes %t", name, p.Changes(), p.Resizes())
		}
	}
}
