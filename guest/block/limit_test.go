package block

import (
	"errors"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestCanResize compares QEMU's answer with the limit in its sources.
func TestCanResize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		info Info
		to   size.Bytes
		ok   bool
	}{
		{Info{Version: 3, Cluster: 512, RefcountBits: 16}, 128 * size.GiB, true},
		{Info{Version: 3, Cluster: 512, RefcountBits: 16}, 128*size.GiB + size.MiB, false},
		{Info{Version: 2, Cluster: 512}, 200 * size.GiB, false},
		{Info{Version: 3, Cluster: 64 * size.KiB, RefcountBits: 16}, 10 * size.TiB, true},
		{Info{Version: 3, Cluster: 64 * size.KiB, RefcountBits: 64, ExtendedL2: true}, 10 * size.TiB, true},
		{Info{Version: 3, Cluster: 2 * size.MiB, RefcountBits: 1}, 10 * size.TiB, true},
	} {
		if c.ok && c.info.Cluster == 512 && !level.At(level.Real) {
			continue // QEMU writes 32 MiB of tables, in clusters of 512 bytes
		}
		c.info.VirtualSize = 64 * size.MiB
		err := c.info.CanResize(t.Context(), c.to)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrTooBig) {
			t.Errorf("%+v to %s: %v, want possible: %v", c.info, c.to, err, c.ok)
		}
		if largest := c.info.Largest(); c.ok != (c.to <= largest) {
			t.Errorf("%+v: the largest size is %s", c.info, largest)
		}
	}
}

func TestCanHold(t *testing.T) {
	dir := t.TempDir()
	if err := CanHold(dir, size.TiB); err != nil {
		t.Errorf("1 TiB, sparse: %v", err)
	}
	if err := CanHold(dir, 1<<62); !errors.Is(err, ErrTooBig) {
		t.Errorf("4 EiB: %v", err)
	}
	if err := CanHold(dir+"/nowhere", size.GiB); err == nil || errors.Is(err, ErrTooBig) {
		t.Errorf("no such directory: %v", err)
	}
}
