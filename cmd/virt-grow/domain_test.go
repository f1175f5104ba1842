package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// env is a private libvirt and the program, for one test function.
type env struct {
	*lab.Libvirt
	program, dir string
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvIn(t, newDir(t))
}

// newDir returns a directory for an environment. t.TempDir is not suitable: QEMU runs as
// another user, and a socket's path has to be short.
func newDir(t *testing.T) string {
	t.Helper()
	level.Need(t, level.Real)
	dir, err := os.MkdirTemp("/tmp", "vgl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newEnvIn(t *testing.T, dir string) *env {
	t.Helper()
	var err error
	h := &env{program: buildWithFaults(t), dir: dir}
	if err := lab.Prepare(context.Background(), lab.Variants...); err != nil {
		t.Fatal(err)
	}
	if h.Libvirt, err = lab.Start(context.Background(), filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// vm is a guest with its images, and virt-grow's state directory for it.
type vm struct {
	*env
	*lab.Guest
	disks []string
	state string
	// xml and info have to be the same afterwards.
	xml, info string
	owner     string
	// want is the size that the disk gets.
	want int64
	// old is the last heartbeat before the job, safe the data that was synced by then.
	old  lab.Heartbeat
	safe int64
}

// labDisk is an image of the lab: its variant and format.
type labDisk struct{ variant, format string }

// start defines a guest with the images, and starts it unless off is set.
func (h *env) start(t *testing.T, name string, spec lab.Spec, off bool, disks ...labDisk) *vm {
	t.Helper()
	ctx := context.Background()
	x := &vm{env: h, want: gib, state: filepath.Join(h.dir, name+".state")}
	spec.Name = name
	for _, d := range spec.Disks {
		x.disks = append(x.disks, d.Path)
	}
	for i, d := range disks {
		target := fmt.Sprintf("vd%c", 'a'+i)
		path := filepath.Join(h.dir, name+"-"+target+"."+d.format)
		if err := lab.Image(ctx, d.variant, d.format, path); err != nil {
			t.Fatal(err)
		}
		x.disks = append(x.disks, path)
		spec.Disks = append(spec.Disks, lab.Disk{Path: path, Format: d.format, Target: target})
	}
	var err error
	if x.Guest, err = h.Define(ctx, spec); err != nil {
		t.Fatal(err)
	}
	x.xml, x.owner = x.dump(t), ownerOf(t, x.disks[0])
	if !off {
		if err := x.Start(ctx); err != nil {
			t.Fatal(err)
		}
		x.beating(t, time.Time{})
		if !spec.NoAgentChannel && !strings.Contains(strings.Join(spec.Cmdline, " "), "no-agent") {
			x.answering(t)
		}
		x.owner = ownerOf(t, x.disks[0])
	}
	x.info = x.infos(t)
	return x
}

func (x *vm) dump(t *testing.T) string {
	t.Helper()
	out, err := x.Virsh(context.Background(), "dumpxml", "--inactive", "--security-info", x.Name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// infos returns the state, persistence and autostart that virsh dominfo reports.
func (x *vm) infos(t *testing.T) string {
	t.Helper()
	out, err := x.Virsh(context.Background(), "dominfo", x.Name)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(out) {
		if key, _, _ := strings.Cut(line, ":"); key == "State" || key == "Persistent" || key == "Autostart" {
			kept = append(kept, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(kept, ", ")
}

func ownerOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %v", stat.Uid, stat.Gid, info.Mode())
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// beating waits for a heartbeat that is later than after.
func (x *vm) beating(t *testing.T, after time.Time) lab.Heartbeat {
	t.Helper()
	ctx, cancel := within(2 * time.Minute)
	defer cancel()
	beat, err := x.WaitHeartbeat(ctx, after)
	if err != nil {
		t.Fatal(err)
	}
	return beat
}

func (x *vm) answering(t *testing.T) {
	t.Helper()
	ctx, cancel := within(2 * time.Minute)
	defer cancel()
	if err := x.WaitAgent(ctx); err != nil {
		t.Fatal(err)
	}
}

// run runs the program on the private libvirt.
func (x *vm) run(t *testing.T, fault string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(x.program, append([]string{"--state-dir", x.state, "--connect", x.URI()}, args...)...)
	cmd.Env = append(os.Environ(), "VIRT_GROW_FAULT="+fault)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	checkLines(t, string(out))
	checkFault(t, x.state, fault, cmd.ProcessState.ExitCode())
	return cmd.ProcessState.ExitCode(), string(out)
}

// grow grows the guest's first disk, with time limits for a test.
func (x *vm) grow(t *testing.T, fault string, more ...string) (int, string) {
	t.Helper()
	x.note(t)
	args := []string{"grow", x.Name, "--size", fmt.Sprintf("%dB", x.want), "--yes", "--boot-timeout", "90s", "--shutdown-timeout", "60s"}
	return x.run(t, fault, append(args, more...)...)
}

// job returns the last job's name and state.
func (x *vm) job(t *testing.T) (id, state string) {
	t.Helper()
	code, out := x.run(t, "", "jobs", "--json")
	var list struct {
		Jobs []struct{ ID, State string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Jobs) == 0 {
		t.Fatalf("jobs: exit %d, %v\n%s", code, err, out)
	}
	last := list.Jobs[len(list.Jobs)-1]
	return last.ID, last.State
}

const gib = 1 << 30

// sizeOf returns the image's virtual size.
func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	if format == "" {
		format = "raw" // a block device
	}
	out, err := exec.Command("qemu-img", "info", "-U", "--output=json", "-f", format, path).Output()
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err == nil {
		err = json.Unmarshal(out, &info)
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size
}

// checkKept fails the test unless the domain is as before, no file or process of the job
// is left, and no data of the guest is lost.
func (x *vm) checkKept(t *testing.T) {
	t.Helper()
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition changed:\n%s\nwas\n%s", now, x.xml)
	}
	if now := x.infos(t); now != x.info {
		t.Errorf("the domain is %s, was %s", now, x.info)
	}
	if now := ownerOf(t, x.disks[0]); now != x.owner {
		t.Errorf("the image is %s, was %s", now, x.owner)
	}
	for _, disk := range x.disks {
		if left, _ := filepath.Glob(disk + ".*virt-grow-*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	x.checkNothingRuns(t)
	x.checkNothingLost(t)
}

// checkNothingRuns fails the test if a process of a job is left. After kill -9, the
// process that libguestfs forks to end its appliance checks for its parent every two
// seconds.
func (x *vm) checkNothingRuns(t *testing.T) {
	t.Helper()
	left := x.running()
	for end := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(end); left = x.running() {
		time.Sleep(100 * time.Millisecond)
	}
	for _, line := range left {
		t.Errorf("still running: %s", line)
	}
}

// running returns the processes of the guest's jobs. The gate, the appliance and
// virt-grow itself all have the job's directory in their command line.
func (x *vm) running() []string {
	var found []string
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if line, _ := os.ReadFile(p); bytes.Contains(line, []byte(x.state)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// checkNothingLost fails the test unless the data that the guest had synced before the
// job is still on its disk. Data written in a trial that was rolled back is not.
func (x *vm) checkNothingLost(t *testing.T) {
	t.Helper()
	log, err := x.Log()
	if err != nil {
		t.Fatal(err)
	}
	if len(log.Boots) == 0 || log.Boots[len(log.Boots)-1].ID == x.old.Boot {
		return // the guest has not been started again
	}
	if last := log.Boots[len(log.Boots)-1]; last.Found < x.safe {
		t.Errorf("the guest finds %d lines on its disk, %d had been written", last.Found, x.safe)
	}
}

// note records the data that the guest has synced so far.
func (x *vm) note(t *testing.T) {
	t.Helper()
	log, err := x.Log()
	if err != nil {
		t.Fatal(err)
	}
	x.old = lab.Heartbeat{}
	for _, b := range log.Heartbeats {
		x.old, x.safe = b, max(0, b.Written)
	}
}

// checkGrown fails the test unless the guest runs on its image and sees the new size.
func (x *vm) checkGrown(t *testing.T) {
	t.Helper()
	if got := sizeOf(t, x.disks[0]); got != x.want {
		t.Errorf("the image has %d bytes", got)
	}
	beat := x.beating(t, time.Now())
	if beat.Disk != x.want || beat.Filesystem <= x.old.Filesystem {
		t.Errorf("the guest sees a disk of %d bytes with a file system of %d", beat.Disk, beat.Filesystem)
	}
	x.checkKept(t)
}

// checkOld fails the test unless the guest runs on its unchanged image.
func (x *vm) checkOld(t *testing.T) {
	t.Helper()
	first := x.old
	if got := sizeOf(t, x.disks[0]); got != first.Disk {
		t.Errorf("the image has %d bytes, had %d", got, first.Disk)
	}
	if beat := x.beating(t, time.Now()); beat.Disk != first.Disk || beat.Filesystem != first.Filesystem {
		t.Errorf("the guest sees a disk of %d bytes with a file system of %d", beat.Disk, beat.Filesystem)
	}
	x.checkKept(t)
}

// TestDomain grows the root disk of a running guest with all defaults: outage, trial,
// health check, live commit.
func TestDomain(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	x := h.start(t, "plain", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	if _, err := x.Virsh(context.Background(), "autostart", x.Name); err != nil {
		t.Fatal(err)
	}
	x.info = x.infos(t)
	said := filepath.Join(h.dir, "said")
	x.mustGrow(t, "--disk", "vda", "--post", "env > "+said+"; test -s \"$VIRT_GROW_PLAN\" && echo PLAN=there >> "+said)
	x.checkGrown(t)
	id, _ := x.job(t)
	env, err := os.ReadFile(said)
	for _, want := range []string{"VIRT_GROW_JOB=" + id, "VIRT_GROW_PHASE=post", "VIRT_GROW_DOMAIN=plain", "VIRT_GROW_DISK=vda", "PLAN=there"} {
		if !strings.Contains(string(env), want) {
			t.Errorf("the post command does not see %s (%v)", want, err)
		}
	}
	if gap, err := x.Outage(time.Time{}); err != nil {
		t.Error(err)
	} else {
		t.Logf("outage %s", gap.Length())
	}
}

// mustGrow grows, and fails the test with the program's output if the growth fails.
func (x *vm) mustGrow(t *testing.T, more ...string) string {
	t.Helper()
	code, out := x.grow(t, "", more...)
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	return out
}

// TestDomainKinds grows other disks and file systems, with other ways to treat the
// guest.
func TestDomainKinds(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	for _, c := range []struct {
		name  string
		spec  lab.Spec
		disks []labDisk
		args  []string
	}{
		{name: "lvm", disks: []labDisk{{"lvm", "qcow2"}}},
		{name: "raw", disks: []labDisk{{"xfs", "raw"}}},
		{name: "two", disks: []labDisk{{"xfs", "qcow2"}, {"ntfs-data", "raw"}}, args: []string{"--disk", "vda"}},
		{name: "mute", spec: lab.Spec{NoAgentChannel: true}, disks: []labDisk{{"xfs", "qcow2"}}, args: []string{"--settle", "12s"}},
		{name: "straight", disks: []labDisk{{"xfs", "raw"}}, args: []string{"--no-trial"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := h.start(t, c.name, c.spec, false, c.disks...)
			x.mustGrow(t, c.args...)
			x.checkGrown(t)
			x.leave(t)
		})
	}
}

// leave ends a guest, because the next one needs its processor.
func (x *vm) leave(t *testing.T) {
	t.Helper()
	if _, err := x.Virsh(context.Background(), "destroy", x.Name); err != nil {
		t.Error(err)
	}
}

// TestDomainData grows an NTFS data disk of a running guest.
func TestDomainData(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "data", lab.Spec{}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "qcow2"})
	x.mustGrow(t, "--disk", "vdb")
	if got := sizeOf(t, x.disks[1]); got != gib {
		t.Errorf("the data disk has %d bytes", got)
	}
	x.checkKept(t)
	if got := x.volume(t, "/data"); got < gib*9/10 {
		t.Errorf("/data has %d bytes", got)
	}
}

// TestDomainOff checks that a guest that was off stays off, with and without a trial.
func TestDomainOff(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "off", lab.Spec{}, true, labDisk{"xfs", "raw"})
	x.mustGrow(t)
	if got := sizeOf(t, x.disks[0]); got != gib {
		t.Errorf("the image has %d bytes", got)
	}
	x.checkKept(t)
	x.want = gib + gib/8
	x.mustGrow(t, "--trial-boot")
	if got := sizeOf(t, x.disks[0]); got != x.want {
		t.Errorf("the image has %d bytes", got)
	}
	x.checkKept(t)
}

// TestDomainManual checks that the guest runs on its overlay until the user decides.
func TestDomainManual(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "manual", lab.Spec{}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "qcow2"})
	for _, decision := range []string{"rollback", "accept"} {
		x.mustGrow(t, "--disk", "vda", "--accept", "manual")
		id, state := x.job(t)
		if state != "waiting" {
			t.Fatalf("the job is %s", state)
		}
		if code, out := x.run(t, "", "status", id); code != 0 || !strings.Contains(out, "everything it wrote since then is lost") {
			t.Errorf("status: exit %d\n%s", code, out)
		}
		if beat := x.beating(t, time.Now()); beat.Disk != gib {
			t.Errorf("during the trial the guest sees %d bytes", beat.Disk)
		}
		if got := sizeOf(t, x.disks[0]); got == gib {
			t.Error("the image was committed without being asked")
		}
		if decision == "accept" {
			x.cannotAccept(t, id)
		}
		if code, out := x.run(t, "", decision, id); code != 0 {
			t.Fatalf("%s: exit %d\n%s", decision, code, out)
		}
		if decision == "rollback" {
			x.checkOld(t)
			continue
		}
		x.checkGrown(t)
	}
}

// cannotAccept checks that nothing is undone if libvirt refuses the live commit.
func (x *vm) cannotAccept(t *testing.T, id string) {
	t.Helper()
	ctx := context.Background()
	// The block job becomes ready, and then mirrors writes until it is ended.
	if _, err := x.Virsh(ctx, "blockcopy", x.Name, "vda", filepath.Join(x.dir, "copy.qcow2"), "--transient-job"); err != nil {
		t.Fatal(err)
	}
	code, out := x.run(t, "", "accept", id)
	if _, state := x.job(t); code != 3 || state != "waiting" || !strings.Contains(out, "still waits") {
		t.Errorf("exit %d, the job is %s\n%s", code, state, out)
	}
	if beat := x.beating(t, time.Now()); beat.Disk != gib {
		t.Errorf("the guest sees %d bytes", beat.Disk)
	}
	if _, err := x.Virsh(ctx, "blockjob", x.Name, "vda", "--abort"); err != nil {
		t.Fatal(err)
	}
}

// TestDomainPlan makes a plan of the running guest and applies it. Applied again, the
// plan is stale.
func TestDomainPlan(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "planned", lab.Spec{}, false, labDisk{"lvm", "qcow2"})
	x.note(t)
	file := filepath.Join(h.dir, "planned.json")
	if code, out := x.run(t, "", "plan", x.Name, "--size", "1G", "--grow", "vg/root", "--boot-timeout", "90s", "-o", file); code != 0 {
		t.Fatalf("plan: exit %d\n%s", code, out)
	}
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot {
		t.Error("the guest was restarted for a plan")
	}
	if code, out := x.run(t, "", "apply", file, "--yes"); code != 0 {
		t.Fatalf("apply: exit %d\n%s", code, out)
	}
	x.checkGrown(t)
	if code, out := x.run(t, "", "apply", file, "--yes"); code != 4 {
		t.Errorf("a stale plan: exit %d\n%s", code, out)
	}
}

// TestDomainBlock grows a guest whose disk is a block device that was enlarged before.
// The overlay is in a directory that QEMU can reach.
func TestDomainBlock(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	file := filepath.Join(h.dir, "device.raw")
	if err := lab.Image(context.Background(), "xfs", "raw", file); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, gib); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() })
	x := h.start(t, "block", lab.Spec{Disks: []lab.Disk{{Path: device, Format: "raw", Target: "vda"}}}, false)
	x.note(t)
	args := []string{"grow", x.Name, "--size", "fill", "--yes", "--boot-timeout", "90s"}
	if code, out := x.run(t, "", args...); code != 3 || !strings.Contains(out, "--scratch-dir") {
		t.Errorf("without a folder: exit %d\n%s", code, out)
	}
	if code, out := x.run(t, "", append(args, "--scratch-dir", h.dir)...); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	x.checkGrown(t)
	x.leave(t) // otherwise the device stays in use
}

// TestNoAppliance checks that the guest is not stopped if the appliance cannot start.
func TestNoAppliance(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	x := h.start(t, "spared", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	t.Setenv("LIBGUESTFS_PATH", "/nowhere")
	code, out := x.grow(t, "")
	if code != 1 || !strings.Contains(out, "the guest was not shut down") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot {
		t.Error("the guest was restarted")
	}
	x.checkOld(t)
}

// TestMisbehaviour checks the final state and the exit code for guests that do not
// behave as expected.
func TestMisbehaviour(t *testing.T) {
	h := newEnv(t)
	for _, c := range []struct {
		name    string
		cmdline []string
		args    []string
		exit    int
		says    string
		at      level.Level
	}{
		{name: "hangs", cmdline: []string{"was=536870912", "bigger=hang"}, args: []string{"--boot-timeout", "20s"}, exit: 7, says: "not passed within 20s", at: level.Real},
		{name: "stays", cmdline: []string{"ignore-shutdown"}, args: []string{"--shutdown-timeout", "4s"}, exit: 1, says: "the guest did not shut down", at: level.Long},
		{name: "forced", cmdline: []string{"ignore-shutdown"}, args: []string{"--shutdown-timeout", "2s", "--force-off"}, exit: 0, at: level.All},
		{name: "panics", cmdline: []string{"was=536870912", "bigger=panic"}, args: []string{"--boot-timeout", "25s"}, exit: 7, says: "health check", at: level.All},
		{name: "goes", cmdline: []string{"was=536870912", "bigger=off"}, exit: 7, says: "it is off", at: level.Long},
		{name: "silent", cmdline: []string{"no-agent"}, args: []string{"--settle", "10s"}, exit: 0, at: level.All},
		{name: "sick", args: []string{"--health-cmd", "test $VIRT_GROW_DOMAIN = well"}, exit: 7, says: "health command failed", at: level.All},
		{name: "pre", args: []string{"--pre", "echo no >&2; false"}, exit: 1, says: "pre command failed", at: level.Long},
	} {
		t.Run(c.name, func(t *testing.T) {
			if level.Need(t, c.at); c.at == level.Real {
				level.Only(t, c.at)
			}
			x := h.start(t, c.name, lab.Spec{Cmdline: c.cmdline}, false, labDisk{"xfs", "qcow2"})
			if c.name == "pre" { // these cases do not stop the guest
				if code, out := x.grow(t, "", "--max-outage", "5s"); code != 6 || !strings.Contains(out, "window is too short") {
					t.Errorf("exit %d, want 6\n%s", code, out)
				}
			}
			failed := filepath.Join(h.dir, c.name+".failed")
			code, out := x.grow(t, "", append(c.args, "--on-failure", "touch "+failed)...)
			if code != c.exit || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d\n%s", code, c.exit, out)
			}
			if _, err := os.Stat(failed); (err == nil) != (c.exit == 7 || c.name == "stays") {
				t.Errorf("the on-failure command: %v", err)
			}
			if c.exit == 0 {
				x.checkGrown(t)
			} else {
				x.checkOld(t)
			}
			x.leave(t)
		})
	}
}

// domainPoints are the boundaries, on both sides, of the steps around the edit; the edit
// itself is covered by the tests on images. The long matrices use the points that leave
// the most to clean up, make test-all LONG=all uses all of them.
var (
	domainPoints      = []string{"switch/after", "start/after", "pivot:vda/after"}
	otherDomainPoints = []string{
		"shutdown/before", "shutdown/after", "overlay/after", "fs:sda2/before", "verify:sda2/after", "switch/before", "start/before",
		"health/before", "health/after", "pivot:vda/before", "restore/before", "restore/after", "clean-up/before", "clean-up/after",
	}
)

// TestDomainKilled ends the program with SIGKILL at the boundaries, in one growth after
// another of one guest. Resume ends with the grown disk. Before the live commit,
// rollback restores the previous state.
func TestDomainKilled(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	points := domainPoints
	if level.At(level.All) {
		points = slices.Concat(domainPoints, otherDomainPoints)
	}
	x := h.start(t, "killed", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	x.want = 512 << 20
	for i, point := range points {
		t.Run(strings.ReplaceAll(point, "/", "-"), func(t *testing.T) {
			was := x.want
			x.want += 64 << 20
			if code, out := x.grow(t, point+"=kill"); code != -1 {
				t.Fatalf("not killed: exit %d\n%s", code, out)
			}
			id, _ := x.job(t)
			final := slices.ContainsFunc([]string{"pivot", "restore", "clean-up"}, func(kind string) bool { return strings.HasPrefix(point, kind) })
			if !final && i%2 == 0 {
				if code, out := x.run(t, "", "rollback", id); code != 0 {
					t.Fatalf("rollback: exit %d\n%s", code, out)
				}
				x.want = was
				x.checkOld(t)
				return
			}
			if final {
				if code, _ := x.run(t, "", "rollback", id); code == 0 {
					t.Error("a job past its live commit was rolled back")
				}
			}
			if code, out := x.run(t, "", "resume", id); code != 0 {
				t.Fatalf("resume: exit %d\n%s", code, out)
			}
			x.checkGrown(t)
		})
	}
}
