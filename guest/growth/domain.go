package growth

import (
	"context"
	"fmt"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// DomainOptions say how a domain is treated.
type DomainOptions struct {
	// More are other disks that are edited together with it, named in the same way.
	More []string
	// Disk is a target ("vda") or a source path; "" if there is only one.
	Disk string
	// NoTrial commits while the guest is off; TrialBoot starts a guest that
	// is off for the trial.
	NoTrial, TrialBoot bool
	// OnlyTarget leaves the other disks without overlays during the trial.
	OnlyTarget bool
	// Manual waits for accept after the health check.
	Manual bool
	// NoAgent does not use the guest agent, even if there is one.
	NoAgent bool
	// ForceOff allows powering the guest off if it does not shut down.
	ForceOff bool
	// ShutdownTimeout limits each shutdown method, BootTimeout the wait for the agent
	// after the start; a guest without an agent must keep running for Settle.
	ShutdownTimeout, BootTimeout, Settle time.Duration
	HealthCommand                        string
	// Sector is the sector size, if the definition has none.
	Sector size.Bytes
	// Scratch is the directory for overlays; block devices need one for a trial.
	Scratch string
	// Bus is the bus that disks move to; "" moves none. Moves are the disks that move; none
	// means all that are named in Disk and More.
	Bus   string
	Moves []string
}

// Names returns the names of the disks that the user gave; "" for the only disk.
func (o DomainOptions) Names() []string { return append([]string{o.Disk}, o.More...) }

// The defaults of DomainOptions, for slow guests.
const (
	ShutdownTimeout = inventory.ShutdownTimeout
	BootTimeout     = inventory.BootTimeout
	Settle          = inventory.Settle
)

// OpenDomain finds a domain's disk and refuses one that cannot be grown safely. Closing the
// disk closes the connection to libvirt.
func OpenDomain(ctx context.Context, d *domain.Domain, o DomainOptions) (*disk.Disk, error) {
	status, err := d.Status(ctx, !o.NoAgent)
	if err != nil {
		return nil, err
	}
	if err := checkDomain(d.Name, status); err != nil {
		return nil, err
	}
	named, err := chooseDisks(d.Name, status.Disks, o.Names())
	if err != nil {
		return nil, err
	}
	moves, err := movesOf(ctx, d, named, o)
	if err != nil {
		return nil, err
	}
	var notes []string
	if len(moves) > 0 {
		named, notes = withOthers(d.Name, status.Disks, named, o.Scratch)
	}
	opened, err := openDisks(ctx, d, status, named, o.Sector)
	if err != nil {
		return nil, err
	}
	opened.Notes = append(opened.Notes, notes...)
	o.TrialBoot = o.TrialBoot || len(moves) > 0
	g := guestOf(d, status, opened.Def, o)
	g.Moves = moves
	opened.Target.Guest = g
	if err := checkCheckpoints(status, g); err != nil {
		return nil, err
	}
	if g.Trial {
		if err := d.CheckCommit(ctx); err != nil {
			return nil, err
		}
	}
	if err := planTrial(ctx, opened, o); err != nil {
		return nil, err
	}
	if status.Snapshots > 0 {
		opened.Notes = append(opened.Notes, fmt.Sprintf("%s has %d snapshot(s) in libvirt: reverting to one of them takes the growth back", d.Name, status.Snapshots))
	}
	return opened, disk.CheckNotShared(ctx, d, append(pathsOf(opened), otherImages(opened.Target)...)...)
}

// chooseDisks returns the disks with these names.
func chooseDisks(domainName string, disks []domain.Disk, names []string) (chosen []domain.Disk, err error) {
	for _, name := range names {
		def, err := disk.Choose(domainName, disks, name)
		if err != nil {
			return nil, err
		}
		if _, again := disk.ByTarget(chosen, def.Target); again {
			return nil, plan.Refuse(plan.AmbiguousDisk, domainName, "disk %s of %s is given twice", def.Target, domainName)
		}
		chosen = append(chosen, def)
	}
	return chosen, nil
}

// openDisks opens disks that are edited together. The first one closes the connection.
func openDisks(ctx context.Context, d *domain.Domain, status domain.Status, defs []domain.Disk, sector size.Bytes) (*disk.Disk, error) {
	opened, err := disk.OpenWritable(ctx, d, status, defs[0], sector)
	if err != nil {
		return nil, err
	}
	for _, def := range defs[1:] {
		more, err := disk.OpenWritable(ctx, d, status, def, sector)
		if err != nil {
			return nil, err
		}
		more.Domain = nil
		opened.Join(more)
	}
	return opened, nil
}

// pathsOf returns the images of the disks that are edited.
func pathsOf(d *disk.Disk) (paths []string) {
	for _, each := range d.All() {
		paths = append(paths, each.Path)
	}
	return paths
}

// guestOf describes how the domain is treated, for the plan.
func guestOf(d *domain.Domain, s domain.Status, def domain.Disk, o DomainOptions) *plan.Guest {
	running := s.State == domain.Running
	g := &plan.Guest{
		Connect: d.URI(), Name: d.Name, UUID: d.UUID, Disk: def.Target, Bus: def.Bus, Pool: def.Volume.Pool,
		Running: running, Trial: running && !o.NoTrial || o.TrialBoot, Manual: o.Manual,
	}
	if running || g.Trial {
		g.Shutdown = shutdownMethods(s, o)
		g.Health = health(s, o)
		g.Exec = s.Exec
		g.Snapshot = s.Backup
	}
	return g
}

func shutdownMethods(s domain.Status, o DomainOptions) []plan.ShutdownAttempt {
	limit := o.ShutdownTimeout.Seconds()
	var methods []plan.ShutdownAttempt
	if s.Agent || s.State != domain.Running && s.Channel && !o.NoAgent {
		methods = append(methods, plan.ShutdownAttempt{Method: string(domain.ByAgent), Seconds: limit})
	}
	methods = append(methods, plan.ShutdownAttempt{Method: string(domain.ByACPI), Seconds: limit})
	if o.ForceOff {
		methods = append(methods, plan.ShutdownAttempt{Method: string(domain.ByForce), Seconds: 10})
	}
	return methods
}

// health returns the health check after the start. It uses the agent if the guest has one; a
// guest that is off is assumed to have one if there is a channel for it.
func health(s domain.Status, o DomainOptions) plan.Health {
	h := plan.Health{Command: o.HealthCommand}
	if !o.NoAgent && (s.Agent || s.State != domain.Running && s.Channel) {
		h.Agent, h.Limit = true, o.BootTimeout.Seconds()
		return h
	}
	h.Settle = o.Settle.Seconds()
	return h
}

// checkDomain refuses domains that cannot be shut down and started again safely.
func checkDomain(name string, s domain.Status) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, name, "domain %s %s", name, fmt.Sprintf(format, args...))
	}
	switch {
	case !s.Persistent:
		return refuse(plan.TransientDomain, "is transient: it would be gone once shut down")
	case s.Saved:
		return refuse(plan.ManagedSave, "has a managed save: a start would resume the saved guest, which expects the old disk")
	case s.State == domain.Held:
		return refuse(plan.DomainState, "is paused or suspended: it can neither be shut down nor is it off")
	}
	if err := disk.CheckResizable(name, s); err != nil {
		return err
	}
	if s.AfterPowerOff != "" && s.AfterPowerOff != "destroy" {
		return refuse(plan.DomainState, "does not stay off when it shuts down (on_poweroff is %s)", s.AfterPowerOff)
	}
	return nil
}

// checkCheckpoints refuses a trial of a domain with checkpoints. A checkpoint is a bitmap in
// the image. qemu-img commit and a resize of the running disk keep the bitmaps and mark
// their changes in them. A trial does not: libvirt (9.0) takes no snapshot of a domain that
// is off and has checkpoints, and an incremental backup during the trial would look for the
// bitmap in the overlay.
func checkCheckpoints(s domain.Status, g *plan.Guest) error {
	if s.Checkpoints == 0 || !g.Trial {
		return nil
	}
	return plan.Refuse(plan.Checkpoint, g.Name, "domain %s has %d checkpoint(s), and libvirt does not let a domain with checkpoints boot from an overlay for the trial", g.Name, s.Checkpoints)
}
