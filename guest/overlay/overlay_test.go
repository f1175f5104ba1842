package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/apply"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// failing is a qemu-img that fails in call number $at since the counter was reset. $how
// is the way: killed before or after its work, or out of space in the middle. A commit
// out of space has written some of the bytes.
const failing = `#!/bin/sh
dir=${0%/*}
n=$(($(cat "$dir/calls") + 1)); echo $n > "$dir/calls"
[ "$n" = "$(cat "$dir/at")" ] || exec REAL "$@"
case $(cat "$dir/how") in
before) kill -9 $$ ;;
after) REAL "$@"; kill -9 $$ ;;
esac
for last; do :; done
case "$1 $last" in
"commit "*/a.raw.*) qemu-io -f raw -c 'write -q -P 9 0 32k' "${last%.raw.*}.raw" ;;
"commit "*/b.qcow2.*) qemu-io -f qcow2 -c 'write -q -P 9 0 32k' "${last%.qcow2.*}.qcow2" ;;
esac
echo "qemu-img: No space left on device" >&2
exit 1
`

// bench has two images, a.raw that grows and b.qcow2 with a bitmap, and a change of
// both.
type bench struct {
	t     *testing.T
	tools string // the directory of the failing qemu-img
	dir   string // the directory of the images
	disks Set
	log   *journal.Log
}

const (
	old   = size.MiB
	grown = 2 * size.MiB
)

// newTools returns a directory with the failing qemu-img, which runs the real one.
func newTools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	real, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "qemu-img"), []byte(strings.ReplaceAll(failing, "REAL", real)), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	arm(t, dir, 0, "never")
	return dir
}

// arm makes call number at fail from now on.
func arm(t *testing.T, tools string, at int, how string) {
	t.Helper()
	for name, text := range map[string]string{"calls": "0", "at": strconv.Itoa(at), "how": how} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newImages makes the two images.
func newImages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.raw"), bytes.Repeat([]byte{1}, int(old)), 0o600); err != nil {
		t.Fatal(err)
	}
	b := filepath.Join(dir, "b.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", b, "1M")
	run(t, "qemu-img", "bitmap", "--add", b, "nightly")
	run(t, "qemu-io", "-t", "unsafe", "-f", "qcow2", "-c", "write -q -P 1 0 1M", b)
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := block.Run(context.Background(), name, args...); err != nil {
		t.Fatal(err)
	}
}

// newBench copies the images.
func newBench(t *testing.T, tools, images string) *bench {
	t.Helper()
	b := &bench{t: t, tools: tools, dir: t.TempDir()}
	if err := os.CopyFS(b.dir, os.DirFS(images)); err != nil {
		t.Fatal(err)
	}
	for target, name := range map[string]string{"": "a.raw", "vdb": "b.qcow2"} {
		path := filepath.Join(b.dir, name)
		files := block.Overlay{Image: path, Format: strings.TrimPrefix(filepath.Ext(name), "."), Path: path + ".qcow2", Undo: path + ".undo.qcow2"}
		b.disks = append(b.disks, Disk{Target: target, Files: files, Old: old})
	}
	var err error
	if b.log, err = journal.Open(filepath.Join(t.TempDir(), "journal")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.log.Close() })
	arm(t, tools, 0, "never")
	return b
}

var steps = []plan.Step{
	{Kind: plan.StepOverlay, From: old, To: grown}, {Kind: plan.StepOverlay, Device: "vdb", To: old}, {Kind: plan.StepWrite},
	{Kind: plan.StepUndo}, {Kind: plan.StepUndo, Device: "vdb"},
	{Kind: plan.StepCommit, From: old, To: grown}, {Kind: plan.StepCommit, Device: "vdb"}, {Kind: plan.StepClean},
}

// process returns a new process on the journal. Its call number at fails in the step
// failIn, or with a "-" in front in that step's undo.
func (b *bench) process(failIn string, at int, how string) *apply.Run {
	handlers := b.disks.Images().Handlers()
	handlers[plan.StepWrite] = apply.Handler{Do: b.edit}
	return &apply.Run{Handlers: handlers, Log: b.log, Now: time.Now, Emit: func(e apply.Event) {
		id := e.Step.ID()
		if e.Phase == apply.Undoing {
			id = "-" + id
		}
		switch {
		case id == failIn && (e.Phase == apply.Started || e.Phase == apply.Undoing):
			arm(b.t, b.tools, at, how)
		case e.Phase == apply.Undoing || e.Phase == apply.Started:
			arm(b.t, b.tools, 0, "never")
		}
	}}
}

// edit writes into both overlays, in a.raw also behind the old end. The cache mode is
// unsafe, so that the test does not wait for the disk.
func (b *bench) edit(ctx context.Context, _ plan.Step) error {
	for _, d := range b.disks {
		if _, err := block.Run(ctx, "qemu-io", "-t", "unsafe", "-f", "qcow2", "-c", "write -q -P 2 0 128k", "-c", "write -q -P 2 960k 64k", d.Files.Path); err != nil {
			return err
		}
	}
	_, err := block.Run(ctx, "qemu-io", "-t", "unsafe", "-f", "qcow2", "-c", "write -q -P 2 1M 64k", b.disks.Images()[""].(Disk).Files.Path)
	return err
}

func (b *bench) forward(r *apply.Run) error {
	return r.Forward(context.Background(), steps, journal.Replay(b.log.Entries()).Done)
}

func (b *bench) back(r *apply.Run) error {
	record := journal.Replay(b.log.Entries())
	return r.Back(context.Background(), steps, func(id string) bool { return record.Done[id] || record.Running == id })
}

