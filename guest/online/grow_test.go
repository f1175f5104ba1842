package online

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/job/jobtest"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// growths are planned online growths: what is special about the guest, a script as in
// jobtest.Player, and the domain's calls during the whole script.
var growths = []struct {
	name   string
	change func(*machine, *Options)
	script string
	ran    string
}{
	{"linux", nil, "run > > done", "resize growpart resize2fs"},
	{"windows", func(m *machine, _ *Options) { m.windows() }, "run > > done", "resize powershell.exe"},
	{"nothing inside", func(_ *machine, o *Options) { o.InGuest = ByNobody }, "run > > done", "resize"},
	{"by a person", func(_ *machine, o *Options) { o.InGuest = ByPerson }, "run > > done", "resize"},
	{"a volume", func(m *machine, _ *Options) { m.root = "LVM2_member" }, "run > > done", "resize growpart pvresize vgs lvextend resize2fs"},
	{"a volume without free extents", func(m *machine, _ *Options) { m.root, m.says["vgs"] = "LVM2_member", " 0\n" },
		"run > > done", "resize growpart pvresize vgs resize2fs"},
	{"which of two, it shows", func(m *machine, _ *Options) { m.disks = append(m.disks, "/dev/vdb") },
		"run > > done", "resize growpart resize2fs"},
	{"the guest sees it late", func(m *machine, _ *Options) { m.disks, m.late = append(m.disks, "/dev/vdb"), 1 },
		"run > > done", "resize growpart resize2fs"},
	{"a crash: it is looked at again", nil,
		"run inside/before=kill > > killed, working: resume close ; resume > > done", "resize growpart resize2fs"},
	{"it grows larger meanwhile", nil,
		"run container/before=kill > > killed, working: resume rollback ; resume larger=error > > shrink, no job", ""},
	{"it goes off meanwhile", nil,
		"run container/before=kill > > killed, working: resume rollback ; resume off=error > > error, no job", ""},
	{"it goes off before the inside", nil,
		"run inside/before=kill > > killed, working: resume close ; resume silent-off=error > > forward, working: resume close", "resize"},
	{"it has its size already", nil,
		"run container/before=kill > > killed, working: resume rollback ; resume same=error > > done", "growpart resize2fs"},
	{"a program fails", func(m *machine, _ *Options) { m.failing["resize2fs"] = errors.New("full") },
		"run > > forward, working: resume close ; resume repaired=error > > done", "resize growpart resize2fs growpart resize2fs"},
	{"the agent cannot look", func(m *machine, _ *Options) { m.disks = append(m.disks, "/dev/vdb") },
		"run probe=error > > forward, working: resume close ; resume repaired=error > > done", "resize growpart resize2fs"},
}

