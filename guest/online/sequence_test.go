package online

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// sequences are online growths on a fake, one in each line: the guest's system, and a
// script as in jobtest.Player. Besides the steps, the trace has the calls to QEMU and
// the guest. "resize" and "program" are faults within these calls; "off" turns the guest
// off before the job is continued.
var sequences = `
linux: run > resize container xfs_growfs inside > done
windows: run > resize container powershell inside > done
windows: run off=error > > error, no job
windows: run container/before=error > > error, no job
windows: run resize=error > > error, no job
windows: run container/before=kill > > killed, working: resume rollback ; rollback > > rolled-back
windows: run container/before=kill > > killed, working: resume rollback ; resume > resize container powershell inside > done
windows: run container/after=error > resize > forward, working: resume close ; resume > container powershell inside > done
windows: run container/after=kill > resize > killed, working: resume close ; rollback > > job-state, working: resume close ; resume > container powershell inside > done
windows: run inside/before=kill > resize container > killed, working: resume close ; accept > > closed
windows: run inside/before=kill > resize container > killed, working: resume close ; resume program=error > > forward, working: resume close ; resume > powershell inside > done
windows: run program=error > resize container > forward, working: resume close ; resume > powershell inside > done
windows: run inside/after=kill > resize container powershell > killed, working: resume close ; resume > inside > done
`

func TestSequences(t *testing.T) {
	jobtest.Run(t, sequences, func(t *testing.T, line string) string {
		system, script, _ := strings.Cut(line, ": ")
		return system + ": " + newGuest(t, system).Play(script)
	})
}

// guest is a running guest in memory, with a disk that is a file.
type guest struct {
	*jobtest.Player
	plan  *Plan
	total size.Bytes // size of the file system
}

func newGuest(t *testing.T, system string) *guest {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, make([]byte, size.MiB), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &guest{Player: jobtest.New(t, nil), total: size.MiB}
	g.plan = &Plan{
		Target: plan.Target{Path: path, Format: "raw", Guest: &plan.Guest{Name: "dev7", Disk: "vda"}},
		From:   size.MiB, To: 2 * size.MiB, Sent: "block_resize", InGuest: ByAgent, Seconds: 60,
		Commands: []live.Command{{What: "fs", Argv: []string{"xfs_growfs", "/"}}},
		Before:   []domain.FS{{MountPoint: "/", Total: size.MiB}},
		Top:      live.Device{Mounted: "/"}, Disk: live.Disk{Path: "/dev/vda"},
	}
	if system == "windows" {
		g.plan.Windows, g.plan.Commands[0].Argv = true, []string{"powershell"}
	}
	g.Engine.Kinds = job.Kinds{Kind: func(j *job.Job) (job.Work, error) {
		w, err := Open(j)
		return &onGuest{w.(*work), g}, err
	}}
	g.Engine.Emit = func(e apply.Event) {
		if e.Phase == apply.Finished {
			g.Did(e.Step.ID())
		}
	}
	g.Start = func(ctx context.Context, _ string) (*job.Outcome, error) {
		return g.Engine.Run(ctx, job.Spec{Kind: Kind, Target: g.plan.Target, Steps: g.plan.Steps(), Agreed: true,
			Open: func(j *job.Job) (any, job.Work, error) {
				w := newWork(j, g.plan)
				w.qemu = g
				return w.data, &onGuest{w, g}, nil
			}})
	}
	return g
}

// onGuest is the work of a growth without libvirt.
type onGuest struct {
	*work
	guest guestDomain
}

func (w *onGuest) Connect(context.Context) error { w.qemu = w.guest; return nil }
func (w *onGuest) Disconnect() error             { return nil }

func (g *guest) State(ctx context.Context) (domain.State, error) {
	if g.Fault(ctx, "off") != nil {
		return domain.Off, nil
	}
	return domain.Running, nil
}

func (g *guest) SizeSeen(context.Context, domain.Resize) (size.Bytes, error) {
	info, err := os.Stat(g.plan.Target.Path)
	if err != nil {
		return 0, err
	}
	return size.Bytes(info.Size()), nil
}

func (g *guest) Resize(ctx context.Context, _ domain.Resize) error {
	if err := g.Fault(ctx, "resize"); err != nil {
		return err
	}
	g.Did("resize")
	return os.Truncate(g.plan.Target.Path, int64(g.plan.To))
}

func (g *guest) Ping(context.Context) error { return nil }

func (g *guest) Run(ctx context.Context, command []string, _ string) (domain.ExecResult, error) {
	if command[0] != g.plan.Commands[0].Argv[0] { // a query of the disk's size
		return domain.ExecResult{Out: fmt.Append(nil, int64(g.plan.To/512))}, nil
	}
	if g.Fault(ctx, "program") != nil {
		return domain.ExecResult{Status: 1}, nil
	}
	g.Did(command[0])
	g.total = g.plan.To
	return domain.ExecResult{}, nil
}

func (g *guest) FileSystems(context.Context) ([]domain.FS, error) {
	return []domain.FS{{MountPoint: "/", Total: g.total}}, nil
}

var errNone = errors.New("the agent cannot do that")

func (g *guest) GuestDisks(context.Context) ([]domain.GuestDisk, error) { return nil, errNone }
func (g *guest) OS(context.Context) string                              { return "" }
func (g *guest) MountsOn(context.Context, domain.GuestDisk) ([]string, error) {
	return nil, errNone
}
