package usage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
)

// Agent is what the package needs of a running guest. *domain.Domain is one.
type Agent interface {
	// Live reads the definition that the guest runs with.
	Live(context.Context) (domain.Definition, error)
	// DiskFileSystems lists what the guest has mounted, with the disks of the definition.
	// It returns when the context ends.
	DiskFileSystems(context.Context, domain.Definition) ([]domain.DiskFS, error)
}

// Asked is a domain that is asked.
type Asked struct {
	Name, UUID string
	State      domain.State
	Agent      Agent
}

// Limit is how long one guest may take to answer. It is longer than libvirt's own limit, so
// that a request has ended in libvirt, too, when the next guest is asked.
const Limit = 6 * time.Second

// width is how many guests are asked at a time. libvirtd works on five requests of one
// client at a time (libvirtd.conf(5): max_client_requests); another one would wait for its
// turn while its limit runs.
const width = 5

// Ask asks the agents of the domains that run, side by side, each for at most limit. The
// result has the order of the domains. asked is called after each guest, from several
// goroutines; it may be nil.
func Ask(ctx context.Context, all []Asked, limit time.Duration, asked func(Guest)) ([]Guest, error) {
	guests := make([]Guest, len(all))
	var group errgroup.Group
	group.SetLimit(width)
	for i, a := range all {
		guests[i] = Guest{Name: a.Name, UUID: a.UUID, Running: a.State == domain.Running}
		if a.State != domain.Running {
			guests[i].unread(a.State)
			continue
		}
		group.Go(func() error {
			limited, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the guest agent has not answered within %s", limit))
			defer stop()
			guests[i].ask(limited, a.Agent)
			if asked != nil {
				asked(guests[i])
			}
			return nil
		})
	}
	_ = group.Wait() // it has no error
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return guests, nil
}

// unread says why a guest that does not run is not asked.
func (g *Guest) unread(s domain.State) {
	switch s {
	case domain.Held:
		g.Unread, g.Why = Paused, "it is paused"
	case domain.Crashed:
		g.Unread, g.Why = Off, "it has crashed"
	default:
		g.Unread, g.Why = Off, "it is off"
	}
}

// ask asks one guest.
func (g *Guest) ask(ctx context.Context, agent Agent) {
	def, err := agent.Live(ctx)
	switch {
	case err != nil:
		g.Unread, g.Why = NoAnswer, err.Error()
		return
	case !def.Channel:
		g.Unread, g.Why = NoAgent, "its definition has no channel for a guest agent"
		return
	case def.Disconnected:
		g.Unread, g.Why = NoAgent, "no guest agent runs in it"
		return
	}
	mounted, err := agent.DiskFileSystems(ctx, def)
	if err != nil {
		g.Unread, g.Why = NoAnswer, err.Error()
		return
	}
	g.Source = ByAgent
	g.take(mounted)
}

// The limits for what one guest may report.
const (
	maxFileSystems = 100
	maxName        = 1024
)

// take takes over what the agent lists. A file system that is mounted at several places is
// listed once.
func (g *Guest) take(mounted []domain.DiskFS) {
	for _, m := range mounted {
		if neverFills(m.Type) || m.Name == "" || len(m.Name)+len(m.MountPoint) > maxName {
			continue
		}
		at := mountPoint(m.MountPoint)
		i := slices.IndexFunc(g.FileSystems, func(f FileSystem) bool { return f.Device == m.Name })
		switch {
		case i >= 0 && at != "":
			g.FileSystems[i].Mounted = append(g.FileSystems[i].Mounted, at)
		case i < 0 && len(g.FileSystems) == maxFileSystems:
			g.Notes = []string{fmt.Sprintf("the guest lists more than %d file systems; the others are left out", maxFileSystems)}
		case i < 0:
			g.FileSystems = append(g.FileSystems, reported(m, at))
		}
	}
	for i := range g.FileSystems {
		f := &g.FileSystems[i]
		// The shortest one is the place that people name.
		slices.SortFunc(f.Mounted, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		f.Mounted = slices.Compact(f.Mounted)
	}
	slices.SortStableFunc(g.FileSystems, func(a, b FileSystem) int { return cmp.Compare(a.Where(), b.Where()) })
}

// reported returns a file system as the agent reports it.
func reported(m domain.DiskFS, at string) FileSystem {
	f := FileSystem{FileSystem: appliance.FileSystem{Device: m.Name, Type: m.Type}, Disks: m.Disks}
	f.Size, f.Used, f.Free = tidy(m.Total, m.Used, m.Size)
	if at != "" {
		f.Mounted = []string{at}
	}
	if m.NoDisks != nil {
		f.NoDisks = m.NoDisks.Error()
	}
	if m.Total <= 0 {
		f.Problem = plan.Refuse(plan.NoAgent, m.Name, "the guest agent reports no sizes: it is older than QEMU 3.0")
	}
	return f
}

// mountPoint returns a mount point as the rest of virt-grow writes it: "C:" for "C:\". The
// agent on Windows reports "System Reserved" for a volume without a letter.
func mountPoint(at string) string {
	if strings.HasSuffix(at, `:\`) {
		return strings.TrimSuffix(at, `\`)
	}
	if !strings.HasPrefix(at, "/") && !strings.Contains(at, `:\`) {
		return ""
	}
	return at
}
