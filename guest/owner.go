package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// DomainOptions are how a domain is to be treated.
type DomainOptions struct {
	// Disk is a target ("vda") or a source path; "" where there is only one.
	Disk string
	// NoTrial commits while the guest is off; TrialBoot starts a guest that
	// is off for the trial.
	NoTrial, TrialBoot bool
	// OnlyTarget leaves the other disks without overlays during the trial.
	OnlyTarget bool
	// Manual waits for accept after the health check.
	Manual bool
	// NoAgent does without the guest agent, even if there is one.
	NoAgent bool
	// ForceOff allows pulling the plug when nothing else helped.
	ForceOff bool
	// ShutdownTimeout is each rung's limit, BootTimeout the agent's after the
	// start, Settle the time a guest without agent has to run.
	ShutdownTimeout, BootTimeout, Settle time.Duration
	HealthCommand                        string
	// Sector is the sector size, where the definition does not say.
	Sector size.Bytes
	// Scratch is where overlays go; block devices need one for a trial.
	Scratch string
}

// The defaults of DomainOptions, for guests that take their time.
const (
	ShutdownTimeout = 3 * time.Minute
	BootTimeout     = 5 * time.Minute
	Settle          = 30 * time.Second
)

// owner is the domain whose disk an image is.
type owner struct {
	domain *domain.Domain
	survey domain.Survey
	// side are the other disks that get an overlay for the trial.
	side []SideOverlay
}

// OpenDomain finds a domain's disk and refuses what could not be grown safely.
// The image keeps the connection: Image.Close ends it.
func OpenDomain(ctx context.Context, d *domain.Domain, o DomainOptions) (*Image, error) {
	survey, err := d.Survey(ctx, !o.NoAgent)
	if err != nil {
		return nil, err
	}
	if err := judgeDomain(d, survey); err != nil {
		return nil, err
	}
	disk, err := chooseDisk(d, survey.Disks, o.Disk)
	if err != nil {
		return nil, err
	}
	if err := judgeDisk(d, disk); err != nil {
		return nil, err
	}
	open := OpenOptions{Format: disk.Format, Sector: size.Bytes(disk.Sector)}
	if open.Sector == 0 {
		open.Sector = o.Sector
	}
	if survey.State == domain.Running {
		open.access = block.Shared
	}
	img, err := Open(ctx, disk.Source, open)
	if err != nil {
		return nil, err
	}
	if err := img.checkBitmaps(ctx, d); err != nil {
		return nil, err
	}
	img.owner = &owner{domain: d, survey: survey}
	img.Target.Guest = guestOf(d, survey, disk, o)
	if err := judgeCheckpoints(d, survey, img.Target.Guest); err != nil {
		return nil, err
	}
	if err := img.planTrial(ctx, disk, o); err != nil {
		return nil, err
	}
	if survey.Snapshots > 0 {
		img.Notes = append(img.Notes, fmt.Sprintf("%s has %d snapshot(s) in libvirt: reverting to one of them takes the growth back", d.Name, survey.Snapshots))
	}
	return img, img.nobodyElses(ctx)
}

// guestOf writes down how the domain is treated.
func guestOf(d *domain.Domain, s domain.Survey, disk domain.Disk, o DomainOptions) *plan.Guest {
	running := s.State == domain.Running
	g := &plan.Guest{
		Connect: d.URI(), Name: d.Name, UUID: d.UUID, Disk: disk.Target, Bus: disk.Bus, Pool: disk.Volume.Pool,
		Running: running, Trial: running && !o.NoTrial || o.TrialBoot, Manual: o.Manual,
	}
	if running || g.Trial {
		g.Shutdown = ladder(s, o)
		g.Health = health(s, o)
		g.Exec = s.Exec
	}
	return g
}

func ladder(s domain.Survey, o DomainOptions) []plan.Rung {
	limit := o.ShutdownTimeout.Seconds()
	var rungs []plan.Rung
	if s.Agent || s.State != domain.Running && s.Channel && !o.NoAgent {
		rungs = append(rungs, plan.Rung{Way: string(domain.ByAgent), Seconds: limit})
	}
	rungs = append(rungs, plan.Rung{Way: string(domain.ByACPI), Seconds: limit})
	if o.ForceOff {
		rungs = append(rungs, plan.Rung{Way: string(domain.ByForce), Seconds: 10})
	}
	return rungs
}

// health expects the agent of a guest that has one: of one that is off, the
// channel is all there is to go by.
func health(s domain.Survey, o DomainOptions) plan.Health {
	h := plan.Health{Command: o.HealthCommand}
	if !o.NoAgent && (s.Agent || s.State != domain.Running && s.Channel) {
		h.Agent, h.Limit = true, o.BootTimeout.Seconds()
		return h
	}
	h.Settle = o.Settle.Seconds()
	return h
}

