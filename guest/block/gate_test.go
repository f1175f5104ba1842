package block

import (
	"context"
	"os"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

// TestGateStarts: the control socket answers however soon it is asked. A daemon
// that does not wait for its client loses the beginning of the talk once in
// some dozen starts.
func TestGateStarts(t *testing.T) {
	dir, err := os.MkdirTemp("", "vg")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 150 {
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
