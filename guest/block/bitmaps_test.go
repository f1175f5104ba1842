package block

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestKilledCommit checks a commit that is killed: the image's bitmaps are marked as in
// use, and the image has its old size or a larger one. The commit can be continued and
// undone, and the bitmaps keep their bits and gain those of the written data.
func TestKilledCommit(t *testing.T) {
	t.Parallel()
	for _, resized := range []bool{false, true} {
		for _, back := range []bool{false, true} {
			if resized != back && !level.At(level.Real) {
				continue
			}
			t.Run(fmt.Sprintf("resized %t and back %t", resized, back), func(t *testing.T) {
				t.Parallel()
				killCommit(t, resized, back)
			})
		}
	}
}

// killCommit kills a commit before or after the image was resized, and continues it or
// undoes it.
func killCommit(t *testing.T, resized, back bool) {
	t.Helper()
	ctx := context.Background()
	o := pair(t, "qcow2", 3)
	qemuImg(t, "bitmap", "--add", "-g", "131072", o.Image, "nightly")
	qemuImg(t, "bitmap", "--add", "--disable", o.Image, "last")
	if _, err := Run(ctx, "qemu-io", "-t", "unsafe", "-c", "write -q 15M 64k", "-f", "qcow2", o.Image); err != nil {
		t.Fatal(err)
	}
	before, after := contents(t, o.Image, "qcow2"), contents(t, o.Path, "qcow2")
	had := dirty(t, o.Image, "nightly")
	if err := o.SaveUndo(ctx, was); err != nil {
		t.Fatal(err)
	}
	if resized {
		qemuImg(t, "resize", "-q", "-f", "qcow2", o.Image, bytesOf(grown))
	}
	own, err := ownExtents(ctx, o.Path, was)
	if err != nil {
		t.Fatal(err)
	}
	die(t, o.Image, own[0].Start)
	want, end := after, grown
	do := o.Commit
	if back {
		want, end = before, size.Bytes(was)
		do = func(ctx context.Context) error { return o.Revert(ctx, was) }
	}
	for range 2 {
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	info, err := Inspect(ctx, o.Image, "qcow2", Exclusive)
	if err != nil || info.VirtualSize != end || !bytes.Equal(contents(t, o.Image, "qcow2"), want) {
		t.Errorf("%d bytes, %v", info.VirtualSize, err)
	}
	bitmaps := []Bitmap{{Name: "nightly", Granularity: 131072, Recording: true}, {Name: "last", Granularity: 65536}}
	if !reflect.DeepEqual(info.Bitmaps, bitmaps) {
		t.Errorf("bitmaps %+v", info.Bitmaps)
	}
	now := dirty(t, o.Image, "nightly")
	written, err := ownExtents(ctx, o.Undo, was)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(had, written...) {
		if missing := uncovered([]Extent{e}, now); missing != nil {
			t.Errorf("%d to %d is not marked", e.Start, e.End())
		}
	}
	if err := o.DropUndo(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(o.Undo + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if _, err := Run(context.Background(), "qemu-img", args...); err != nil {
		t.Fatal(err)
	}
}

// die begins to write into an image, as a commit does, and kills the writing process.
func die(t *testing.T, image string, at size.Bytes) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	options, _ := json.Marshal(map[string]any{"driver": "qcow2", "node-name": "n", "file": map[string]any{"driver": "file", "filename": image}})
	cmd := exec.Command("qemu-storage-daemon", "--blockdev", string(options), "--nbd-server", "addr.type=unix,addr.path="+socket, "--export", "type=nbd,id=e,node-name=n,writable=on")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := Run(context.Background(), "qemu-io", "-f", "raw", "-c", "write -q "+bytesOf(at)+" 512", "nbd+unix:///n?socket="+socket); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if info, err := Inspect(context.Background(), image, "qcow2", Exclusive); err != nil || len(info.Inconsistent) == 0 {
		t.Fatalf("no bitmap is in use: %+v, %v", info, err)
	}
}

// dirty returns the marked runs of a bitmap. QEMU exports them as holes (block/nbd.c,
// x-dirty-bitmap).
func dirty(t *testing.T, image, bitmap string) []Extent {
	t.Helper()
	dir := t.TempDir()
	socket, pid := filepath.Join(dir, "s"), filepath.Join(dir, "pid")
	cmd := exec.Command("qemu-nbd", "-r", "-f", "qcow2", "-B", bitmap, "-k", socket, "--pid-file", pid, image)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	source := "driver=nbd,server.type=unix,server.path=" + socket + ",x-dirty-bitmap=qemu:dirty-bitmap:" + bitmap
	var out []byte
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if out, err = Run(context.Background(), "qemu-img", "map", "--output=json", "--image-opts", source); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	var runs []struct {
		Start, Length size.Bytes
		Data          bool
	}
	if err := json.Unmarshal(out, &runs); err != nil {
		t.Fatal(err)
	}
	var marked []Extent
	for _, r := range runs {
		if r.Data {
			continue
		}
		if n := len(marked); n > 0 && marked[n-1].End() == r.Start {
			marked[n-1].Size += r.Length
			continue
		}
		marked = append(marked, Extent{r.Start, r.Length})
	}
	return marked
}
