package image

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// fakeHost has file systems with free space, and directories on them.
type fakeHost struct {
	free map[uint64]size.Bytes
	on   map[string]uint64
}

func (h fakeHost) fileSystem(dir string) (uint64, error) {
	id, ok := h.on[dir]
	if !ok {
		return 0, errors.New("no such directory")
	}
	return id, nil
}

func (h fakeHost) freeIn(dir string) (size.Bytes, error) { return h.free[h.on[dir]], nil }

func TestCheckSpace(t *testing.T) {
	h := fakeHost{
		free: map[uint64]size.Bytes{1: 100 * size.MiB, 2: 10 * size.MiB},
		on:   map[string]uint64{"/a": 1, "/b": 1, "/c": 2},
	}
	for name, c := range map[string]struct {
		needs map[string]size.Bytes
		want  string // part of the refusal; "" for enough space
	}{
		"nothing":                    {nil, ""},
		"enough":                     {map[string]size.Bytes{"/a": 100 * size.MiB}, ""},
		"too little":                 {map[string]size.Bytes{"/a": 101 * size.MiB}, "in /a: about 101 MiB will be written, 100 MiB are free"},
		"enough on each":             {map[string]size.Bytes{"/a": 60 * size.MiB, "/c": 10 * size.MiB}, ""},
		"too little on the second":   {map[string]size.Bytes{"/a": 60 * size.MiB, "/c": 11 * size.MiB}, "in /c: about 11 MiB"},
		"one file system for two":    {map[string]size.Bytes{"/a": 60 * size.MiB, "/b": 60 * size.MiB}, "in /b: about 120 MiB"},
		"enough for two in one":      {map[string]size.Bytes{"/a": 60 * size.MiB, "/b": 40 * size.MiB}, ""},
		"a directory that is absent": {map[string]size.Bytes{"/no": 1}, "cannot read the free space in /no"},
	} {
		err := checkSpace(c.needs, h.freeIn, h.fileSystem)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if r, ok := plan.IsRefusal(err); ok && r.Reason != plan.NoSpace {
			t.Errorf("%s: %s", name, r.Reason)
		}
	}
	if err := CheckSpace(map[string]size.Bytes{t.TempDir(): 1 << 60}); err == nil {
		t.Error("this host has an exbibyte free")
	}
	if err := CheckSpace(map[string]size.Bytes{filepath.Join(t.TempDir(), "no"): 0}); err == nil {
		t.Error("a directory that does not exist has free space")
	}
}

func TestWatchSpace(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	left := []size.Bytes{5 * size.MiB, size.MiB, size.MiB - 1}
	free := func(string) (size.Bytes, error) {
		now := left[0]
		left = left[1:]
		return now, nil
	}
	tick := make(chan time.Time, 3)
	for range 3 {
		tick <- time.Time{}
	}
	watchSpace(ctx, "/dir", free, tick, cancel)
	if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "/dir is almost full") || len(left) != 0 {
		t.Errorf("%v, %d readings left", err, len(left))
	}
	// Ending a watch does not cancel other contexts.
	watched, stop := WatchSpace(context.Background(), t.TempDir())
	stop()
	if err := context.Cause(watched); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
