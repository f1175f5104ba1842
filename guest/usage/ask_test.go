package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/domain"
)

// agent is a fake guest.
type agent struct {
	def     domain.Definition
	mounted []domain.DiskFS
	err     error
	// wait is called before the answer.
	wait func(context.Context) error
}

func (a *agent) Live(context.Context) (domain.Definition, error) { return a.def, nil }

func (a *agent) DiskFileSystems(ctx context.Context, _ domain.Definition) ([]domain.DiskFS, error) {
	if a.wait != nil {
		if err := a.wait(ctx); err != nil {
			return nil, err
		}
	}
	return a.mounted, a.err
}

var withAgent = domain.Definition{Channel: true}

func fsOf(name, at string, total, used int64) domain.DiskFS {
	var m domain.DiskFS
	m.Name, m.MountPoint, m.Type, m.Disks = name, at, "ext4", []string{"vda"}
	m.Total, m.Used = sizeOf(total), sizeOf(used)
	return m
}

// hang waits until the context ends.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestAskMany asks fifty guests of which one hangs. The hanging one is only given up when all
// others have answered, so it cannot have held them up.
func TestAskMany(t *testing.T) {
	const many = 50
	var answered, most, now atomic.Int32
	others := make(chan struct{})
	all := make([]Asked, many)
	for i := range all {
		a := &agent{def: withAgent, mounted: []domain.DiskFS{fsOf("vda1", "/", 100, 50)}, wait: func(context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			now.Add(-1)
			return nil
		}}
		if i == 7 {
			a.wait = func(context.Context) error {
				<-others
				return errors.New("the guest agent has not answered")
			}
		}
		all[i] = Asked{Name: fmt.Sprintf("vm%02d", i), State: domain.Running, Agent: a}
	}
	guests, err := Ask(t.Context(), all, time.Hour, func(Guest) {
		if answered.Add(1) == many-1 {
			close(others)
		}
	})
	if err != nil || len(guests) != many || answered.Load() != many || most.Load() > width {
		t.Fatalf("%d guests, %d answers, %d at a time: %v", len(guests), answered.Load(), most.Load(), err)
	}
	for i, g := range guests {
		if g.Name != all[i].Name || (g.Unread == NoAnswer) != (i == 7) || (len(g.FileSystems) == 1) != (i != 7) {
			t.Errorf("%+v", g)
		}
	}
}

// TestAskLimit checks that a guest that hangs is given up.
func TestAskLimit(t *testing.T) {
	guests, err := Ask(t.Context(), []Asked{{Name: "vm", State: domain.Running, Agent: &agent{def: withAgent, wait: hang}}}, 1, nil)
	if err != nil || guests[0].Unread != NoAnswer || guests[0].Why != "the guest agent has not answered within 1ns" {
		t.Errorf("%+v %v", guests, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, []Asked{{State: domain.Running, Agent: &agent{def: withAgent, wait: hang}}}, time.Hour, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted call: %v", err)
	}
}

func TestAskUnread(t *testing.T) {
	for _, c := range []struct {
		state domain.State
		agent *agent
		want  Unread
	}{
		{domain.Off, nil, Off},
		{domain.Crashed, nil, Off},
		{domain.Held, nil, Paused},
		{domain.Running, &agent{}, NoAgent},
		{domain.Running, &agent{def: domain.Definition{Channel: true, Disconnected: true}}, NoAgent},
		{domain.Running, &agent{def: withAgent, err: errors.New("disabled")}, NoAnswer},
		{domain.Running, &agent{def: withAgent}, ""},
	} {
		guests, err := Ask(t.Context(), []Asked{{State: c.state, Agent: c.agent}}, time.Hour, nil)
		if err != nil || guests[0].Unread != c.want || (guests[0].Why == "") != (c.want == "") || (guests[0].Source == "") == (c.want == "") {
			t.Errorf("%v: %+v %v", c.want, guests, err)
		}
	}
}

// TestTake checks what is taken over of what a guest lists.
func TestTake(t *testing.T) {
	old, image := fsOf("vdc1", "/old", 0, 0), fsOf("loop0", "/snap/x", 100, 100)
	image.Type = "squashfs"
	windows, reserved := fsOf(`\\?\Volume{1}\`, `C:\`, 100, 50), fsOf(`\\?\Volume{2}\`, "System Reserved", 100, 20)
	liar := fsOf("vdd1", "/liar", 100, 300)
	negative := fsOf("vde1", "/negative", -5, -7)
	huge := fsOf("vdf1", "/huge", 1<<62, 1<<62)
	lost := fsOf("vdg1", "/lost", 100, 10)
	lost.Disks, lost.NoDisks, lost.Size = nil, errors.New("no address"), 110
	long := fsOf("vdh1", "/"+strings.Repeat("x", maxName), 100, 10)
	guests, err := Ask(t.Context(), []Asked{{State: domain.Running, Agent: &agent{def: withAgent, mounted: []domain.DiskFS{
		fsOf("vdb1", "/srv/bound", 100, 90), fsOf("vdb1", "/srv", 100, 90), fsOf("vdb1", "/srv", 100, 90),
		old, image, windows, reserved, liar, negative, huge, lost, long, fsOf("", "/nameless", 1, 1)}}}}, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range guests[0].FileSystems {
		percent, known := f.Percent()
		got = append(got, fmt.Sprintf("%s %d %d %t %t %s", f.Where(), len(f.Mounted), percent, known, f.Problem != nil, f.NoDisks))
		if f.Used < 0 || f.Free < 0 || f.Usable() < 0 || f.Size < f.Usable() {
			t.Errorf("%+v", f.FileSystem)
		}
	}
	want := []string{"/huge 1 100 true false ", "/liar 1 100 true false ", "/lost 1 10 true false no address", "/negative 1 0 false true ", "/old 1 0 false true ",
		"/srv 2 90 true false ", "C: 1 50 true false ", `\\?\Volume{2}\ 0 20 true false `}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func TestTakeFew(t *testing.T) {
	var mounted []domain.DiskFS
	for i := range maxFileSystems + 5 {
		mounted = append(mounted, fsOf(fmt.Sprint("vdb", i), fmt.Sprint("/m", i), 10, 5))
	}
	var g Guest
	g.take(mounted)
	if len(g.FileSystems) != maxFileSystems || len(g.Notes) != 1 {
		t.Errorf("%d file systems, notes %q", len(g.FileSystems), g.Notes)
	}
}

// BenchmarkAsk measures what asking fifty guests takes if each takes 20 ms.
func BenchmarkAsk(b *testing.B) {
	all := make([]Asked, 50)
	for i := range all {
		all[i] = Asked{State: domain.Running, Agent: &agent{def: withAgent, mounted: []domain.DiskFS{fsOf("vda1", "/", 100, 50)},
			wait: func(ctx context.Context) error { return domain.Sleep(ctx, 20*time.Millisecond) }}}
	}
	for b.Loop() {
		if _, err := Ask(b.Context(), all, Limit, nil); err != nil {
			b.Fatal(err)
		}
	}
}
