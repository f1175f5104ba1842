package guest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

// probeLimit is how long a guest may take to say what block devices it has.
const probeLimit = time.Minute

// lookInside finds out what the guest has to do: by asking it, or where it cannot be
// asked by looking at the disk.
func (p *Online) lookInside(ctx context.Context, s domain.Survey, o OnlineOptions) error {
	if p.InGuest == ByNobody {
		return nil
	}
	if s.Agent {
		p.Before, _ = p.domain.FileSystems(ctx) // one that cannot say is not held to it
		p.Windows = p.isWindows(ctx)
	}
	if p.afterRestart() {
		p.InGuest = ByPerson
		return nil
	}
	if p.Windows {
		p.Commands = []live.Command{{What: "fs", Argv: plan.PowerShell(live.WindowsScript(p.To))}}
		return nil
	}
	if s.Exec {
		return p.ask(ctx)
	}
	layout, err := Look(ctx, p.image, o.Session, func(*plan.Layout) plan.Closeness { return plan.LookAtContents }, nil)
	if err != nil {
		return fmt.Errorf("cannot see what is on the disk: %w", err)
	}
	return p.compute(live.FromLayout(layout, p.Target.Guest.Disk), "/dev/"+p.Target.Guest.Disk)
}

// isWindows sees it by the drive letters, or asks.
func (p *Online) isWindows(ctx context.Context) bool {
	if len(p.Before) > 0 {
		return slices.ContainsFunc(p.Before, func(f domain.FS) bool { return strings.Contains(f.MountPoint, `:\`) })
	}
	return p.domain.OS(ctx) == "mswindows"
}

// afterRestart says that the guest notices nothing before it is started again.
func (p *Online) afterRestart() bool {
	return p.Sent != "" && live.RebootOnly(p.Target.Guest.Bus)
}

// ask asks the guest. Which of several disks of one size it is shows when it grows.
func (p *Online) ask(ctx context.Context) error {
	var err error
	if p.Seen, err = probe(ctx, p.domain); err != nil {
		return err
	}
	disks := p.Seen.Disks(p.From, p.Disk)
	switch len(disks) {
	case 0:
		return plan.Refuse(plan.NotFound, p.domain.Name, "the guest has no disk of %d bytes, as QEMU has", int64(p.From))
	case 1:
		return p.compute(p.Seen, disks[0].Path)
	}
	p.Notes = append(p.Notes, fmt.Sprintf("the guest has %d disks of this size: which of them it is shows when it grows", len(disks)))
	return nil
}

// compute makes the commands.
func (p *Online) compute(g live.Guest, disk string) error {
	stack, err := g.Stack(disk, p.Grow)
	if err != nil {
		return err
	}
	p.Disk.Path, p.Top = disk, stack[len(stack)-1]
	p.Commands, err = g.Commands(stack, p.To)
	return err
}

// probe has the guest say what block devices it has.
func probe(ctx context.Context, d *domain.Domain) (live.Guest, error) {
	ctx, stop := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("the guest did not say within %s what block devices it has", probeLimit))
	defer stop()
	ran, err := d.Run(ctx, live.Probe(), "")
	if err != nil {
		return live.Guest{}, fmt.Errorf("cannot ask the guest for its block devices: %w", err)
	}
	if ran.Status != 0 {
		return live.Guest{}, fmt.Errorf("lsblk in the guest ended with status %d: %s", ran.Status, domain.FirstLine(ran.Err))
	}
	return live.ReadProbe(string(ran.Out))
}

// mounted gives the file system as the agent saw it.
func mounted(all []domain.FS, at string) (domain.FS, bool) {
	i := slices.IndexFunc(all, func(f domain.FS) bool { return f.MountPoint == at })
	if i < 0 || at == "" {
		return domain.FS{}, false
	}
	return all[i], true
}
