package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

// recorder records the calls that a session makes to its gates and its appliance, and
// fails in the chosen ones.
type recorder struct {
	calls []string
	fail  map[string]error // by call
	hangs int              // number of launches that hang
	gates int
	got   appliance.Options
}

func (r *recorder) call(format string, args ...any) error {
	c := fmt.Sprintf(format, args...)
	r.calls = append(r.calls, c)
	return r.fail[c]
}

func (r *recorder) host() *host {
	return &host{
		startGate: func(_ context.Context, dir string, to size.Bytes) (gate, appliance.Drive, journal.Proc, error) {
			g := &fakeGate{r: r, n: r.gates}
			r.gates++
			err := r.call("gate %d %s", g.n, to)
			return g, appliance.Drive{Socket: filepath.Join(dir, "gate.sock"), Export: "gate"}, journal.Proc{Role: "gate", Pid: g.n}, err
		},
		launch: func(_ context.Context, o appliance.Options) (*appliance.Appliance, machine, error) {
			r.got = o
			err := r.call("launch")
			if r.hangs > 0 {
				r.hangs--
				err = appliance.ErrHung
			}
			return nil, fakeMachine{r: r}, err
		},
	}
}

type fakeGate struct {
	disk
	r *recorder
	n int
}

func (g *fakeGate) Open(_ context.Context, path string) error {
	return g.r.call("open %d %s", g.n, filepath.Base(path))
}

func (g *fakeGate) OpenShared(_ context.Context, o block.Overlay) error {
	return g.r.call("open shared %d %s", g.n, filepath.Base(o.Path))
}

func (g *fakeGate) OpenNew(_ context.Context, path, format string) error {
	return g.r.call("open new %d %s %s", g.n, filepath.Base(path), format)
}

func (g *fakeGate) Shut(context.Context) error { return g.r.call("shut %d", g.n) }
func (g *fakeGate) Stop() error                { return g.r.call("stop %d", g.n) }

type fakeMachine struct {
	machine // the methods that read, for other tests
	r       *recorder
}

func (m fakeMachine) Refresh(context.Context) error { return m.r.call("refresh") }
func (m fakeMachine) Settle(context.Context) error  { return m.r.call("settle") }
func (m fakeMachine) Kill()                         { _ = m.r.call("kill") }

var two = []Drive{{Name: "vda", Image: "/a.raw", Size: size.GiB, Sector: 512}, {Name: "vdb", Image: "/b.raw", Size: 2 * size.GiB, Sector: 4096}}

