package growth

import (
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// ForDomain returns the options for a domain's disks, for the treatment that flags or an
// inventory ask for. disks are the names of the disks; none if the domain has only one.
func ForDomain(t inventory.Treatment, disks ...string) DomainOptions {
	o := DomainOptions{
		NoTrial: !t.Trial, TrialBoot: t.TrialBoot, OnlyTarget: t.TrialDisks == "target", Manual: t.Accept == "manual",
		NoAgent: t.NoAgent, ForceOff: t.ForceOff, HealthCommand: t.HealthCommand,
		ShutdownTimeout: time.Duration(t.ShutdownTimeout), BootTimeout: time.Duration(t.BootTimeout), Settle: time.Duration(t.Settle),
		Sector: t.SectorSize, Scratch: t.ScratchDir,
	}
	if len(disks) > 0 {
		o.Disk, o.More = disks[0], disks[1:]
	}
	return o
}

// Treat sets the options for a treatment's outage.
func (o *Options) Treat(t inventory.Treatment) {
	o.Hooks = Hooks{Pre: t.Hooks.Pre, Post: t.Hooks.Post, OnFailure: t.Hooks.OnFailure}
	o.Window.Max, o.CheckLimit = time.Duration(t.MaxOutage), time.Duration(t.CheckTimeout)
	o.Scratch = t.ScratchDir
}

// ByTarget returns the request with the disks' names in the domain: the user may name them
// by the paths of their sources.
func ByTarget(r plan.Request, d *disk.Disk) plan.Request {
	r.More = slices.Clone(r.More)
	for i := range r.More {
		r.More[i].Disk = d.More[i].Def.Target
	}
	return r
}
