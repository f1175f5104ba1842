package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
)

// fakeImages are the results of an Inspector, by the name of the file.
type fakeImages map[string]block.Info

func (f fakeImages) inspect(_ context.Context, path, format string, _ block.Access) (block.Info, error) {
	info, ok := f[filepath.Base(path)]
	if !ok {
		return block.Info{}, errors.New("cannot be read")
	}
	if info.Format == "locked" {
		return block.Info{}, fmt.Errorf("qemu-img: %w", block.ErrInUse)
	}
	info.Format = format
	return info, nil
}

func TestReadChain(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	on := func(backing, format string) block.Info {
		if filepath.Base(backing) == backing {
			backing = at(backing)
		}
		return block.Info{Backing: backing, BackingFormat: format}
	}
	deep := func(n int) fakeImages {
		images := fakeImages{}
		for i := range n {
			images[fmt.Sprint("top", i)] = on(fmt.Sprint("top", i+1), "qcow2")
		}
		images[fmt.Sprint("top", n)] = block.Info{}
		return images
	}
	for _, c := range []struct {
		name   string
		images fakeImages
		gone   string // a file that does not exist
		depth  int
		reason plan.Reason
		fails  bool // an error that is not a refusal
	}{
		{name: "alone", images: fakeImages{"top0": {}}, depth: 1},
		{name: "three", images: fakeImages{"top0": on("mid", "qcow2"), "mid": on("base", "raw"), "base": {}}, depth: 3},
		{name: "no format", images: fakeImages{"top0": on("mid", "qcow2"), "mid": on("base", ""), "base": {}}, depth: 2, reason: plan.FormatMissing},
		{name: "gone", images: fakeImages{"top0": on("mid", "qcow2")}, gone: "mid", depth: 1, reason: plan.NotFound},
		{name: "on the network", images: fakeImages{"top0": on("nbd://host/export", "raw")}, depth: 1, reason: plan.FormatUnsupported},
		{name: "locked", images: fakeImages{"top0": {Format: "locked"}}, reason: plan.InUse},
		{name: "locked below", images: fakeImages{"top0": on("mid", "qcow2"), "mid": {Format: "locked"}}, depth: 1, reason: plan.InUse},
		{name: "unreadable", images: fakeImages{}, fails: true},
		{name: "loop", images: fakeImages{"top0": on("mid", "qcow2"), "mid": on("top0", "qcow2")}, depth: 2, reason: plan.FormatUnsupported},
		{name: "its own backing file", images: fakeImages{"top0": on("top0", "qcow2")}, depth: 1, reason: plan.FormatUnsupported},
		{name: "64 backing files", images: deep(64), depth: 65},
		{name: "65 backing files", images: deep(65), depth: 65, reason: plan.FormatUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name := range c.images {
				if err := os.WriteFile(at(name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.gone != "" {
				_ = os.Remove(at(c.gone))
			}
			chain, err := ReadChain(context.Background(), c.images.inspect, at("top0"), "qcow2", block.Exclusive)
			if len(chain) != c.depth {
				t.Errorf("%d images, want %d", len(chain), c.depth)
			}
			refusal, refused := plan.IsRefusal(err)
			switch {
			case c.reason != "" && (!refused || refusal.Reason != c.reason):
				t.Errorf("got %v, want %s", err, c.reason)
			case c.reason == "" && (err != nil) != c.fails:
				t.Error(err)
			}
			if len(chain) > 0 && (chain[0].Path != at("top0") || chain[0].Format != "qcow2") {
				t.Errorf("the chain begins with %+v", chain[0].Link)
			}
			if len(chain) == 3 && chain[2].Link != (plan.Link{Path: at("base"), Format: "raw"}) {
				t.Errorf("the chain ends with %+v", chain[2].Link)
			}
		})
	}
}
