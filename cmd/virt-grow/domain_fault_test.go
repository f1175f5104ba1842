package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// domainFaults are the faults at the steps with libvirt, as VIRT_GROW_FAULT names them.
// The long matrices use the one that leaves the most to clean up, make test-all LONG=all
// uses all of them.
var domainFaults = []string{"health/after=interrupt"}

func allDomainFaults() []string {
	var all []string
	for _, step := range []string{"shutdown", "overlay", "switch", "start", "health", "pivot:vda", "restore", "clean-up"} {
		for _, when := range []string{"before", "after"} {
			all = append(all, step+"/"+when+"=error", step+"/"+when+"=interrupt")
		}
	}
	return append(all, "overlay/after=enospc", "switch/after=enospc")
}

// TestDomainFaults makes the steps around the edit fail, and hang until Ctrl-C. Before
// the live commit, the job undoes itself and the guest runs on its unchanged image. From
// then on, Ctrl-C is ignored, and resume finishes a failed job.
func TestDomainFaults(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "faults", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	if _, err := x.Virsh(context.Background(), "autostart", x.Name); err != nil {
		t.Fatal(err)
	}
	x.info = x.infos(t)
	x.want = 512 << 20
	faults := domainFaults
	if level.At(level.All) {
		faults = allDomainFaults()
	}
	for _, fault := range faults {
		t.Run(strings.ReplaceAll(fault, "/", "-"), func(t *testing.T) {
			begun := time.Now()
			x.fail(t, fault)
			t.Logf("%.0f s", time.Since(begun).Seconds())
		})
	}
}

// fail grows with one fault, and checks the result.
func (x *vm) fail(t *testing.T, fault string) {
	t.Helper()
	was := x.want
	x.want += 64 << 20
	want := exitRestored
	final := slices.ContainsFunc([]string{"pivot", "restore", "clean-up"}, func(step string) bool { return strings.HasPrefix(fault, step) })
	interrupted := strings.HasSuffix(fault, "interrupt")
	switch {
	case final && interrupted:
		want = exitDone
	case final:
		want = exitUnrestored
	case interrupted:
		want = exitInterrupted
	case strings.HasPrefix(fault, "shutdown/before"):
		want = exitFailed // the guest was not asked to shut down
	}
	x.answering(t)
	code, out := x.grow(t, fault)
	if code != want {
		t.Errorf("exit %d, want %d\n%s", code, want, out)
	}
	if strings.Contains(out, "somebody") {
		t.Errorf("nobody else was there:\n%s", out)
	}
	if interrupted && strings.Contains(out, "too late to undo") != final {
		t.Errorf("what it says to Ctrl-C:\n%s", out)
	}
	if want == exitUnrestored {
		x.finish(t, out)
	}
	if final {
		x.checkGrown(t)
	} else {
		x.checkOld(t)
		x.want = was
	}
	x.checkEnded(t)
	if t.Failed() {
		t.Logf("the program said:\n%s", out)
	}
}

// finish runs the command that the program names for finishing the job.
func (x *vm) finish(t *testing.T, said string) {
	t.Helper()
	id, _ := x.job(t)
	if !strings.Contains(said, " resume "+id) {
		t.Errorf("it does not say what finishes the job:\n%s", said)
	}
	if code, out := x.run(t, "", "resume", id); code != 0 {
		t.Fatalf("resume: exit %d\n%s", code, out)
	}
}

