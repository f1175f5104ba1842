package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/level"
)

var errInjected = errors.New("injected fault")

// points returns, in order, the boundaries of every step for growing gpt-data-last,
// where the partition behind the target has to move.
func points() []string {
	var all []string
	for _, id := range []string{"overlay", "check:sda1", "move:sda2", "table:sda", "fs:sda1", "verify:sda1", "save-undo", "commit", "clean-up"} {
		all = append(all, id+"/before", id+"/after")
	}
	return all
}

// TestFaults makes the run fail at every step boundary, and hang there until it is
// cancelled. The run undoes itself, and the image is as before; after the commit, resume
// ends with the grown image.
func TestFaults(t *testing.T) {
	zoo(t)
	image, _ := testimages.Find("gpt-data-last")
	s := newSessions(t)
	for i, point := range points() {
		kinds := []string{"error", "hang"}
		if !level.At(level.Long) && i%2 == i/2%2 {
			continue
		}
		if !level.At(level.All) { // in turn
			kinds = kinds[i/2%2 : i/2%2+1]
		}
		for _, kind := range kinds {
			t.Run(strings.ReplaceAll(point, "/", "-")+"/"+kind, func(t *testing.T) {
				x := newTrial(t, s, image, []string{"raw", "qcow2"}[i/2%2])
				x.fail(t, point, kind)
			})
		}
	}
}

// fail grows with one fault and checks where that ends.
func (x *trial) fail(t *testing.T, point, kind string) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	x.options.Fault = func(ctx context.Context, p string) error {
		if p != point {
			return nil
		}
		if kind == "error" {
			return errInjected
		}
		cancel(errInjected)
		if ctx.Done() == nil {
			return nil // clean-up cannot be interrupted
		}
		<-ctx.Done()
		return fmt.Errorf("hung and was cancelled")
	}
	img, err := x.open(t)
	if err != nil {
		t.Fatal(err)
	}
	_, err = growth.Grow(ctx, img, x.request(), x.options)
	x.options.Fault = nil
	if strings.HasPrefix(point, "clean-up") || point == "commit/after" && err == nil {
		x.checkGrown(t, err, kind)
		return
	}
	if !errors.Is(err, errInjected) {
		t.Fatalf("the fault did not show: %v", err)
	}
	var failure *Failure
	if errors.As(err, &failure) && !failure.Restored {
		t.Fatalf("not restored: %v", failure.Undo)
	}
	x.checkRestored(t)
}

// checkRestored compares the guest-visible content of the image with the copy from
// before; for raw, that is the file itself.
func (x *trial) checkRestored(t *testing.T) {
	t.Helper()
	format := formatName(x.format)
	if now := rawCopy(t, x.path, format); !sameBytes(t, x.before, now) {
		t.Error("the image is not as it was")
	}
	if _, err := block.Run(context.Background(), "qemu-img", "check", "-q", "-f", "qcow2", x.path); format == "qcow2" && err != nil {
		t.Errorf("qemu-img check: %v", err)
	}
	if left, _ := filepath.Glob(x.path + ".virt-grow-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	jobs, err := x.options.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		if !job.Record.State.Ended() {
			t.Errorf("job %s is still %s", job.ID, job.Record.State)
		}
	}
}

func sameBytes(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return infoA.Size() == infoB.Size() && len(differences(t, a, b)) == 0
}

// checkGrown checks the disk after a fault that came after the commit: the disk is
// grown, and resume cleans up what an error left.
func (x *trial) checkGrown(t *testing.T, err error, kind string) {
	t.Helper()
	jobs, listErr := x.options.Store.List()
	if listErr != nil || len(jobs) != 1 {
		t.Fatalf("jobs: %+v, %v", jobs, listErr)
	}
	if kind == "error" {
		var failure *Failure
		if !errors.As(err, &failure) || failure.Restored || !failure.Begun {
			t.Fatalf("the failure is %+v (%v)", failure, err)
		}
	}
	out, err := Resume(context.Background(), jobs[0].ID, again(x.options))
	if err != nil || out.State != journal.Finished {
		t.Fatalf("resume: %+v, %v", out, err)
	}
	info, err := block.Inspect(context.Background(), x.path, formatName(x.format), block.Exclusive)
	if err != nil || info.VirtualSize != grownTo {
		t.Errorf("the image has %s, %v", info.VirtualSize, err)
	}
	if left, _ := filepath.Glob(x.path + ".virt-grow-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestProcessesKilled kills the appliance and the storage daemon in the middle of the
// edit. The run fails, and the image is as before.
func TestProcessesKilled(t *testing.T) {
	zoo(t)
	roles := []string{"appliance", "qemu-storage-daemon"}
	if !level.At(level.Long) {
		roles = roles[:1]
	}
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			image, _ := testimages.Find("gpt-data-last")
			x := newTrial(t, nil, image, "qcow2")
			x.options.Fault = func(_ context.Context, point string) error {
				if point == "fs:sda1/before" {
					return x.kill(role)
				}
				return nil
			}
			img, err := x.open(t)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			_, err = growth.Grow(context.Background(), img, x.request(), x.options)
			var failure *Failure
			if !errors.As(err, &failure) || !failure.Restored {
				t.Fatalf("%v", err)
			}
			t.Logf("%s killed: %v (after %s)", role, err, time.Since(begun).Round(time.Second))
			x.checkFailedIn(t, "fs:sda1")
			x.options.Fault = nil
			x.checkRestored(t)
		})
	}
}

