package block

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestGateStarts checks that the control socket answers immediately after the start. A
// daemon that does not wait for its client loses the first messages in about one of
// several dozen starts.
func TestGateStarts(t *testing.T) {
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	starts := 10
	if level.At(level.Real) {
		starts = 150
	}
	for range starts {
		g, err := StartGate(context.Background(), dir, size.GiB)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := g.Read(context.Background(), 4096, size.GiB-512); err != nil || len(data) != 512 {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGateInUse checks that an overlay that another process has open is distinguished
// from one that cannot be opened.
func TestGateInUse(t *testing.T) {
	ctx := context.Background()
	gate := func() *Gate {
		dir, err := os.MkdirTemp("", "vg")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		g, err := StartGate(ctx, dir, grown)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Stop() })
		return g
	}
	o := pair(t, "raw", 1)
	first, second := gate(), gate()
	if err := first.Open(ctx, o.Path); err != nil {
		t.Fatal(err)
	}
	if err := second.Open(ctx, o.Path); !errors.Is(err, ErrInUse) {
		t.Errorf("open twice: %v", err)
	}
	if err := second.Open(ctx, filepath.Join(t.TempDir(), "none")); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("no such file: %v", err)
	}
}

// TestGateEnds checks that the command under way fails without a wait when the daemon
// ends, and when its gate is closed.
func TestGateEnds(t *testing.T) {
	why := errors.New("enough")
	ended, end := context.WithCancelCause(t.Context())
	end(why)
	for name, c := range map[string]struct {
		ctx  context.Context
		kill bool
		says string
	}{
		"killed":   {t.Context(), true, "qemu-storage-daemon ended"},
		"given up": {ended, false, why.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "vg")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			g, err := StartGate(t.Context(), dir, size.GiB)
			if err != nil {
				t.Fatal(err)
			}
			if c.kill {
				_ = g.cmd.Process.Kill()
			}
			if err := g.Shut(c.ctx); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if !g.hasExited() {
				t.Error("the daemon still runs")
			}
			if err := g.Stop(); err == nil {
				t.Error("a daemon that was killed counts as one that ended well")
			}
		})
	}
}