// checkEnded fails the test if a job is unfinished.
func (x *vm) checkEnded(t *testing.T) {
	t.Helper()
	_, out := x.run(t, "", "jobs", "--json")
	var list struct {
		Jobs []struct{ ID, State, Next string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, job := range list.Jobs {
		if !slices.Contains([]string{"done", "rolled-back", "cancelled"}, job.State) {
			t.Errorf("job %s is %s, next %q", job.ID, job.State, job.Next)
		}
	}
}

// smallFS is a tmpfs that a test can fill and empty.
type smallFS string

const smallFSSize = 900 << 20

func newSmallFS(t *testing.T, dir string) smallFS {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k := smallFS(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	k.resize(t, smallFSSize)
	return k
}

func (k smallFS) resize(t *testing.T, to int64) {
	t.Helper()
	if err := unix.Mount("tmpfs", string(k), "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", to)); err != nil {
		t.Fatalf("%s to %d bytes: %v", k, to, err)
	}
}

// fill leaves only spare bytes free, even if a guest writes at the same time.
func (k smallFS) fill(t *testing.T, spare int64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(string(k), &s); err != nil {
		t.Fatal(err)
	}
	k.resize(t, int64(s.Blocks-s.Bfree)*s.Bsize+spare)
}

// TestDomainFull fills a file system during the growth: that of the image and overlay,
// or that of the state directory. Before the live commit, the job undoes itself and the
// guest runs on its unchanged image; after it, resume finishes once there is free space
// again.
func TestDomainFull(t *testing.T) {
	level.Need(t, level.All)
	root := newDir(t)
	images, state := newSmallFS(t, filepath.Join(root, "images")), newSmallFS(t, filepath.Join(root, "state"))
	h := newEnvIn(t, root)
	path := filepath.Join(string(images), "full.qcow2")
	if err := lab.Image(context.Background(), "xfs", "qcow2", path); err != nil {
		t.Fatal(err)
	}
	x := h.start(t, "full", lab.Spec{Disks: []lab.Disk{{Path: path, Format: "qcow2", Target: "vda"}}}, false)
	x.state = string(state)
	for _, c := range []struct {
		point   string
		smallFS smallFS
		spare   int64 // 0: a running guest writes until it is paused
		exit    int
		says    string
	}{
		{"overlay/before", images, 0, exitRestored, "No space left"},
		{"fs:sda2/before", images, 128 << 10, exitRestored, "is almost full"},
		{"switch/before", state, 0, exitRestored, "no space left"},
		{"health/before", images, 0, exitRestored, "it is paused"},
		{"pivot:vda/before", images, 0, exitUnrestored, "live commit"},
	} {
		t.Run(strings.ReplaceAll(c.point, "/", "-"), func(t *testing.T) {
			begun := time.Now()
			x.answering(t)
			u := x.begin(t, c.point+"=stop")
			u.whileStopped(t, func() {
				c.smallFS.fill(t, c.spare)
				if c.smallFS == images && c.spare == 0 && c.point != "overlay/before" {
					x.writeUntilPaused(t)
				}
			})
			code := u.end(t)
			out := u.out.String()
			c.smallFS.resize(t, smallFSSize)
			t.Logf("%.0f s", time.Since(begun).Seconds())
			if code != c.exit || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d\n%s", code, c.exit, out)
			}
			if c.exit == exitUnrestored {
				x.finish(t, out)
				x.checkGrown(t)
			} else {
				x.checkOld(t)
			}
			if c.smallFS == state {
				// The rollback could not be written to the journal.
				id, _ := x.job(t)
				if code, out := x.run(t, "", "rollback", id); code != 0 {
					t.Errorf("rollback: exit %d\n%s", code, out)
				}
				x.checkOld(t)
			}
			x.checkEnded(t)
		})
	}
}

// writeUntilPaused makes the guest write more than fits on its disk. QEMU then pauses
// it, which is libvirt's default for a full disk. The writes during the boot may fill
// the disk already.
func (x *vm) writeUntilPaused(t *testing.T) {
	t.Helper()
	ctx, cancel := within(3 * time.Minute)
	defer cancel()
	for asked := false; ; time.Sleep(100 * time.Millisecond) {
		state, err := x.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if state == "paused" {
			return
		}
		if !asked {
			_, err := x.Agent(ctx, `{"execute":"guest-exec","arguments":{"path":"/bin/dd","arg":["if=/dev/urandom","of=/root/big","bs=1M","count=64"]}}`)
			asked = err == nil
		}
	}
}

// TestHibernated grows the data disk of a guest that hibernates at its shutdown, as
// Windows does with fast startup. This is only found in the outage: the guest is started
// again, and the growth is refused.
func TestHibernated(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "windows", lab.Spec{Cmdline: []string{"hibernate"}}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "qcow2"})
	content := func(name string) string {
		raw := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", x.disks[1], raw).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return raw
	}
	running, off := content("running"), ""
	u := x.begin(t, "overlay/before=stop", "--disk", "vdb", "--json")
	u.whileStopped(t, func() { off = content("off") })
	code := u.end(t)
	var result struct{ Event, Reason, Outcome, Hint string }
	for line := range strings.Lines(u.out.String()) {
		if strings.Contains(line, `"event":"result"`) {
			if err := json.Unmarshal([]byte(line), &result); err != nil {
				t.Error(err)
			}
		}
	}
	if code != exitRefused || result.Reason != "ntfs-hibernated" || !strings.Contains(result.Hint, "powercfg /h off") {
		t.Errorf("exit %d, %+v\n%s", code, result, &u.out)
	}
	x.checkOld(t)
	if sameFile(t, running, off) {
		t.Error("the guest left nothing on its data disk: the test proves nothing")
	}
	if !sameFile(t, off, content("after")) {
		t.Error("the data disk is not as the guest left it")
	}
	x.checkEnded(t)
}
