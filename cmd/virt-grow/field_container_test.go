package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// onePartition makes disk.raw with a GPT and one partition, whose file system is made by
// the command in the file fs.
func onePartition(t *testing.T, command string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	shell(t, dir, `truncate -s 322M disk.raw
printf 'label: gpt\n2048,655360,L\n' | sfdisk -q disk.raw
truncate -s 320M fs
`+command+`
dd if=fs of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
rm fs`)
	return dir
}

// images runs the program on image files.
type images struct {
	program, dir string
}

func (r images) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(r.program, append([]string{"--state-dir", filepath.Join(r.dir, "state")}, args...)...)
	cmd.Dir = r.dir
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// refused asserts a refusal that leaves every byte of the image as it was.
func (r images) refused(t *testing.T, image string, reason plan.Reason, says string, args ...string) {
	t.Helper()
	before := shell(t, r.dir, "sha256sum "+image)
	code, out := r.run(t, append(args, "--json")...)
	if code != exitRefused || !strings.Contains(strings.ReplaceAll(out, `": "`, `":"`), `"reason":"`+string(reason)+`"`) || !strings.Contains(out, says) {
		t.Errorf("%q: exit %d, want %s and %q\n%s", args, code, reason, says, out)
	}
	if after := shell(t, r.dir, "sha256sum "+image); after != before {
		t.Errorf("%q changed the image", args)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*virt-grow*")); len(left) > 0 {
		t.Errorf("%q left %v", args, left)
	}
}

// breakBitmap writes through a storage daemon that is killed, so that the image's bitmap
// stays marked as in use.
func breakBitmap(t *testing.T, dir, image string) {
	t.Helper()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("qemu-storage-daemon", "--blockdev", "driver=qcow2,node-name=n,file.driver=file,file.filename="+image,
		"--nbd-server", "addr.type=unix,addr.path="+socket, "--export", "type=nbd,id=e,node-name=n,writable=on")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the storage daemon does not come up")
		}
	}
	shell(t, dir, "qemu-io -f raw -c 'write 300M 512' 'nbd+unix:///n?socket="+socket+"'")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestBitmaps checks that an image with an inconsistent bitmap, which QEMU cannot
// resize, is refused beforehand. A consistent bitmap is kept, and marks what was
// changed.
func TestBitmaps(t *testing.T) {
	level.Need(t, level.Long)
	r := images{buildWithFaults(t), onePartition(t, "mkfs.xfs -q fs")}
	shell(t, r.dir, `qemu-img convert -O qcow2 disk.raw b.qcow2; rm disk.raw
qemu-img bitmap --add b.qcow2 nightly; cp b.qcow2 sound.qcow2`)
	breakBitmap(t, r.dir, "b.qcow2")
	r.refused(t, "b.qcow2", plan.BitmapInUse, "bitmap --remove", "grow", "b.qcow2", "--size", "+512M", "--yes")
	for i, image := range []string{"sound.qcow2", "back.qcow2"} {
		if i == 1 { // grown and rolled back
			shell(t, r.dir, "qemu-img create -q -f qcow2 x.qcow2 1M; rm x.qcow2; cp sound.qcow2 back.qcow2")
			if code, out := r.run(t, "grow", image, "--size", "+64M", "--yes", "--keep-overlay"); code != 0 {
				t.Fatalf("exit %d\n%s", code, out)
			}
			id := strings.TrimSpace(shell(t, r.dir, "ls state/jobs | tail -n 1"))
			if code, out := r.run(t, "rollback", id); code != 0 {
				t.Fatalf("rollback: exit %d\n%s", code, out)
			}
		} else if code, out := r.run(t, "grow", image, "--size", "+512M", "--yes"); code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		info := shell(t, r.dir, "qemu-img info --output=json "+image)
		if !strings.Contains(info, "nightly") || strings.Contains(info, "in-use") {
			t.Errorf("%s: the bitmap is not sound\n%s", image, info)
		}
		shell(t, r.dir, "qemu-img check -q "+image)
	}
	// The changed sectors are marked: the table's first sectors, and the backup table.
	mapped := shell(t, r.dir, `qemu-nbd -r -f qcow2 -B nightly -k $PWD/n --fork --pid-file=$PWD/p sound.qcow2
qemu-img map --output=json --image-opts driver=nbd,server.type=unix,server.path=$PWD/n,x-dirty-bitmap=qemu:dirty-bitmap:nightly
kill $(cat p)`)
	if !strings.Contains(mapped, `{ "start": 0,`) || !strings.Contains(strings.SplitN(mapped, "\n", 2)[0], `"data": false`) {
		t.Errorf("the first cluster is not marked as changed\n%s", mapped)
	}
}

