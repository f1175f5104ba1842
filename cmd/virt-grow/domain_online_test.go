package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// mountedDisk is a data disk, and how a guest mounts its file system.
type mountedDisk struct {
	image string // name of a zoo image
	mount []string
	at    string
}

// mountedDisks are common layouts that administrators grow online.
var mountedDisks = []mountedDisk{
	{"none-xfs", []string{"mount", "-t", "xfs", "DEV"}, "/mnt/whole"},
	{"gpt-ext4", []string{"mount", "-t", "ext4", "DEV1"}, "/mnt/part"},
	{"gpt-lvm-xfs", []string{"mount", "-t", "xfs", "/dev/mapper/vg_xfs-data"}, "/mnt/lvm"},
	{"gpt-btrfs", []string{"mount", "-t", "btrfs", "DEV1"}, "/mnt/btrfs"},
}

// startWithDisks starts a guest with a disk for every mountedDisk, mounts all of them, and starts a
// writer on each.
func (h *env) startWithDisks(t *testing.T, spec lab.Spec, legacy bool, mountedDisks ...mountedDisk) *vm {
	t.Helper()
	var images []string
	for _, r := range mountedDisks {
		images = append(images, r.image)
	}
	if len(images) > 0 {
		if _, err := testimages.Cache(context.Background(), images...); err != nil {
			t.Fatal(err)
		}
	}
	name := spec.Name
	root := filepath.Join(h.dir, name+"-root.qcow2")
	if err := lab.Image(context.Background(), "xfs", "qcow2", root); err != nil {
		t.Fatal(err)
	}
	spec.Cmdline = append(spec.Cmdline, "load=ext4,dm-mod,btrfs")
	more := spec.Disks
	spec.Disks = []lab.Disk{{Path: root, Format: "qcow2", Target: "vda"}}
	var paths []string
	for i, r := range mountedDisks {
		path := filepath.Join(h.dir, fmt.Sprintf("%s-%d-%s.qcow2", name, i, r.image))
		paths = append(paths, path)
		if err := testimages.Copy(r.image, path, "qcow2"); err != nil {
			t.Fatal(err)
		}
		d := lab.Disk{Path: path, Format: "qcow2", Target: fmt.Sprintf("vd%c", 'b'+i)}
		if legacy {
			d.Target = fmt.Sprintf("drive-virtio-disk%d", i+1)
			spec.Drives = append(spec.Drives, d)
			openTo(t, path)
		} else {
			spec.Disks = append(spec.Disks, d)
		}
	}
	spec.Disks = append(spec.Disks, more...)
	x := h.start(t, name, spec, false)
	x.disks = paths
	if len(spec.Cmdline) == 1 && !spec.NoAgentChannel { // the agent has no restrictions
		x.mountAndWrite(t, mountedDisks...)
	}
	return x
}

// mountAndWrite mounts the mountedDisks, and starts a writer on each.
func (x *vm) mountAndWrite(t *testing.T, mountedDisks ...mountedDisk) {
	t.Helper()
	x.inside(t, "vgchange -a y; mkdir -p /mnt")
	for i, r := range mountedDisks {
		mount := strings.ReplaceAll(strings.Join(r.mount, " "), "DEV", fmt.Sprintf("/dev/vd%c", 'b'+i))
		x.inside(t, fmt.Sprintf("mkdir -p %s && %s %s && mkdir -p %s/new", r.at, mount, r.at, r.at))
		x.inside(t, fmt.Sprintf(writer, r.at))
	}
}

// writer writes one file after another, and records the checksum of each when the file
// is synced to disk.
const writer = `cd %s/new; (i=$(ls | wc -l); while [ ! -e /run/enough ]; do i=$((i+1));
dd if=/dev/urandom of=$i bs=1k count=9 conv=fsync 2> /dev/null && md5sum $i >> sums || echo lost $i >> sums; sleep 0.1; done) > /dev/null 2>&1 &`