// check fails the test unless both images are changed or both are as before, the bitmap
// exists, and no other files are left beside them.
func (b *bench) check(t *testing.T, changed bool) {
	t.Helper()
	for _, d := range b.disks {
		got := filepath.Join(t.TempDir(), "raw")
		run(t, "qemu-img", "convert", "-t", "unsafe", "-f", d.Files.Format, "-O", "raw", d.Files.Image, got)
		data, err := os.ReadFile(got)
		if err != nil || !bytes.Equal(data, content(d, changed)) {
			t.Errorf("%s is not as it should be; changed: %v, %v", d.Files.Image, changed, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.dir, "*"))
	if len(left) != 2 || err != nil {
		t.Errorf("there is %v, %v", left, err)
	}
	info, err := block.Inspect(context.Background(), filepath.Join(b.dir, "b.qcow2"), "qcow2", block.Exclusive)
	if err != nil || len(info.Bitmaps) != 1 || info.Bitmaps[0].InUse || !info.Bitmaps[0].Recording {
		t.Errorf("bitmaps %+v, %v", info.Bitmaps, err)
	}
}

// content returns the expected bytes of a disk.
func content(d Disk, changed bool) []byte {
	data := bytes.Repeat([]byte{1}, int(old))
	if !changed {
		return data
	}
	copy(data, bytes.Repeat([]byte{2}, 128<<10))
	copy(data[960<<10:], bytes.Repeat([]byte{2}, 64<<10))
	if d.Target == "" {
		data = append(data, make([]byte, grown-old)...)
		copy(data[old:], bytes.Repeat([]byte{2}, 64<<10))
	}
	return data
}

// TestCutOff checks that a job can be continued and undone after its process was killed
// or ran out of space before or after any call of qemu-img in a step. An interrupted
// undo can be repeated.
func TestCutOff(t *testing.T) {
	tools, images := newTools(t), newImages(t)
	calls := countCalls(t, tools, images)
	turn := 0
	for _, c := range []struct {
		failIn string
		ways   []string
	}{
		{"overlay", []string{"back"}},
		{"save-undo", []string{"back", "forward"}},
		{"save-undo:vdb", []string{"back", "forward"}},
		{"commit", []string{"back", "forward"}},
		{"commit:vdb", []string{"back", "forward"}},
		{"-commit:vdb", []string{"back"}},
		{"-commit", []string{"back"}},
	} {
		if calls[c.failIn] == 0 {
			t.Fatalf("no call in %s; there are %v", c.failIn, calls)
		}
		for at := 1; at <= calls[c.failIn]; at++ {
			for _, how := range []string{"before", "after", "full"} {
				for _, way := range c.ways {
					if turn++; !level.At(level.Real) && turn%17 != 0 {
						continue // in turn
					}
					t.Run(fmt.Sprintf("%s/%d %s/%s", c.failIn, at, how, way), func(t *testing.T) {
						b := newBench(t, tools, images)
						b.cutOff(t, c.failIn, at, how)
						if way == "forward" {
							if err := b.forward(b.process("", 0, "")); err != nil {
								t.Fatal(err)
							}
						} else if err := b.back(b.process("", 0, "")); err != nil {
							t.Fatal(err)
						}
						b.check(t, way == "forward")
					})
				}
			}
		}
	}
}

// cutOff runs the change until the call fails.
func (b *bench) cutOff(t *testing.T, failIn string, at int, how string) {
	t.Helper()
	if !strings.HasPrefix(failIn, "-") {
		if err := b.forward(b.process(failIn, at, how)); err == nil {
			t.Fatal("it did not fail")
		}
		return
	}
	r := b.process(failIn, at, how)
	r.Fault = stopBeforeCleanUp
	if err := b.forward(r); err == nil {
		t.Fatal("it did not fail")
	}
	if err := b.back(r); err == nil {
		t.Fatal("the way back did not fail")
	}
}

// countCalls counts the calls of qemu-img in each step and in each undo.
func countCalls(t *testing.T, tools, images string) map[string]int {
	t.Helper()
	b := newBench(t, tools, images)
	r := b.process("", 0, "")
	calls := map[string]int{}
	emit := r.Emit
	r.Emit = func(e apply.Event) {
		emit(e)
		text, _ := os.ReadFile(filepath.Join(tools, "calls"))
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		switch e.Phase {
		case apply.Finished:
			calls[e.Step.ID()] = n
		case apply.Undone:
			calls["-"+e.Step.ID()] = n
		}
	}
	r.Fault = stopBeforeCleanUp
	if err := b.forward(r); err == nil {
		t.Fatal("it did not fail")
	}
	if err := b.back(r); err != nil {
		t.Fatal(err)
	}
	b.check(t, false)
	return calls
}

func stopBeforeCleanUp(_ context.Context, point string) error {
	if point == "clean-up/before" {
		return errors.New("injected")
	}
	return nil
}

// TestWhole makes the change without a fault.
func TestWhole(t *testing.T) {
	b := newBench(t, newTools(t), newImages(t))
	if err := b.forward(b.process("", 0, "")); err != nil {
		t.Fatal(err)
	}
	b.check(t, true)
}

// TestUnknownDisk checks that a step for an unknown disk is an error and changes no
// other disk.
func TestUnknownDisk(t *testing.T) {
	h := Set{{Target: "vda"}}.Images().Handlers()
	for _, kind := range []plan.StepKind{plan.StepOverlay, plan.StepUndo, plan.StepCommit} {
		if err := h[kind].Do(context.Background(), plan.Step{Kind: kind, Device: "vdb"}); err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
}
