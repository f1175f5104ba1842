package growth

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// TestCheckDomain checks that a domain is refused if it cannot be shut down and started
// again unchanged.
func TestCheckDomain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*domain.Status)
		reason plan.Reason
	}{
		"running":          {change: func(*domain.Status) {}},
		"off":              {change: func(s *domain.Status) { s.State = domain.Off }},
		"transient":        {func(s *domain.Status) { s.Persistent = false }, plan.TransientDomain},
		"managed save":     {func(s *domain.Status) { s.Saved = true }, plan.ManagedSave},
		"paused":           {func(s *domain.Status) { s.State = domain.Held }, plan.DomainState},
		"job":              {func(s *domain.Status) { s.Job = true }, plan.DomainJob},
		"block job":        {func(s *domain.Status) { s.Blocked = []string{"vda"} }, plan.DomainJob},
		"stays off":        {change: func(s *domain.Status) { s.AfterPowerOff = "destroy" }},
		"starts again":     {func(s *domain.Status) { s.AfterPowerOff = "restart" }, plan.DomainState},
		"the first of two": {func(s *domain.Status) { s.Persistent, s.Job = false, true }, plan.TransientDomain},
	} {
		s := domain.Status{State: domain.Running, Persistent: true}
		c.change(&s)
		err := checkDomain("web", s)
		r, _ := plan.IsRefusal(err)
		if (r == nil) != (c.reason == "") || r != nil && r.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckCheckpoints(t *testing.T) {
	for _, c := range []struct {
		checkpoints int
		trial, ok   bool
	}{{0, true, true}, {2, false, true}, {2, true, false}} {
		err := checkCheckpoints(domain.Status{Checkpoints: c.checkpoints}, &plan.Guest{Name: "web", Trial: c.trial})
		if (err == nil) != c.ok {
			t.Errorf("%d checkpoints, trial %t: %v", c.checkpoints, c.trial, err)
		}
	}
}

// TestTreatment checks how a guest is shut down, and what its health check expects.
func TestTreatment(t *testing.T) {
	o := DomainOptions{ShutdownTimeout: time.Minute, BootTimeout: 2 * time.Minute, Settle: 30 * time.Second}
	with := func(change func(*DomainOptions)) DomainOptions {
		changed := o
		change(&changed)
		return changed
	}
	running := domain.Status{State: domain.Running}
	channel := domain.Definition{Channel: true}
	agent := domain.Status{Definition: channel, State: domain.Running, Agent: true}
	mute := domain.Status{Definition: channel, State: domain.Running}
	off := domain.Status{Definition: channel, State: domain.Off}
	for name, c := range map[string]struct {
		status  domain.Status
		options DomainOptions
		methods []string
		health  plan.Health
	}{
		"no agent":              {running, o, []string{"acpi 60"}, plan.Health{Settle: 30}},
		"agent":                 {agent, o, []string{"agent 60", "acpi 60"}, plan.Health{Agent: true, Limit: 120}},
		"agent does not answer": {mute, o, []string{"acpi 60"}, plan.Health{Settle: 30}},
		"off, with a channel":   {off, o, []string{"agent 60", "acpi 60"}, plan.Health{Agent: true, Limit: 120}},
		"off, --no-agent":       {off, with(func(o *DomainOptions) { o.NoAgent = true }), []string{"acpi 60"}, plan.Health{Settle: 30}},
		"force":                 {running, with(func(o *DomainOptions) { o.ForceOff = true }), []string{"acpi 60", "force 10"}, plan.Health{Settle: 30}},
		"a command": {running, with(func(o *DomainOptions) { o.HealthCommand = "true" }), []string{"acpi 60"},
			plan.Health{Settle: 30, Command: "true"}},
	} {
		var methods []string
		for _, m := range shutdownMethods(c.status, c.options) {
			methods = append(methods, fmt.Sprintf("%s %g", m.Method, m.Seconds))
		}
		if !slices.Equal(methods, c.methods) {
			t.Errorf("%s: %q, want %q", name, methods, c.methods)
		}
		if got := health(c.status, c.options); got != c.health {
			t.Errorf("%s: %+v, want %+v", name, got, c.health)
		}
	}
}

// TestTrialOverlays checks that each disk that the guest writes to gets an overlay for
// the trial, or is named as unprotected.
func TestTrialOverlays(t *testing.T) {
	file := domain.Disk{Target: "vdb", Device: "disk", Kind: "file", Source: "/b.raw", Format: "raw"}
	with := func(change func(*domain.Disk)) domain.Disk {
		changed := file
		change(&changed)
		return changed
	}
	scratch := DomainOptions{Scratch: "/scratch"}
	for name, c := range map[string]struct {
		disk    domain.Disk
		options DomainOptions
		want    bool
	}{
		"a file":                        {file, DomainOptions{}, true},
		"only the target":               {file, DomainOptions{OnlyTarget: true}, false},
		"shareable":                     {with(func(d *domain.Disk) { d.Shared = true }), DomainOptions{}, false},
		"passed through":                {with(func(d *domain.Disk) { d.Device = "lun" }), scratch, false},
		"without a format":              {with(func(d *domain.Disk) { d.Format = "" }), DomainOptions{}, false},
		"block device":                  {with(func(d *domain.Disk) { d.Kind = "block" }), DomainOptions{}, false},
		"block device, and a directory": {with(func(d *domain.Disk) { d.Kind = "block" }), scratch, true},
		"on the network":                {with(func(d *domain.Disk) { d.Kind = "network" }), scratch, false},
	} {
		if got := hasTrialOverlay(c.disk, c.options); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	d := &disk.Disk{Image: &image.Image{}, Def: domain.Disk{Target: "vda"}}
	d.Path, d.Format = "/a.raw", "raw"
	d.Target.Guest = &plan.Guest{Disk: "vda", Trial: true}
	d.Status.Disks = []domain.Disk{
		{Target: "vda", Device: "disk", Kind: "file", Source: "/a.raw", Format: "raw"},
		with(func(d *domain.Disk) { d.Shared = true }),
		with(func(d *domain.Disk) { d.Target, d.Fixed = "vdc", true }),
		with(func(d *domain.Disk) { d.Target, d.Transient = "vdd", true }),
	}
	if err := planTrial(t.Context(), d, DomainOptions{}); err != nil {
		t.Fatal(err)
	}
	g := d.Target.Guest
	if len(g.Disks) != 1 || g.Disks[0] != (plan.TrialDisk{Target: "vda", Path: "/a.raw", Format: "raw"}) || !slices.Equal(g.Unprotected, []string{"vdb"}) {
		t.Errorf("%+v", g)
	}
	d.Block = true
	if r, ok := plan.IsRefusal(planTrial(t.Context(), d, DomainOptions{})); !ok || r.Reason != plan.NoScratch {
		t.Errorf("a block device without a directory: %v", r)
	}
}