func TestSession(t *testing.T) {
	failed := errors.New("no memory")
	ctx := context.Background()
	closed := func(context.Context, *Session) error { return nil }
	attach := func(ctx context.Context, s *Session) error { return s.Attach(ctx, "", "b.qcow2") }
	gates := []string{"gate 0 1 GiB", "gate 1 2 GiB"}
	for name, c := range map[string]struct {
		recorder
		prepare func(context.Context, *Session) error
		work    func(*Session) error
		fails   bool // whether the start fails
		want    []string
	}{
		"boots on empty disks": {
			want: slices.Concat(gates, []string{"launch", "kill", "stop 0", "stop 1"}),
		},
		"attaches before the boot": {prepare: attach,
			want: slices.Concat(gates, []string{"open 1 b.qcow2", "launch", "kill", "stop 0", "stop 1"}),
		},
		"attaches and detaches": {prepare: closed,
			work: func(s *Session) error {
				return errors.Join(s.Attach(ctx, "a.qcow2", "b.qcow2"), s.Detach(ctx), s.Attach(ctx, "c.qcow2"), s.Detach(ctx))
			},
			want: slices.Concat(gates, []string{"launch", "open 0 a.qcow2", "open 1 b.qcow2", "refresh", "settle", "shut 1", "shut 0",
				"open 0 c.qcow2", "refresh", "settle", "shut 0", "kill", "stop 0", "stop 1"}),
		},
		"a new image": {
			work: func(s *Session) error { return s.AttachNew(ctx, "new.raw", "raw") },
			want: slices.Concat(gates, []string{"launch", "open new 0 new.raw raw", "refresh", "kill", "stop 0", "stop 1"}),
		},
		"hangs once": {recorder: recorder{hangs: 1}, prepare: attach,
			want: slices.Concat(gates, []string{"open 1 b.qcow2", "launch", "stop 0", "stop 1"},
				[]string{"gate 2 1 GiB", "gate 3 2 GiB", "open 3 b.qcow2", "launch", "kill", "stop 2", "stop 3"}),
		},
		"hangs twice": {recorder: recorder{hangs: 2}, fails: true,
			want: slices.Concat(gates, []string{"launch", "stop 0", "stop 1", "gate 2 1 GiB", "gate 3 2 GiB", "launch", "stop 2", "stop 3"}),
		},
		"a gate does not start": {recorder: recorder{fail: map[string]error{"gate 1 2 GiB": failed}}, fails: true,
			want: slices.Concat(gates, []string{"stop 0"}),
		},
		"cannot be prepared": {recorder: recorder{fail: map[string]error{"open 1 b.qcow2": failed}}, prepare: attach, fails: true,
			want: slices.Concat(gates, []string{"open 1 b.qcow2", "stop 0", "stop 1"}),
		},
		"does not launch": {recorder: recorder{fail: map[string]error{"launch": failed}}, fails: true,
			want: slices.Concat(gates, []string{"launch", "stop 0", "stop 1"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var started []journal.Proc
			s, err := Start(ctx, dir, two, Options{host: c.host(), Started: func(p journal.Proc) { started = append(started, p) }}, c.prepare)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if err == nil {
				if !s.Running() || s.Dir() != dir || len(s.Processes()) != len(two) || len(started) < len(two) {
					t.Errorf("running %v in %s, processes %v of %v", s.Running(), s.Dir(), s.Processes(), started)
				}
				if c.work != nil {
					if err := c.work(s); err != nil {
						t.Error(err)
					}
				}
				if err := errors.Join(s.Close(), s.Close()); err != nil || s.Running() {
					t.Error(err)
				}
			}
			if !slices.Equal(c.calls, c.want) {
				t.Errorf("got  %q\nwant %q", c.calls, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if o := c.got.Drives; o != nil && (len(o) != 2 || o[0].Name != "vda" || o[0].Socket != filepath.Join(dir, "gate.sock") || o[0].Sector != 512 ||
				o[1].Name != "vdb" || o[1].Socket != filepath.Join(dir, "1", "gate.sock") || o[1].Sector != 4096) {
				t.Errorf("launched with %+v", o)
			}
		})
	}
}

// TestInUse checks that the refusal names the image, not the overlay.
func TestInUse(t *testing.T) {
	r := &recorder{fail: map[string]error{"open 1 b.qcow2": fmt.Errorf("gate: %w", block.ErrInUse)}}
	s, err := Start(context.Background(), t.TempDir(), two, Options{host: r.host()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Attach(context.Background(), "", "b.qcow2")
	if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != plan.InUse || refusal.Subject != "/b.raw" {
		t.Error(err)
	}
}

// TestReuse checks that closing a reused session empties its drives, and does not end
// the appliance.
func TestReuse(t *testing.T) {
	ctx := context.Background()
	r := &recorder{}
	shared, err := Start(ctx, t.TempDir(), two[:1], Options{host: r.host()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	shared.Appliance = &appliance.Appliance{}
	for range 2 {
		s, err := Start(ctx, "", nil, Options{Reuse: shared}, nil)
		if err == nil {
			err = errors.Join(s.Attach(ctx, "a.qcow2"), s.Close(), s.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	use := []string{"open 0 a.qcow2", "refresh", "settle", "shut 0"}
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	if want := slices.Concat([]string{"gate 0 1 GiB", "launch"}, use, use, []string{"kill", "stop 0"}); !slices.Equal(r.calls, want) {
		t.Errorf("got %q", r.calls)
	}
}