// inside runs a line in the guest's shell.
func (x *vm) inside(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := within(time.Minute)
	defer cancel()
	out, err := x.Exec(ctx, "sh", "-c", line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// checkFiles fails the test unless every file that the guest wrote, or that the disk had
// before, is present and unchanged.
func (x *vm) checkFiles(t *testing.T, mountedDisks ...mountedDisk) {
	t.Helper()
	x.inside(t, "touch /run/enough; sleep 1")
	for _, r := range mountedDisks {
		out := x.inside(t, fmt.Sprintf("cd %s/new && md5sum -c sums | grep -vc OK; grep -c . sums; grep -c lost sums; true", r.at))
		counts := strings.Fields(out)
		if len(counts) != 3 || counts[0] != "0" || counts[1] == "0" || counts[2] != "0" {
			t.Errorf("%s: wrong, written and lost files are %v", r.at, counts)
		}
		t.Logf("%s: %s files written meanwhile", r.at, counts[1])
	}
}

// total returns the size of a file system as the guest's kernel reports it, in MiB.
func (x *vm) total(t *testing.T, at string) int {
	t.Helper()
	var blocks, unit int
	out := x.inside(t, "stat -f -c '%b %S' "+at)
	if _, err := fmt.Sscan(out, &blocks, &unit); err != nil {
		t.Fatalf("stat -f: %q", out)
	}
	return blocks * unit >> 20
}

// TestOnline grows data disks of a running guest through libvirt and QMP while the guest
// writes to them.
func TestOnline(t *testing.T) {
	level.Only(t, level.Real)
	h := newEnv(t)
	x := h.startWithDisks(t, lab.Spec{Name: "online"}, false, mountedDisks...)
	for _, c := range []struct{ via, size string }{{"libvirt", "600M"}, {"qmp", "900M"}} {
		if c.via == "qmp" {
			x.inside(t, "rm /sbin/growpart") // sfdisk is used instead
		}
		for i, r := range mountedDisks {
			t.Run(c.via+"/"+r.image, func(t *testing.T) {
				was := x.total(t, r.at)
				begun := time.Now()
				code, out := x.run(t, "", "online", x.Name, "--disk", fmt.Sprintf("vd%c", 'b'+i), "--size", c.size, "--via", c.via, "--yes")
				t.Logf("%s\n%s", time.Since(begun), out)
				if code != 0 || x.total(t, r.at) < was+200 {
					t.Errorf("exit %d; %s had %d MiB, and has %d", code, r.at, was, x.total(t, r.at))
				}
				if want := map[string]int64{"600M": 600 << 20, "900M": 900 << 20}[c.size]; sizeOf(t, x.disks[i]) != want {
					t.Errorf("the image has %d bytes", sizeOf(t, x.disks[i]))
				}
			})
		}
	}
	t.Run("hmp cannot name it", func(t *testing.T) {
		code, out := x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "+100M", "--via", "hmp", "--yes")
		if code != 3 || !strings.Contains(out, "-blockdev") || sizeOf(t, x.disks[0]) != 900<<20 {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	for _, via := range []string{"libvirt", "qmp"} {
		t.Run("no shrink through "+via, func(t *testing.T) { x.checkNoShrink(t, "vdb", via) })
	}
	x.checkFiles(t, mountedDisks...)
}

func (x *vm) checkNoShrink(t *testing.T, disk, via string) {
	t.Helper()
	was := sizeOf(t, x.disks[0])
	code, out := x.run(t, "", "online", x.Name, "--disk", disk, "--size", "400M", "--via", via, "--yes")
	if code != 3 || !strings.Contains(out, "only grows") || sizeOf(t, x.disks[0]) != was {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestOnlineHMP grows drives that were added to QEMU without libvirt, through the human
// monitor.
func TestOnlineHMP(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.startWithDisks(t, lab.Spec{Name: "legacy"}, true, mountedDisks[:3]...)
	for i, r := range mountedDisks[:3] {
		t.Run(r.image, func(t *testing.T) {
			was := x.total(t, r.at)
			code, out := x.run(t, "", "online", x.Name, "--disk", x.disks[i], "--size", "600M", "--via", "hmp", "--yes")
			t.Log(out)
			if code != 0 || x.total(t, r.at) < was+200 || sizeOf(t, x.disks[i]) != 600<<20 {
				t.Errorf("exit %d; %s had %d MiB, and has %d", code, r.at, was, x.total(t, r.at))
			}
		})
	}
	t.Run("by its alias, left to us", func(t *testing.T) {
		code, out := x.run(t, "", "online", x.Name, "--disk", "drive-virtio-disk1", "--size", "700M", "--yes")
		if code != 0 || !strings.Contains(out, "qmp") || x.total(t, mountedDisks[0].at) < 600 {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	t.Run("no shrink", func(t *testing.T) { x.checkNoShrink(t, "drive-virtio-disk1", "hmp") })
	x.checkFiles(t, mountedDisks[:3]...)
}

// openTo allows QEMU to open a file that libvirt does not know.
func openTo(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestOnlineAgents checks the growth of the contents with agents that are missing,
// restricted or stopped.
func TestOnlineAgents(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	for _, c := range []struct {
		name string
		spec lab.Spec
	}{
		{"no-channel", lab.Spec{NoAgentChannel: true}},
		{"no-agent", lab.Spec{Cmdline: []string{"no-agent"}}},
		{"forbids", lab.Spec{Cmdline: []string{"agent-without=guest-exec"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "forbids" {
				level.Need(t, level.All)
			}
			c.spec.Name = c.name
			x := h.startWithDisks(t, c.spec, false, mountedDisks[2])
			code, out := x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "600M", "--in-guest", "agent", "--yes")
			if code != 3 || !strings.Contains(out, "guest agent") || sizeOf(t, x.disks[0]) != 322<<20 {
				t.Errorf("--in-guest agent: exit %d\n%s", code, out)
			}
			code, out = x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "600M", "--yes")
			if code != 0 || sizeOf(t, x.disks[0]) != 600<<20 {
				t.Errorf("exit %d\n%s", code, out)
			}
			t.Log(out)
			for _, line := range []string{"growpart /dev/vdb 1", "pvresize /dev/vdb1", "lvextend -l +100%FREE vg_xfs/data", `xfs_growfs "$(findmnt -n -o TARGET --source UUID=`} {
				if !strings.Contains(out, line) {
					t.Errorf("it does not say %s", line)
				}
			}
			if _, state := x.job(t); state != "done" {
				t.Errorf("the job is %s", state)
			}
		})
	}
}

// TestOnlineCutOff checks that resume finishes a growth that was interrupted between the
// container and its contents.
func TestOnlineCutOff(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.startWithDisks(t, lab.Spec{Name: "cut"}, false, mountedDisks[1])
	mountedDisk, size := mountedDisks[1], 200
	grow := func(t *testing.T, fault string) (int, string) {
		t.Helper()
		size += 100
		return x.run(t, fault, "online", x.Name, "--disk", "vdb", "--size", fmt.Sprintf("%dM", size), "--yes")
	}
	resumed := func(t *testing.T) {
		t.Helper()
		id, _ := x.job(t)
		code, out := x.run(t, "", "resume", id)
		if got := x.total(t, mountedDisk.at); code != 0 || got < size*8/10 || sizeOf(t, x.disks[0]) != int64(size)<<20 {
			t.Errorf("resume: exit %d, %s has %d MiB\n%s", code, mountedDisk.at, got, out)
		}
	}
	for _, point := range []string{"container/after", "inside/before", "inside/after"} {
		t.Run("killed at "+point, func(t *testing.T) {
			grow(t, point+"=kill")
			id, state := x.job(t)
			code, out := x.run(t, "", "status", id)
			if code != 0 || state != "working" || !strings.Contains(out, "resume "+id) || strings.Contains(out, "rollback "+id) ||
				strings.Contains(out, "resize2fs /dev/vdb1") != (point != "inside/after") {
				t.Errorf("exit %d, %s\n%s", code, state, out)
			}
			if code, out := x.run(t, "", "rollback", id); code != 3 || !strings.Contains(out, "cannot be shrunk") {
				t.Errorf("rollback: exit %d\n%s", code, out)
			}
			resumed(t)
		})
	}
	t.Run("killed before", func(t *testing.T) {
		grow(t, "container/before=kill")
		size -= 100
		id, _ := x.job(t)
		if code, out := x.run(t, "", "rollback", id); code != 0 || sizeOf(t, x.disks[0]) != int64(size)<<20 {
			t.Errorf("rollback: exit %d\n%s", code, out)
		}
	})
	t.Run("the guest's program fails", func(t *testing.T) {
		x.inside(t, "mv /sbin/resize2fs /sbin/kept; printf '#!/bin/sh\\necho no such luck >&2\\nexit 7\\n' > /sbin/resize2fs; chmod 755 /sbin/resize2fs")
		code, out := grow(t, "")
		if code != 8 || !strings.Contains(out, "resize2fs ended with status 7: no such luck") {
			t.Errorf("exit %d\n%s", code, out)
		}
		x.inside(t, "mv /sbin/kept /sbin/resize2fs")
		resumed(t)
	})
	t.Run("the guest lies", func(t *testing.T) {
		x.inside(t, "mv /sbin/resize2fs /sbin/kept; echo '#!/bin/sh' > /sbin/resize2fs; chmod 755 /sbin/resize2fs")
		code, out := grow(t, "")
		if code != 8 || !strings.Contains(out, "were expected") {
			t.Errorf("exit %d\n%s", code, out)
		}
		x.inside(t, "mv /sbin/kept /sbin/resize2fs")
		resumed(t)
		x.inside(t, "mv /sbin/lsblk /sbin/kept; printf '#!/bin/sh\\nkept \"$@\" | sed \"s/SIZE=./SIZE=\\\\\"7/\"\\n' > /sbin/lsblk; chmod 755 /sbin/lsblk")
		was := sizeOf(t, x.disks[0])
		if code, out := grow(t, ""); code != 3 || sizeOf(t, x.disks[0]) != was {
			t.Errorf("lsblk lies: exit %d\n%s", code, out)
		}
		size -= 100
		x.inside(t, "mv /sbin/kept /sbin/lsblk")
	})
	t.Run("the agent hangs", func(t *testing.T) {
		level.Need(t, level.All)
		begun := x.launch(t, "container/after=stop", "online", x.Name, "--disk", "vdb", "--size", fmt.Sprintf("%dM", size+100), "--yes")
		size += 100
		begun.whileStopped(t, func() {
			x.inside(t, "(sleep 1; kill -STOP $(pidof qemu-ga); sleep 50; kill -CONT $(pidof qemu-ga)) > /dev/null 2>&1 &")
			// A stopped agent is only noticed when a command gets no reply, and libvirt
			// would then wait for that reply.
			time.Sleep(2 * time.Second)
		})
		if code := begun.end(t); code != 8 || !strings.Contains(begun.out.String(), "does not answer") {
			t.Errorf("exit %d\n%s", code, &begun.out)
		}
		x.answering(t)
		resumed(t)
	})
	x.checkFiles(t, mountedDisk)
	t.Run("the guest goes off", func(t *testing.T) {
		begun := x.launch(t, "container/after=stop", "online", x.Name, "--disk", "vdb", "--size", fmt.Sprintf("%dM", size+100), "--yes")
		size += 100
		begun.whileStopped(t, func() {
			if _, err := x.Virsh(context.Background(), "destroy", x.Name); err != nil {
				t.Fatal(err)
			}
		})
		if code := begun.end(t); code != 8 || !strings.Contains(begun.out.String(), "is off") {
			t.Errorf("exit %d\n%s", code, &begun.out)
		}
		id, _ := x.job(t)
		if code, out := x.run(t, "", "resume", id); code != 8 {
			t.Errorf("resume of a guest that is off: exit %d\n%s", code, out)
		}
		if err := x.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		x.answering(t)
		x.mountAndWrite(t, mountedDisk)
		resumed(t)
	})
}

// TestOnlineWindows checks that the agent of a Windows guest extends D:.
func TestOnlineWindows(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	for _, c := range []struct {
		kind, says string
		exit       int
	}{
		{"able", `D:\ (NTFS) in the guest`, 0},
		{"fails", "Not enough available capacity", 8},
		{"no-exec", "in Windows, as administrator in PowerShell", 0},
	} {
		t.Run(c.kind, func(t *testing.T) {
			x := h.start(t, c.kind, lab.Spec{Cmdline: []string{"windows=" + c.kind}}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-data", "qcow2"})
			code, out := x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "1G", "--yes")
			t.Log(out)
			if code != c.exit || !strings.Contains(out, c.says) || sizeOf(t, x.disks[1]) != gib {
				t.Errorf("exit %d", code)
			}
			if got := x.volume(t, `D:\`); c.kind == "able" && got < gib*9/10 {
				t.Errorf("D: has %d bytes", got)
			}
		})
	}
}

// TestOnlineSays checks the messages before a growth, and the refusals, on one guest:
// disks of the same size, another bus, a dry run, and wrong uses.
func TestOnlineSays(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	ide := filepath.Join(h.dir, "ide.qcow2")
	if err := testimages.Copy("gpt-ext4", ide, "qcow2"); err != nil {
		t.Fatal(err)
	}
	other := mountedDisks[1]
	other.at = "/mnt/other"
	x := h.startWithDisks(t, lab.Spec{Name: "says", Disks: []lab.Disk{{Path: ide, Format: "qcow2", Target: "hdc"}}}, false, mountedDisks[1], other)
	for _, c := range []struct {
		what string
		args string
		exit int
		says []string
	}{
		{"dry run", "--disk vdc --size 100M --dry-run", 0, []string{`virDomainBlockResize("vdc", 104857600`, "growpart /dev/vdc 1", "resize2fs /dev/vdc1", "dry run"}},
		{"dry run in JSON", "--disk vdc --size 100M --dry-run --json", 0, []string{`"event":"plan"`, `"sent":"virDomain`, `"outcome":"planned"`, `"changed":false`}},
		{"nothing to do", "--disk vdc --size 66M --in-guest none --yes", 0, []string{"Nothing to do"}},
		{"which disk", "--size 100M --yes", 3, []string{"says has 4 disks"}},
		{"no such disk", "--disk vdx --size 100M --yes", 3, []string{"no disk vdx"}},
		{"which file system", "--disk vda --size +100M --grow /nowhere --yes", 3, []string{"no /nowhere"}},
		{"IDE", "--disk hdc --size 100M --yes", 0, []string{"only when it starts", "virt-grow grow says --disk hdc --size fill"}},
		{"no size", "--disk vdc --yes", 64, []string{"--size is missing"}},
		{"a bare number", "--disk vdc --size 100 --yes", 64, []string{"unit"}},
		{"a channel nobody knows", "--disk vdc --size 100M --via ssh --yes", 64, []string{"--via ssh"}},
		{"the second of two of a size", "--disk vdc --size 100M --yes", 0, []string{"/mnt/other (ext4) in the guest"}},
		{"fill: the guest was left behind", "--disk vdb --size 120M --in-guest none --yes", 0, []string{"66 MiB → 120 MiB"}},
		{"fill", "--disk vdb --size fill --yes", 0, []string{"at this size already", "/mnt/part (ext4) in the guest"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			code, out := x.run(t, "", append([]string{"online", x.Name}, strings.Fields(c.args)...)...)
			if code != c.exit {
				t.Errorf("exit %d, want %d", code, c.exit)
			}
			for _, say := range c.says {
				if !strings.Contains(out, say) {
					t.Errorf("it does not say %q", say)
				}
			}
			t.Log(out)
		})
	}
	x.checkFiles(t, mountedDisks[1], other)
	if _, err := x.Virsh(context.Background(), "destroy", x.Name); err != nil {
		t.Fatal(err)
	}
	if code, out := x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "200M", "--yes"); code != 3 || !strings.Contains(out, "does not run") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
