package block

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

const was, grown = 16*size.MiB + 512, 24 * size.MiB

// pair returns an image with random data, and an overlay with random writes, zeroes and
// new data.
func pair(t *testing.T, format string, seed uint64) Overlay {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	o := Overlay{Image: filepath.Join(dir, "image, with: comma."+format), Format: format,
		Path: filepath.Join(dir, "overlay.qcow2"), Undo: filepath.Join(dir, "undo.qcow2")}
	if _, err := Run(ctx, "qemu-img", "create", "-q", "-f", format, o.Image, fmt.Sprint(int64(was))); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	scribble(t, r, o.Image, format, was, "")
	if err := o.Create(ctx, grown); err != nil {
		t.Fatal(err)
	}
	scribble(t, r, o.Path, "qcow2", grown, "-z ")
	return o
}

// scribble writes at random places. Its cache mode is unsafe, so that the test does not
// wait for the disk.
func scribble(t *testing.T, r *rand.Rand, path, format string, limit size.Bytes, zero string) {
	t.Helper()
	var commands bytes.Buffer
	for i := range 40 {
		at, n := size.Bytes(r.Int64N(int64(limit/512-400)))*512, size.Bytes(1+r.Int64N(400))*512
		if zero != "" && i%5 == 0 {
			fmt.Fprintf(&commands, "write -q %s%d %d\n", zero, at, n)
			continue
		}
		fmt.Fprintf(&commands, "write -q -P %d %d %d\n", 1+r.IntN(255), at, n)
	}
	if _, err := RunInput(context.Background(), &commands, "qemu-io", "-t", "unsafe", "-f", format, path); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path, format string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "raw")
	if _, err := Run(context.Background(), "qemu-img", "convert", "-t", "unsafe", "-f", format, "-O", "raw", path, out); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCommitAndRevert checks that a commit gives the image the overlay's bytes, and that
// a revert restores the image's own bytes, also after an interrupted commit. Both can be
// repeated.
func TestCommitAndRevert(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	seeds := uint64(2) // one of them with an interrupted commit
	if level.At(level.Real) {
		seeds = 6
	}
	for _, format := range []string{"raw", "qcow2"} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", format, seed), func(t *testing.T) {
				t.Parallel()
				o := pair(t, format, seed)
				before, after := contents(t, o.Image, format), contents(t, o.Path, "qcow2")
				if err := o.SaveUndo(ctx, was); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(contents(t, o.Image, format), before) {
					t.Fatal("saving the undo changed the image")
				}
				for range 2 {
					if err := o.Commit(ctx); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(contents(t, o.Image, format), after) {
						t.Fatal("the image is not the overlay")
					}
				}
				if seed%2 == 1 { // as if the commit had been interrupted
					tear(t, o, before)
				}
				for range 2 {
					if err := o.Revert(ctx, was); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(contents(t, o.Image, format), before) {
						t.Fatal("the image is not as it was")
					}
				}
			})
		}
	}
}

// tear restores the old bytes in a part of what the commit wrote.
func tear(t *testing.T, o Overlay, before []byte) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, before[:8<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	command := strings.NewReader(fmt.Sprintf("write -q -s %s 0 %d\n", part, 8<<20))
	if _, err := RunInput(context.Background(), command, "qemu-io", "-t", "unsafe", "-f", o.Format, o.Image); err != nil {
		t.Fatal(err)
	}
}

// TestRevertNotices checks that a revert reports an error if bytes are not restored.
func TestRevertNotices(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := pair(t, "raw", 99)
	if err := o.SaveUndo(ctx, was); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := o.verifyReverted(ctx, was); err == nil {
		t.Error("a committed image passes for a reverted one")
	}
	if err := o.DropUndo(); err != nil {
		t.Fatal(err)
	}
	if err := o.Revert(ctx, was); err == nil {
		t.Error("reverted without the saved bytes")
	}
}

func TestLikeness(t *testing.T) {
	t.Parallel()
	o := pair(t, "raw", 1)
	if err := os.Chmod(o.Image, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(o.Image, 1234, 4321); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Create(context.Background(), grown); err != nil {
		t.Fatal(err)
	}
	image, _ := os.Stat(o.Image)
	overlay, _ := os.Stat(o.Path)
	if image.Mode() != overlay.Mode() {
		t.Errorf("image has mode %v, overlay %v", image.Mode(), overlay.Mode())
	}
	a, _ := Run(context.Background(), "stat", "-c", "%u:%g", o.Image)
	b, _ := Run(context.Background(), "stat", "-c", "%u:%g", o.Path)
	if !bytes.Equal(a, b) {
		t.Errorf("image belongs to %s, overlay to %s", a, b)
	}
}

func TestParseMap(t *testing.T) {
	// qemu-img 7.2.22: an overlay with data, an explicit zero, and nothing.
	recorded := `[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "offset": 327680},
{ "start": 65536, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "offset": 327680},
{ "start": 131072, "length": 65536, "depth": 0, "present": true, "zero": true, "data": false},
{ "start": 196608, "length": 536870912, "depth": 0, "present": false, "zero": true, "data": false},
{ "start": 537067520, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "offset": 655360}]`
	got, err := parseMap([]byte(recorded), 537067520+512)
	if err != nil {
		t.Fatal(err)
	}
	want := []Extent{{65536, 131072}, {537067520, 512}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseInfo(t *testing.T) {
	// qemu-img 7.2.22, shortened.
	recorded := `{"virtual-size": 1073741824, "filename": "a.qcow2", "format": "qcow2", "actual-size": 200704,
"snapshots": [{"id": "1", "name": "s"}], "backing-filename": "b.raw", "full-backing-filename": "/x/b.raw", "backing-filename-format": "raw",
"format-specific": {"type": "qcow2", "data": {"compat": "0.10", "corrupt": false}}, "dirty-flag": false}`
	got, err := parseInfo([]byte(recorded))
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 2 || got.Snapshots != 1 || got.Backing != "/x/b.raw" || got.BackingFormat != "raw" || got.VirtualSize != size.GiB {
		t.Errorf("%+v", got)
	}
}