// judgeDomain refuses domains that cannot be shut down and started again
// without a surprise.
func judgeDomain(d *domain.Domain, s domain.Survey) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, d.Name, "domain %s %s", d.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case !s.Persistent:
		return refuse(plan.TransientDomain, "is transient: it would be gone once shut down")
	case s.Saved:
		return refuse(plan.ManagedSave, "has a managed save: a start would resume the saved guest, which knows the disk as it was")
	case s.State == domain.Held:
		return refuse(plan.DomainState, "is paused or suspended: it can neither be shut down nor is it off")
	}
	if err := judgeResize(d, s); err != nil {
		return err
	}
	if s.AfterPowerOff != "" && s.AfterPowerOff != "destroy" {
		return refuse(plan.DomainState, "does not stay off when it shuts down (on_poweroff is %s)", s.AfterPowerOff)
	}
	return nil
}

// judgeCheckpoints refuses a trial of a domain with checkpoints. A checkpoint is a bitmap
// in the image: qemu-img's commit and a resize of the running disk take the bitmaps along
// and mark in them what changed. The trial cannot: libvirt (9.0) makes no snapshot of a
// domain that is off and has checkpoints, and an incremental backup during the trial
// would look for the bitmap in the overlay.
func judgeCheckpoints(d *domain.Domain, s domain.Survey, g *plan.Guest) error {
	if s.Checkpoints == 0 || !g.Trial {
		return nil
	}
	return plan.Refuse(plan.Checkpoint, d.Name, "domain %s has %d checkpoint(s), and libvirt does not let a domain with checkpoints boot from an overlay for the trial", d.Name, s.Checkpoints)
}

// judgeResize refuses domains whose disks cannot get another size now, running or
// not.
func judgeResize(d *domain.Domain, s domain.Survey) error {
	if err := judgeJob(d, s); err != nil {
		return err
	}
	return judgeBlocked(d, s)
}

func judgeJob(d *domain.Domain, s domain.Survey) error {
	if s.Job {
		return plan.Refuse(plan.DomainJob, d.Name, "domain %s has a job under way: a backup, a migration or a save", d.Name)
	}
	return nil
}

func judgeBlocked(d *domain.Domain, s domain.Survey) error {
	if len(s.Blocked) > 0 {
		return plan.Refuse(plan.DomainJob, d.Name, "domain %s has a block job under way on %s", d.Name, strings.Join(s.Blocked, ", "))
	}
	return nil
}

// chooseDisk finds the disk by target or source.
func chooseDisk(d *domain.Domain, disks []domain.Disk, name string) (domain.Disk, error) {
	var writable []domain.Disk
	var names []string
	for _, disk := range disks {
		if name != "" && (disk.Target == name || samePath(disk.Source, name)) {
			return disk, nil
		}
		if disk.Writable() {
			writable = append(writable, disk)
			names = append(names, disk.Target)
		}
	}
	list := strings.Join(names, ", ")
	switch {
	case name != "":
		return domain.Disk{}, plan.Refuse(plan.NotFound, name, "domain %s has no disk %s; it has %s", d.Name, name, list)
	case len(writable) == 0:
		return domain.Disk{}, plan.Refuse(plan.NotFound, d.Name, "domain %s has no disk that it writes to", d.Name)
	case len(writable) > 1:
		return domain.Disk{}, plan.Refuse(plan.AmbiguousDisk, d.Name, "domain %s has %d disks: %s", d.Name, len(writable), list)
	}
	return writable[0], nil
}