// TestContainerLimit checks that a size that the image format does not allow is refused
// before any change.
func TestContainerLimit(t *testing.T) {
	level.Need(t, level.Long)
	r := images{buildWithFaults(t), onePartition(t, "mkfs.ext4 -q fs")}
	shell(t, r.dir, "qemu-img convert -O qcow2 -o cluster_size=512 disk.raw tiny.qcow2")
	r.refused(t, "tiny.qcow2", plan.ContainerLimit, "is limited to 128 GiB", "grow", "tiny.qcow2", "--size", "200G", "--grow", "none", "--yes")
	r.refused(t, "tiny.qcow2", plan.ContainerLimit, "is limited to 128 GiB", "plan", "tiny.qcow2", "--size", "200G", "--grow", "none")
	if largest := strings.Fields(shell(t, r.dir, "ulimit -f 1000000; "+r.program+" --state-dir state grow disk.raw --size 2G --grow none --yes --json 2>&1 || echo $?")); !strings.Contains(strings.Join(largest, " "), "ulimit -f") || largest[len(largest)-1] != "3" {
		t.Errorf("a limit on the size of files: %s", largest)
	}
	shell(t, r.dir, "test $(stat -c %s disk.raw) = 337641472")
}

// TestNotWritable checks that a read-only image is refused when it is planned, and that
// an image in a read-only directory is refused when it is grown.
func TestNotWritable(t *testing.T) {
	level.Only(t, level.Real)
	r := images{buildWithFaults(t), onePartition(t, "mkfs.ext4 -q fs")}
	shell(t, r.dir, "mkdir images && mv disk.raw images && qemu-img convert -O qcow2 images/disk.raw images/disk.qcow2")
	mounts := map[string]string{
		"images/disk.raw": "mount --bind images/disk.raw images/disk.raw && mount -o remount,bind,ro images/disk.raw",
		"images":          "mount --bind images images && mount -o remount,bind,ro images",
	}
	for _, c := range []struct{ readOnly, command string }{
		{"images/disk.raw", "plan images/disk.raw --size 1G"},
		{"images/disk.raw", "rehearse images/disk.raw --size 1G"},
		{"images/disk.raw", "grow images/disk.raw --size 1G --yes"},
		{"images", "plan images/disk.qcow2 --size 1G"},
		{"images", "grow images/disk.qcow2 --size 1G --yes"},
	} {
		out := shell(t, r.dir, "unshare -m sh -c '"+mounts[c.readOnly]+" && "+r.program+" --state-dir state --json "+c.command+"; echo exit $?' 2>&1")
		if !strings.Contains(out, `"not-writable"`) || !strings.Contains(out, "exit 3") {
			t.Errorf("%s, %s being read-only:\n%s", c.command, c.readOnly, out)
		}
	}
}

// TestContainersOfGuests checks the same with a guest, which is not stopped. An agent
// that cannot list file systems before the growth need not list them afterwards.
func TestContainersOfGuests(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.start(t, "mute-fs", lab.Spec{Cmdline: []string{"agent-without=guest-get-fsinfo"}}, false, labDisk{"xfs", "qcow2"})
	begun := time.Now()
	for _, command := range []string{"grow", "online"} {
		code, out := x.run(t, "", command, x.Name, "--disk", "vda", "--size", "100P", "--grow", "none", "--yes", "--json")
		if code != exitRefused || !strings.Contains(out, `"container-limit"`) {
			t.Errorf("%s: exit %d\n%s", command, code, out)
		}
	}
	x.beating(t, begun)
	if code, out := x.grow(t, "", "--boot-timeout", "1m"); code != 0 || !strings.Contains(out, "does not list file systems") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	x.checkGrown(t)
}
