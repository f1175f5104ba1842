package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/poll"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

const dataUUID = "6d1f7c0a-3f5e-4a3b-9a54-2f0f6b1c9d11"

// dataDisk makes an image with an XFS and no partition table, with the host's tools.
func dataDisk(t *testing.T, dir, name, uuid string) string {
	t.Helper()
	raw, path := filepath.Join(dir, name+".tmp"), filepath.Join(dir, name)
	format := strings.TrimPrefix(filepath.Ext(name), ".")
	for _, command := range [][]string{
		{"truncate", "-s", "320M", raw},
		{"mkfs.xfs", "-q", "-m", "uuid=" + uuid, raw},
		{"qemu-img", "convert", "-f", "raw", "-O", format, raw, path},
		{"rm", raw},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	return path
}

// inGuest runs a program in the guest through the agent.
func (x *vm) inGuest(t *testing.T, words ...string) string {
	t.Helper()
	ctx, cancel := within(time.Minute)
	defer cancel()
	out, err := x.Exec(ctx, words[0], words[1:]...)
	if err != nil {
		t.Fatalf("%v in the guest: %v", words, err)
	}
	return out
}

// mountedAt returns the device that the guest has mounted at where; "" for none.
func (x *vm) mountedAt(t *testing.T, where string) string {
	t.Helper()
	for line := range strings.Lines(x.inGuest(t, "cat", "/proc/mounts")) {
		if fields := strings.Fields(line); fields[1] == where {
			return fields[0]
		}
	}
	return ""
}

// reboot makes the guest restart itself, and waits until it has.
func (x *vm) reboot(t *testing.T) {
	t.Helper()
	before := x.beating(t, time.Now())
	_, _ = x.Agent(context.Background(), `{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}`)
	for end := time.Now().Add(2 * time.Minute); x.beating(t, time.Now()).Boot == before.Boot; {
		if time.Now().After(end) {
			t.Fatal("the guest does not restart")
		}
	}
	x.answering(t)
}

// refused runs a command, and fails the test unless it is refused for that reason.
func (x *vm) refused(t *testing.T, reason string, args ...string) {
	t.Helper()
	code, out := x.run(t, "", append(args, "--json")...)
	var r struct{ Reason, Error, Hint string }
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"event":"result"`) {
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code != 3 || r.Reason != reason || r.Hint == "" {
		t.Errorf("%v: exit %d, %q, want 3, %q\n%s", args, code, r.Reason, reason, out)
	}
}

func (x *vm) must(t *testing.T, args ...string) string {
	t.Helper()
	begun := time.Now()
	code, out := x.run(t, "", args...)
	if code != 0 {
		t.Fatalf("%v: exit %d\n%s", args, code, out)
	}
	t.Logf("%s: %.1f s\n%s", strings.Join(args, " "), time.Since(begun).Seconds(), out)
	return out
}

// TestDiskAttach attaches a disk to a running guest and mounts it. The mount survives a
// restart, detaching the disk restores the guest, and wrong uses are refused.
func TestDiskAttach(t *testing.T) {
	h := newEnv(t)
	x := h.start(t, "attached", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	data := dataDisk(t, h.dir, "data.qcow2", dataUUID)
	fstab := x.inGuest(t, "cat", "/etc/fstab")

	nameless, lying := filepath.Join(h.dir, "data.img"), filepath.Join(h.dir, "lying.raw")
	for _, name := range []string{nameless, lying} {
		if err := os.Link(data, name); err != nil {
			t.Fatal(err)
		}
	}
	x.refused(t, "format-missing", "disk", "attach", x.Name, nameless)
	x.refused(t, "format-mismatch", "disk", "attach", x.Name, lying)
	x.refused(t, "format-mismatch", "disk", "attach", x.Name, data, "--format", "raw")
	x.refused(t, "target-taken", "disk", "attach", x.Name, data, "--target", "vda")
	x.refused(t, "no-hotplug", "disk", "attach", x.Name, data, "--bus", "sata")

	definition := x.dump(t)
	x.must(t, "disk", "attach", x.Name, data, "--mount", "/data", "--dry-run")
	x.must(t, "disk", "add", x.Name, "--size", "200M", "--fs", "ext4", "--mount", "/data", "--dry-run", "--yes")
	if x.dump(t) != definition || x.inGuest(t, "cat", "/etc/fstab") != fstab {
		t.Error("a dry run has changed something")
	}
	out := x.must(t, "disk", "attach", x.Name, data, "--mount", "/data")
	if !strings.Contains(out, "its name in the guest is /dev/vdb") {
		t.Error("the name in the guest is missing")
	}
	if got := x.mountedAt(t, "/data"); got != "/dev/vdb" {
		t.Errorf("/data is on %q", got)
	}
	want := fstab + "UUID=" + dataUUID + " /data xfs defaults,nofail 0 0\n"
	if now := x.inGuest(t, "cat", "/etc/fstab"); now != want {
		t.Errorf("fstab is\n%s", now)
	}
	if xml := x.dump(t); !strings.Contains(xml, data) || !strings.Contains(xml, "<driver name='qemu' type='qcow2'/>") {
		t.Errorf("the definition is\n%s", xml)
	}
	x.refused(t, "mounted", "disk", "detach", x.Name, "vdb")
	other := dataDisk(t, h.dir, "other.raw", "6d1f7c0a-3f5e-4a3b-9a54-2f0f6b1c9d12")
	x.refused(t, "mount-taken", "disk", "attach", x.Name, other, "--mount", "/data")
	x.refused(t, "disk-shared", "disk", "attach", x.Name, data)

	x.reboot(t)
	x.waitMounted(t, "/data", "/dev/vdb")
	x.must(t, "disk", "detach", x.Name, "vdb", "--unmount", "--dry-run")
	x.waitMounted(t, "/data", "/dev/vdb")
	x.must(t, "disk", "detach", x.Name, "vdb", "--unmount")
	if now := x.inGuest(t, "cat", "/etc/fstab"); now != fstab {
		t.Errorf("fstab is\n%s", now)
	}
	if left := x.inGuest(t, "lsblk", "-dno", "NAME"); strings.Contains(left, "vdb") {
		t.Errorf("the guest still has %s", left)
	}
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition changed:\n%s\nwas\n%s", now, x.xml)
	}
	if _, err := os.Stat(data); err != nil {
		t.Error(err)
	}
}

// unfinished returns the interrupted job. Jobs that began in the same second have no
// order.
func (x *vm) unfinished(t *testing.T) string {
	t.Helper()
	_, out := x.run(t, "", "jobs", "--json")
	var list struct {
		Jobs []struct{ ID, Next string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, j := range list.Jobs {
		if j.Next != "" {
			return j.ID
		}
	}
	t.Fatalf("no job is unfinished:\n%s", out)
	return ""
}

// waitMounted waits until the guest has mounted the device, which happens after its
// agent first answers.
func (x *vm) waitMounted(t *testing.T, at, device string) {
	t.Helper()
	wait := poll.Wait{For: device + " at " + at, Every: 200 * time.Millisecond, Limit: 20 * time.Second}
	if err := poll.Until(t.Context(), wait, func() (bool, error) { return x.mountedAt(t, at) == device, nil }); err != nil {
		t.Fatalf("%v: it is %q", err, x.mountedAt(t, at))
	}
}

// offlineFstab returns the fstab in the image of a guest that is off, as guestfish reads
// it.
func offlineFstab(t *testing.T, image string) string {
	t.Helper()
	cmd := exec.Command("guestfish", "--ro", "--format="+strings.TrimPrefix(filepath.Ext(image), "."), "-a", image,
		"run", ":", "mount-ro", "/dev/sda2", "/", ":", "cat", "/etc/fstab")
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSuffix(string(out), "\n") // added by guestfish
}

// TestDiskAttachOff attaches a disk to a guest that is off. The guest mounts the disk
// when it boots, and is as before once the disk is detached.
func TestDiskAttachOff(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "off", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	data := dataDisk(t, h.dir, "data.raw", dataUUID)
	fstab := offlineFstab(t, x.disks[0])
	x.must(t, "disk", "attach", x.Name, data, "--mount", "/data", "--serial", "data-1")
	want := fstab + "UUID=" + dataUUID + " /data xfs defaults,nofail 0 0\n"
	if now := offlineFstab(t, x.disks[0]); now != want {
		t.Errorf("fstab is\n%s", now)
	}
	if err := x.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.answering(t)
	x.waitMounted(t, "/data", "/dev/vdb")
	if _, err := x.Virsh(context.Background(), "shutdown", x.Name); err != nil {
		t.Fatal(err)
	}
	off, cancel := within(time.Minute)
	defer cancel()
	if err := x.WaitState(off, "shut off"); err != nil {
		t.Fatal(err)
	}
	x.must(t, "disk", "detach", x.Name, "vdb", "--unmount", "--delete")
	if now := offlineFstab(t, x.disks[0]); now != fstab {
		t.Errorf("fstab is\n%s", now)
	}
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition changed:\n%s\nwas\n%s", now, x.xml)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the image is still there")
	}
}

// TestDiskAdd creates, attaches and mounts a disk in one job, in a running guest and in
// one that is off.
func TestDiskAdd(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	for _, off := range []bool{false, true} {
		name := map[bool]string{false: "adds", true: "addsoff"}[off]
		x := h.start(t, name, lab.Spec{}, off, labDisk{"xfs", "qcow2"})
		x.must(t, "disk", "add", x.Name, "--size", "400M", "--fs", "xfs", "--mount", "/data")
		if off {
			if err := x.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			x.answering(t)
		}
		x.waitMounted(t, "/data", "/dev/vdb1")
		path := filepath.Join(h.dir, name+"-vdb.qcow2")
		if got := sizeOf(t, path); got != 400<<20 {
			t.Errorf("%s has %d bytes", path, got)
		}
		x.must(t, "disk", "detach", x.Name, "vdb", "--unmount", "--delete")
		if _, err := os.Stat(path); err == nil {
			t.Error("the image is still there")
		}
		x.leave(t)
	}
}

// attachPoints are the points at which an attachment is interrupted, detachPoints those
// of a detachment. Points without before or after are in the middle of a step.
var (
	attachPoints = []string{"define/before", "define/after", "plug/after", "seen/after", "fstab/written", "fstab/moved", "fstab/after", "mount/before", "mount/after"}
	detachPoints = []string{"unmount/after", "fstab/written", "fstab/moved", "unplug/before", "unplug/after", "undefine/after"}
)

// TestDiskLVM checks that a disk with a volume group is mounted, refused while it is in
// use, and deactivated before it is detached.
func TestDiskLVM(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "volumes", lab.Spec{}, false, labDisk{"lvm", "qcow2"})
	fstab := x.inGuest(t, "cat", "/etc/fstab")
	x.must(t, "disk", "add", x.Name, "--size", "200M", "--fs", "ext4", "--lvm", "vg1/data", "--mount", "/data")
	if got := x.mountedAt(t, "/data"); got != "/dev/mapper/vg1-data" {
		t.Errorf("/data is %q", got)
	}
	x.refused(t, "mounted", "disk", "detach", x.Name, "vdb")
	if code, out := x.run(t, "unplug/after=error", "disk", "detach", x.Name, "vdb", "--unmount"); code != 7 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if got := x.mountedAt(t, "/data"); got != "/dev/mapper/vg1-data" {
		t.Errorf("/data is %q", got)
	}
	x.must(t, "disk", "detach", x.Name, "vdb", "--unmount", "--delete")
	if now := x.inGuest(t, "cat", "/etc/fstab"); now != fstab {
		t.Errorf("fstab is\n%s", now)
	}
	if left := x.inGuest(t, "ls", "/dev/mapper"); strings.Contains(left, "vg1") {
		t.Errorf("left behind: %s", left)
	}
}

// TestDiskKilled ends the program with SIGKILL at each of these points in turn, on one
// guest. Resume finishes the job, and rollback restores the guest and its fstab.
func TestDiskKilled(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "killed", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	data := dataDisk(t, h.dir, "data.qcow2", dataUUID)
	fstab := x.inGuest(t, "cat", "/etc/fstab")
	with := fstab + "UUID=" + dataUUID + " /mnt/new/data xfs defaults,nofail 0 0\n"
	check := func(t *testing.T, attached bool) {
		t.Helper()
		want, device := fstab, ""
		if attached {
			want, device = with, "/dev/vdb"
		}
		if now := x.inGuest(t, "cat", "/etc/fstab"); now != want {
			t.Errorf("fstab is\n%s", now)
		}
		if now := x.mountedAt(t, "/mnt/new/data"); now != device {
			t.Errorf("mounted is %q", now)
		}
		if has := strings.Contains(x.dump(t), data); has != attached {
			t.Errorf("the definition has the disk: %v", has)
		}
		if !attached && x.dump(t) != x.xml {
			t.Errorf("the definition is\n%s", x.dump(t))
		}
		if left := x.inGuest(t, "lsblk", "-dno", "NAME"); strings.Contains(left, "vdb") != attached {
			t.Errorf("the guest has %s", left)
		}
		x.checkNothingRuns(t)
	}
	attach := []string{"disk", "attach", x.Name, data, "--mount", "/mnt/new/data"}
	detach := []string{"disk", "detach", x.Name, "vdb", "--unmount"}
	both := func(t *testing.T, point string, command []string, attached bool) {
		for _, way := range []string{"rollback", "resume"} {
			t.Run(strings.ReplaceAll(point, "/", "-")+"-"+way, func(t *testing.T) {
				if code, out := x.run(t, point+"=kill", command...); code != -1 {
					t.Fatalf("not killed: exit %d\n%s", code, out)
				}
				id := x.unfinished(t)
				if code, out := x.run(t, "", way, id); code != 0 {
					t.Fatalf("%s: exit %d\n%s", way, code, out)
				}
				check(t, attached == (way == "resume"))
			})
		}
	}
	for _, point := range attachPoints {
		both(t, point, attach, true)
		if left := x.inGuest(t, "ls", "/etc"); strings.Contains(left, ".new") {
			t.Errorf("left behind: %s", left)
		}
		x.must(t, detach...)
		check(t, false)
		x.inGuest(t, "rm", "-rf", "/mnt/new")
	}
	for _, point := range detachPoints {
		x.must(t, attach...)
		both(t, point, detach, false)
	}
	// A job that fails undoes itself.
	if code, out := x.run(t, "mount/after=error", attach...); code != 7 {
		t.Errorf("exit %d\n%s", code, out)
	}
	check(t, false)
}

// TestDiskKilledOff does the same in a guest that is off, during the edit of its fstab,
// and with a disk that the job creates.
func TestDiskKilledOff(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "cut", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	fstab := offlineFstab(t, x.disks[0])
	image := filepath.Join(h.dir, "cut-vdb.qcow2")
	add := []string{"disk", "add", x.Name, "--size", "400M", "--fs", "xfs", "--mount", "/data"}
	points := []string{"define/after", "commit:vda/after", "create/after", "format/after", "name/after",
		"fstab/after", "write/after", "save-undo:vda/after", "commit:vda/before"}
	for _, point := range points {
		t.Run(strings.ReplaceAll(point, "/", "-"), func(t *testing.T) {
			if code, out := x.run(t, point+"=kill", add...); code != -1 {
				t.Fatalf("not killed: exit %d\n%s", code, out)
			}
			id := x.unfinished(t)
			x.must(t, "rollback", id)
			if now := offlineFstab(t, x.disks[0]); now != fstab {
				t.Errorf("fstab is\n%s", now)
			}
			if now := x.dump(t); now != x.xml {
				t.Errorf("the definition changed:\n%s", now)
			}
			if left, _ := filepath.Glob(image + "*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			x.checkKept(t)
		})
	}
	if code, out := x.run(t, "clean-up/after=kill", add...); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id := x.unfinished(t)
	if code, out := x.run(t, "", "rollback", id); code != 3 {
		t.Errorf("rolled back after its end: exit %d\n%s", code, out)
	}
	x.must(t, "resume", id)
	if now := offlineFstab(t, x.disks[0]); !strings.HasPrefix(now, fstab) || !strings.Contains(now, " /data xfs defaults,nofail 0 0\n") || strings.Contains(now, "0000-0000") {
		t.Errorf("fstab is\n%s", now)
	}
	if code, out := x.run(t, "undefine/after=kill", "disk", "detach", x.Name, "vdb", "--unmount", "--delete"); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id = x.unfinished(t)
	x.must(t, "rollback", id)
	if now := x.dump(t); !strings.Contains(now, image) {
		t.Errorf("the definition is\n%s", now)
	}
	if now := offlineFstab(t, x.disks[0]); !strings.Contains(now, " /data xfs") {
		t.Errorf("fstab is\n%s", now)
	}
	if code, out := x.run(t, "clean-up/before=kill", "disk", "detach", x.Name, "vdb", "--unmount", "--delete"); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id = x.unfinished(t)
	x.must(t, "resume", id)
	if _, err := os.Stat(image); err == nil {
		t.Error("the image is still there")
	}
	if now := offlineFstab(t, x.disks[0]); now != fstab {
		t.Errorf("fstab is\n%s", now)
	}
}

// TestDiskHeld checks that a guest that ignores hot-plug requests keeps its disk, and
// that nothing is changed.
func TestDiskHeld(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	data := dataDisk(t, h.dir, "data.qcow2", dataUUID)
	x := h.start(t, "held", lab.Spec{Cmdline: []string{"acpiphp.disable=1"}}, true, labDisk{"xfs", "qcow2"})
	x.must(t, "disk", "attach", x.Name, data)
	x.xml = x.dump(t)
	if err := x.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.answering(t)
	x.refused(t, "not-released", "disk", "detach", x.Name, "vdb", "--timeout", "3s")
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition changed:\n%s", now)
	}
	if left := x.inGuest(t, "lsblk", "-dno", "NAME"); !strings.Contains(left, "vdb") {
		t.Errorf("the guest has %s", left)
	}
}

// TestDiskOthers checks that an image, or its backing file, cannot be attached to a
// second domain. The controller of a SCSI disk is attached and detached together with
// the disk.
func TestDiskOthers(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	ctx := context.Background()
	owner := h.start(t, "owner", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	x := h.start(t, "greedy", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	x.refused(t, "disk-shared", "disk", "attach", x.Name, owner.disks[0])
	base, top := dataDisk(t, h.dir, "base.raw", dataUUID), filepath.Join(h.dir, "top.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "raw", top).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	owner.must(t, "disk", "attach", owner.Name, top)
	x.refused(t, "chain-shared", "disk", "attach", x.Name, base, "--shareable")
	x.refused(t, "disk-shared", "disk", "attach", x.Name, top, "--shareable")

	data := dataDisk(t, h.dir, "data.qcow2", "6d1f7c0a-3f5e-4a3b-9a54-2f0f6b1c9d13")
	if code, out := x.run(t, "define/after=kill", "disk", "attach", x.Name, data, "--bus", "scsi"); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id := x.unfinished(t)
	x.must(t, "rollback", id)
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition changed:\n%s\nwas\n%s", now, x.xml)
	}
	out := x.must(t, "disk", "attach", x.Name, data, "--bus", "scsi")
	if now := x.dump(t); !strings.Contains(out, "virtio-scsi controller") || !strings.Contains(now, "model='virtio-scsi'") {
		t.Errorf("%s\n%s", out, now)
	}
	if err := x.Start(ctx); err != nil {
		t.Fatal(err)
	}
	x.answering(t)
	more := dataDisk(t, h.dir, "more.qcow2", "6d1f7c0a-3f5e-4a3b-9a54-2f0f6b1c9d14")
	if out := x.must(t, "disk", "attach", x.Name, more, "--target", "sdb", "--mount", "/mnt/more"); !strings.Contains(out, "/dev/sdb") || x.mountedAt(t, "/mnt/more") != "/dev/sdb" {
		t.Error("not the second SCSI disk")
	}
	x.refused(t, "mounted", "disk", "detach", x.Name, "sdb")
	x.must(t, "disk", "detach", x.Name, "sda")
	x.must(t, "disk", "detach", x.Name, "sdb", "--unmount", "--delete")
}

// iso makes a file with an ISO 9660 volume descriptor.
func iso(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	text := make([]byte, 64<<10)
	copy(text[16*2048:], "\x01CD001\x01")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// inDrive returns the medium that libvirt reports for a drive; scope is "live" or
// "config".
func (x *vm) inDrive(t *testing.T, scope, target string) string {
	t.Helper()
	args := []string{"domblklist", x.Name}
	if scope == "config" {
		args = append(args, "--inactive")
	}
	out, err := x.Virsh(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == target {
			return fields[1]
		}
	}
	return ""
}

// TestMedia changes media in the running guest and in its definition. Undoing an
// interrupted job inserts the old medium again.
func TestMedia(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "media", lab.Spec{}, true, labDisk{"xfs", "qcow2"})
	one, two := iso(t, h.dir, "one.iso"), iso(t, h.dir, "two & more.iso")
	x.refused(t, "not-iso", "media", "insert", x.Name, x.disks[0])
	x.refused(t, "not-found", "media", "insert", x.Name, filepath.Join(h.dir, "none.iso"))
	x.refused(t, "is-iso", "disk", "attach", x.Name, one, "--format", "raw")
	x.must(t, "media", "insert", x.Name, one)
	drive := "hda"
	if got := x.inDrive(t, "config", drive); got != one {
		t.Fatalf("%s has %q\n%s", drive, got, x.dump(t))
	}
	x.xml = x.dump(t)
	if err := x.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.answering(t)
	check := func(want string) {
		t.Helper()
		for _, scope := range []string{"live", "config"} {
			if got := x.inDrive(t, scope, drive); got != want {
				t.Errorf("%s: %q, want %q", scope, got, want)
			}
		}
	}
	for _, point := range []string{"medium:config/after", "medium:live/before", "medium:live/after"} {
		if code, out := x.run(t, point+"=kill", "media", "insert", x.Name, two); code != -1 {
			t.Fatalf("not killed: exit %d\n%s", code, out)
		}
		id := x.unfinished(t)
		x.must(t, "rollback", id)
		check(one)
		if now := x.dump(t); now != x.xml {
			t.Errorf("the definition changed:\n%s\nwas\n%s", now, x.xml)
		}
	}
	if code, out := x.run(t, "medium:live/before=kill", "media", "insert", x.Name, two); code != -1 {
		t.Fatalf("not killed: exit %d\n%s", code, out)
	}
	id := x.unfinished(t)
	x.must(t, "resume", id)
	if out := x.must(t, "disk", "list", x.Name); !strings.Contains(out, "two") {
		t.Log(out)
	}
	out, err := x.Virsh(context.Background(), "domblklist", "--details", x.Name)
	if err != nil || !strings.Contains(out, two) {
		t.Errorf("%v %s", err, out)
	}
	x.must(t, "media", "eject", x.Name)
	check("-")
	if out := x.must(t, "media", "eject", x.Name); !strings.Contains(out, "Nothing to do") {
		t.Errorf("ejected twice:\n%s", out)
	}
}

// TestWindowsDisk checks that Windows runs the script that initialises a new disk, and
// that the script is printed if the agent may not run it.
func TestWindowsDisk(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	for _, kind := range []string{"able", "no-exec", "fails"} {
		x := h.start(t, kind, lab.Spec{Cmdline: []string{"windows=" + kind}}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "qcow2"})
		empty := filepath.Join(h.dir, kind+"-empty.qcow2")
		if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", empty, "64M").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		begun := time.Now()
		code, out := x.run(t, "", "disk", "attach", x.Name, empty, "--initialise", "ntfs", "--label", "My Data", "--drive", "E")
		t.Logf("exit %d\n%s", code, out)
		if !strings.Contains(out, "Initialize-Disk") {
			t.Error("the script is not shown")
		}
		switch kind {
		case "able":
			wait, cancel := within(time.Minute)
			if _, err := x.WaitNote(wait, begun, "told to initialise a disk"); err != nil || code != 0 || !strings.Contains(out, "drive E") {
				t.Errorf("exit %d, %v", code, err)
			}
			cancel()
		case "no-exec":
			if code != 0 || !strings.Contains(out, "Left to do") {
				t.Errorf("exit %d", code)
			}
		case "fails":
			if code != 7 || !strings.Contains(out, "CIM resource") || x.dump(t) != x.xml {
				t.Errorf("exit %d", code)
			}
		}
		x.leave(t)
	}
}