func samePath(a, b string) bool {
	if a == "" || !strings.Contains(b, "/") {
		return false
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func judgeDisk(d *domain.Domain, disk domain.Disk) error {
	refuse := func(reason plan.Reason, format string, args ...any) error {
		return plan.Refuse(reason, d.Name, "disk %s of %s %s", disk.Target, d.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case disk.Fixed:
		return refuse(plan.DiskReadOnly, "is read-only")
	case disk.Device != "disk":
		return refuse(plan.DiskUnsupported, "is a %s, not a disk", disk.Device)
	case disk.Transient:
		return refuse(plan.DiskUnsupported, "is transient: what is written to it is thrown away")
	case disk.Shared:
		return refuse(plan.DiskShared, "is shareable: others may write to it at the same time")
	case disk.Why != "":
		return notAFile(d, disk)
	case disk.Kind != "file" && disk.Kind != "block":
		return refuse(plan.DiskUnsupported, "is of type %q: only files and block devices can be grown", disk.Kind)
	case disk.Format == "":
		return refuse(plan.FormatMissing, "(%s) has no format in its definition: its <disk> lacks <driver name='qemu' type='qcow2'/>, or type='raw' (virsh edit %s)", disk.Source, d.Name)
	}
	return nil
}

// notAFile refuses the volume of a pool that is no file or block device, or cannot be
// found.
func notAFile(d *domain.Domain, disk domain.Disk) error {
	r := plan.Refuse(plan.DiskUnsupported, d.Name, "disk %s of %s is no file that can be worked on: %s", disk.Target, d.Name, disk.Why)
	if disk.Asleep {
		r.Subject, r.Way = disk.Volume.Pool, plan.WayStartPool
	}
	return r
}

// planTrial decides which disks get an overlay. A guest whose disks are not
// all of one moment after a rollback would be worse off than before.
func (img *Image) planTrial(ctx context.Context, disk domain.Disk, o DomainOptions) error {
	g := img.Target.Guest
	if !g.Trial {
		return nil
	}
	if img.Block && o.Scratch == "" {
		return plan.Refuse(plan.NoScratch, img.Path, "%s is a block device: there is no folder beside it for the overlay of the trial", img.Path)
	}
	g.Disks = []plan.TrialDisk{{Target: disk.Target, Path: img.Path, Format: img.Format}}
	for _, other := range img.owner.survey.Disks {
		if other.Target == disk.Target || !other.Writable() || other.Transient {
			continue
		}
		side, err := img.side(ctx, other, o)
		if err != nil {
			return err
		}
		if side == nil {
			g.Unprotected = append(g.Unprotected, other.Target)
			continue
		}
		img.owner.side = append(img.owner.side, *side)
		g.Disks = append(g.Disks, plan.TrialDisk{Target: other.Target, Path: side.Image, Format: side.Format})
	}
	return nil
}

// side is another disk's overlay; nil where it can have none.
func (img *Image) side(ctx context.Context, disk domain.Disk, o DomainOptions) (*SideOverlay, error) {
	formatted := disk.Format == "qcow2" || disk.Format == "raw"
	placed := disk.Kind == "file" || disk.Kind == "block" && o.Scratch != ""
	if o.OnlyTarget || disk.Shared || disk.Device != "disk" || !formatted || !placed {
		return nil, nil
	}
	path, err := filepath.EvalSymlinks(disk.Source)
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", disk.Target, err)
	}
	info, err := block.Inspect(ctx, path, disk.Format, img.access)
	if err != nil {
		return nil, imageError(path, err)
	}
	return &SideOverlay{Target: disk.Target, Image: path, Format: disk.Format, Size: info.VirtualSize}, nil
}

// sideOverlays gives the side overlays their files.
func (o *owner) sideOverlays(job, scratch string) []SideOverlay {
	sides := slices.Clone(o.side)
	for i := range sides {
		dir := scratch
		if dir == "" {
			dir = filepath.Dir(sides[i].Image)
		}
		// virt-aa-helper reads .qcow2 files alone, see factsFor.
		sides[i].Path = filepath.Join(dir, fmt.Sprintf("%s.%s.virt-grow-%s.qcow2", filepath.Base(sides[i].Image), sides[i].Target, job))
	}
	return sides
}

// nobodyElses refuses when another domain has the image, or has it below an
// overlay of its own: a commit would change it under that one's feet.
func (img *Image) nobodyElses(ctx context.Context) error {
	users, err := img.owner.domain.Others(ctx)
	if err != nil {
		return err
	}
	ours := []string{img.Path}
	for _, side := range img.owner.side {
		ours = append(ours, side.Image)
	}
	for _, user := range users {
		for depth, path := range chainOf(ctx, user.Disk) {
			i := slices.IndexFunc(ours, func(p string) bool { return samePath(path, p) })
			if i < 0 {
				continue
			}
			if depth == 0 {
				return plan.Refuse(plan.DiskShared, user.Domain, "%s is disk %s of domain %s as well", ours[i], user.Target, user.Domain)
			}
			return plan.Refuse(plan.ChainShared, user.Domain, "%s lies below disk %s of domain %s (%s)", ours[i], user.Target, user.Domain, user.Disk.Source)
		}
	}
	return nil
}

// chainOf is a disk's own file and those below it, as far as they can be
// found: another domain's images are not ours to judge.
func chainOf(ctx context.Context, disk domain.Disk) []string {
	if disk.Source == "" {
		return nil
	}
	chain := append([]string{disk.Source}, disk.Lower...)
	path, format := disk.Source, disk.Format
	for range 64 {
		if format == "" || format == "raw" {
			return chain
		}
		info, err := block.Inspect(ctx, path, format, block.Shared)
		if err != nil || info.Backing == "" {
			return chain
		}
		path, format = info.Backing, info.BackingFormat
		chain = append(chain, path)
	}
	return chain
}

// Close ends the connection to the domain's libvirt, if there is one.
func (img *Image) Close() error {
	if img == nil || img.owner == nil {
		return nil
	}
	return img.owner.domain.Close()
}