func TestGrowths(t *testing.T) {
	for _, c := range growths {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, o := newMachine(t), options()
			if c.change != nil {
				c.change(m, &o)
			}
			p, err := makePlan(t.Context(), m.vm(), o)
			if err != nil {
				t.Fatal(err)
			}
			player := jobtest.New(t, nil)
			player.Engine.Kinds = job.Kinds{Kind: func(j *job.Job) (job.Work, error) {
				w, err := Open(j)
				return &meanwhile{onGuest{w.(*work), m}, m, player}, err
			}}
			player.Start = func(ctx context.Context, _ string) (*job.Outcome, error) {
				if player.Fault(ctx, "probe") != nil {
					m.failing["probe"] = errors.New("injected")
				}
				return Grow(ctx, p, player.Engine.Options)
			}
			if got := player.Play(c.script); got != c.script {
				t.Errorf("got\n%s\nwant\n%s", got, c.script)
			}
			if got := strings.Join(m.ran, " "); got != c.ran {
				t.Errorf("ran %q, want %q", got, c.ran)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// meanwhile changes the guest before a job is continued.
type meanwhile struct {
	onGuest
	machine *machine
	player  *jobtest.Player
}

func (w *meanwhile) Connect(ctx context.Context) error {
	m := w.machine
	for what, act := range map[string]func(){
		"larger":     func() { m.size = newSize + size.GiB },
		"off":        func() { m.status.State = domain.Off },
		"silent-off": func() { m.status.State, m.failing["ping"] = domain.Off, errNone },
		"same":       func() { _ = m.Resize(ctx, domain.Resize{To: newSize}); m.ran = nil },
		"repaired":   func() { clear(m.failing) },
	} {
		if w.player.Fault(ctx, what) != nil {
			act()
		}
	}
	return w.onGuest.Connect(ctx)
}

// TestOutcome checks the messages about a growth.
func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine, *Options)
		said   []string
		manual bool
	}{
		"grown": {func(*machine, *Options) {}, []string{"dev7 vda is grown: 4 GiB → 5 GiB", "/ (ext4) in the guest: 3.8 GiB → 4.8 GiB"}, false},
		"had its size": {func(_ *machine, o *Options) { o.Size.Bytes = oldSize },
			[]string{"dev7 vda has 4 GiB", "/ (ext4) in the guest: 3.8 GiB → 3.8 GiB"}, false},
		"by a person": {func(_ *machine, o *Options) { o.InGuest = ByPerson }, []string{"dev7 vda is grown: 4 GiB → 5 GiB"}, true},
	} {
		m, o := newMachine(t), options()
		c.change(m, &o)
		p, err := makePlan(t.Context(), m.vm(), o)
		if err != nil {
			t.Fatal(err)
		}
		out, err := Grow(t.Context(), p, jobtest.New(t, nil).Engine.Options)
		if err != nil || !slices.Equal(out.Messages, c.said) || (len(out.ManualSteps) > 0) != c.manual {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestGrewElsewhere checks when the sizes that the agent reports contradict a growth that
// a program in the guest has reported.
func TestGrewElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		windows       bool
		mounted       string
		before, after []domain.FS
		ok            bool
	}{
		"not mounted":           {ok: true},
		"gone":                  {mounted: "/", ok: false},
		"an old agent":          {mounted: "/", after: []domain.FS{{MountPoint: "/"}}, ok: true},
		"nothing known before":  {mounted: "/", after: []domain.FS{{MountPoint: "/", Total: size.GiB}}, ok: true},
		"the drive that grew":   {windows: true, before: drives(1, 1), after: drives(1, 2), ok: true},
		"no drive grew":         {windows: true, before: drives(1, 1), after: drives(1, 1)},
		"a drive that is new":   {windows: true, before: drives(1), after: drives(1, 2)},
		"more than the disk is": {windows: true, before: drives(1), after: drives(3)},
	} {
		w := &work{data: data{Top: live.Device{Mounted: c.mounted}, Plan: &Plan{From: size.GiB, To: 2 * size.GiB, Windows: c.windows, Before: c.before}}}
		if err := w.grew(c.after); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// drives returns the drives C:, D:, … of these sizes in GiB.
func drives(sizes ...int) []domain.FS {
	var all []domain.FS
	for i, n := range sizes {
		all = append(all, domain.FS{MountPoint: string(rune('C'+i)) + `:\`, Total: size.Bytes(n) * size.GiB})
	}
	return all
}

// TestWhyNot checks that only a grown disk is the reason why a rollback is impossible.
func TestWhyNot(t *testing.T) {
	m := newMachine(t)
	p, err := makePlan(t.Context(), m.vm(), options())
	if err != nil {
		t.Fatal(err)
	}
	player := jobtest.New(t, nil)
	player.Engine.Kinds = job.Kinds{Kind: func(j *job.Job) (job.Work, error) {
		w, err := Open(j)
		w.(*work).qemu = m
		return &onGuest{w.(*work), m}, err
	}}
	player.Start = func(ctx context.Context, _ string) (*job.Outcome, error) { return Grow(ctx, p, player.Engine.Options) }
	player.Command("run container/after=error")
	if _, err := player.Engine.Rollback(t.Context(), player.ID); err == nil || !strings.Contains(err.Error(), "a running disk cannot be shrunk") {
		t.Errorf("rollback: %v", err)
	}
	s, err := player.Engine.Status(player.ID)
	if err != nil || !slices.Equal(s.Details.Inside, []string{"growpart /dev/vda 1", "resize2fs /dev/vda1"}) {
		t.Errorf("%+v, %v", s, err)
	}
}