// checkFailedIn fails the test unless the step failed in the only job.
func (x *trial) checkFailedIn(t *testing.T, step string) {
	t.Helper()
	jobs, err := x.options.Store.List()
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs: %+v, %v", jobs, err)
	}
	data, err := os.ReadFile(filepath.Join(x.options.Store.DirOf(jobs[0].ID), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := journal.Parse(bytes.NewReader(data))
	if err != nil || !slices.ContainsFunc(entries, func(e journal.Entry) bool { return e.Kind == journal.Failed && e.Step == step }) {
		t.Errorf("the journal does not say that step %s failed: %v", step, err)
	}
}

// kill kills the job's running process of that role, as named in its journal. Where KVM
// does not work, the journal also names an earlier appliance, which has ended.
func (x *trial) kill(role string) error {
	jobs, err := x.options.Store.List()
	if err != nil {
		return err
	}
	for _, p := range jobs[0].Record.Processes {
		if p.Role == role && block.Alive(p) {
			return syscall.Kill(p.Pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("the journal does not name the %s", role)
}

// TestDiskFull puts the image and the overlay on a file system without enough space. The
// run is refused if the space is missing beforehand, and undone if it runs out during
// the edit or the commit.
func TestDiskFull(t *testing.T) {
	zoo(t)
	if os.Geteuid() != 0 {
		t.Fatal("needs root to mount a small tmpfs; run the tests as root")
	}
	image, _ := testimages.Find("gpt-xfs")
	s := newSessions(t)
	for name, fill := range map[string]struct {
		when  string // the point at which the file system becomes full
		spare size.Bytes
	}{
		"before":    {"", 4 * size.MiB},
		"in edit":   {"table:sda/after", 128 * size.KiB},
		"in undo":   {"save-undo/before", 64 * size.KiB},
		"in commit": {"commit/before", 0},
	} {
		if !level.At(level.Long) && name != "in edit" {
			continue // these cases would need another appliance each
		}
		t.Run(name, func(t *testing.T) {
			shared := s
			if name == "in edit" {
				shared = nil // the appliance of this case is killed
			}
			x := newTrial(t, shared, image, "qcow2")
			small := x.onSmallDisk(t)
			if fill.when == "" {
				small.fillUp(t, fill.spare)
			}
			x.options.Fault = func(_ context.Context, point string) error {
				if point == fill.when {
					small.fillUp(t, fill.spare)
				}
				return nil
			}
			img, err := x.open(t)
			if err != nil {
				t.Fatal(err)
			}
			_, err = growth.Grow(context.Background(), img, x.request(), x.options)
			if fill.when == "" {
				if r, ok := plan.IsRefusal(err); !ok || r.Reason != plan.NoSpace {
					t.Fatalf("not refused: %v", err)
				}
			} else {
				var failure *Failure
				if !errors.As(err, &failure) || !failure.Restored {
					t.Fatalf("%v", err)
				}
				t.Logf("full %s: %v", name, err)
			}
			small.empty(t)
			x.checkRestored(t)
		})
	}
}

// smallDisk is a tmpfs that a test can fill.
type smallDisk string

func (x *trial) onSmallDisk(t *testing.T) smallDisk {
	t.Helper()
	dir := shortDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=200m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, filepath.Base(x.path))
	if _, err := block.Run(context.Background(), "cp", "--sparse=always", x.path, path); err != nil {
		t.Fatal(err)
	}
	x.path = path
	return smallDisk(dir)
}

// fillUp leaves only spare bytes free.
func (d smallDisk) fillUp(t *testing.T, spare size.Bytes) {
	t.Helper()
	free, err := block.Free(string(d))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(string(d), "ballast"), bytes.Repeat([]byte{1}, int(free-spare)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d smallDisk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(string(d), "ballast")); err != nil {
		t.Fatal(err)
	}
}
