package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// twoDisks makes two guests that are off: one with a volume group over both its disks,
// and one with a plain file system on each disk.
func twoDisks(t *testing.T, h *env) (group, plain *vm) {
	t.Helper()
	one := [][2]int{{2048, 512000}} // 250 MiB
	write := func(kind, device string) string {
		return fmt.Sprintf("mkfs.%s -q %s && mkdir -p /m && mount -t %[1]s %[2]s /m && echo kept > /m/f && umount /m", kind, device)
	}
	fieldDisks(t, h.dir, []string{
		"lvm vgcreate pair P/one-1 P/two-1 && lvm lvcreate -y -Wn -L 400M -n data pair",
		write("xfs", "/dev/pair/data") + " && lvm vgchange -an pair",
		write("ext4", "P/plain-1"), write("ext4", "P/other-1"),
	}, fieldDisk{"one", 252, one}, fieldDisk{"two", 252, one}, fieldDisk{"plain", 252, one}, fieldDisk{"other", 252, one})
	guest := func(name string, images ...string) *vm {
		var spec lab.Spec
		for i, image := range images {
			spec.Disks = append(spec.Disks, lab.Disk{Path: filepath.Join(h.dir, image+".raw"), Format: "raw", Target: fmt.Sprintf("vd%c", 'a'+i)})
		}
		return h.start(t, name, spec, true)
	}
	return guest("pair", "one", "two"), guest("plain", "plain", "other")
}

// hashes returns the hashes of the guest's images.
func (x *vm) hashes(t *testing.T) (all [2][32]byte) {
	t.Helper()
	for i, path := range x.disks {
		all[i] = hashOf(t, path)
	}
	return all
}

// onlyPartition returns the size of an image's first partition in MiB, as sfdisk reports
// it.
func onlyPartition(t *testing.T, path string) int {
	t.Helper()
	out, err := exec.Command("sfdisk", "-J", path).Output()
	var d struct {
		PartitionTable struct{ Partitions []struct{ Size int } }
	}
	if err == nil {
		err = json.Unmarshal(out, &d)
	}
	if err != nil || len(d.PartitionTable.Partitions) != 1 {
		t.Fatalf("%s: %v", path, err)
	}
	return d.PartitionTable.Partitions[0].Size / 2048
}

// TestTwoDisks grows a volume group over two disks of a guest by either disk, and two
// disks in one run. If one of them fails, both are as before.
func TestTwoDisks(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	group, plain := twoDisks(t, h)

	t.Run("group", func(t *testing.T) {
		x, was, saved := group, group.hashes(t), filepath.Join(h.dir, "plan.json")
		out := x.must(t, "plan", x.Name, "--disk", "vdb", "--size", "+256M", "--grow", "pair/data", "-o", saved)
		for _, word := range []string{"vdb1", "commit the overlay of vda", "commit the overlay of vdb"} {
			if !strings.Contains(out, word) {
				t.Errorf("the plan does not say %q", word)
			}
		}
		// LVM writes to the PV on vda as well, so its commit is undone.
		if code, out := x.run(t, "commit:vda/after=error", "apply", saved, "--yes"); code != exitRestored || x.hashes(t) != was {
			t.Fatalf("exit %d, images changed %t\n%s", code, x.hashes(t) != was, out)
		}
		x.must(t, "apply", saved, "--yes")
		if one, two := onlyPartition(t, x.disks[0]), onlyPartition(t, x.disks[1]); one != 250 || two != 250+256 {
			t.Errorf("the partitions have %d and %d MiB", one, two)
		}
		x.checkDefinition(t)
	})
	t.Run("plain", func(t *testing.T) {
		x, was := plain, plain.hashes(t)
		words := []string{"grow", x.Name, "--disk", "vda:+128M", "--disk", "vdb:+64M", "--yes"}
		if code, out := x.run(t, "commit:vdb/before=error", words...); code != exitRestored || x.hashes(t) != was {
			t.Fatalf("exit %d, images changed %t\n%s", code, x.hashes(t) != was, out)
		}
		x.must(t, words...)
		if one, two := onlyPartition(t, x.disks[0]), onlyPartition(t, x.disks[1]); one != 250+128 || two != 250+64 {
			t.Errorf("the partitions have %d and %d MiB", one, two)
		}
		x.checkDefinition(t)
	})
	// The oracle is another appliance with all images.
	got := fish(t, "--ro", "vg-activate-all true\nblockdev-getsize64 /dev/pair/data\nmount-ro /dev/pair/data /\ncat /f\numount-all\n"+
		"e2fsck /dev/sdc1 correct:true\nmount-ro /dev/sdc1 /\ncat /f\numount-all\ne2fsck /dev/sdd1 correct:true\nmount-ro /dev/sdd1 /\ncat /f\n", slices.Concat(group.disks, plain.disks)...)
	if want := fmt.Sprintln(int64(752)<<20) + "kept\nkept\nkept\n"; strings.ReplaceAll(got, "\n\n", "\n") != want {
		t.Errorf("%s", got)
	}
}

// checkDefinition fails the test unless the domain has its own definition and no file of
// a job is left.
func (x *vm) checkDefinition(t *testing.T) {
	t.Helper()
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition is\n%s, was\n%s", now, x.xml)
	}
	for _, path := range x.disks {
		if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
	x.checkEnded(t)
}

// TestTwoDisksKilled checks that a job of two disks that is killed in any step can be
// undone or finished.
func TestTwoDisksKilled(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	group, x := twoDisks(t, h)
	was := x.hashes(t)
	words := []string{"grow", x.Name, "--disk", "vda:+128M", "--disk", "vdb:+64M", "--yes"}
	kill := func(t *testing.T, fault, verb string) {
		t.Helper()
		if code, out := x.run(t, fault, words...); code != -1 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		id, _ := x.job(t)
		x.must(t, verb, id)
	}
	for _, fault := range []string{"overlay:vdb/after=kill", "fs:vdb1/before=kill", "save-undo:vdb/before=kill", "commit:vdb/before=kill", "commit:vdb/after=kill"} {
		t.Run(strings.ReplaceAll(fault, "/", "-"), func(t *testing.T) {
			kill(t, fault, "rollback")
			if x.hashes(t) != was {
				t.Error("the images are not as before")
			}
			x.checkDefinition(t)
		})
	}
	group.must(t, "grow", group.Name, "--disk", "vda", "--size", "+64M", "--grow", "pair/data", "--yes")
	if one, two := onlyPartition(t, group.disks[0]), onlyPartition(t, group.disks[1]); one != 250+64 || two != 250 {
		t.Errorf("by the other disk: the partitions have %d and %d MiB", one, two)
	}
	kill(t, "commit:vdb/before=kill", "resume")
	if one, two := onlyPartition(t, x.disks[0]), onlyPartition(t, x.disks[1]); one != 250+128 || two != 250+64 {
		t.Errorf("the partitions have %d and %d MiB", one, two)
	}
	x.checkDefinition(t)
}

// TestTwoDisksTrial checks that both disks of a running guest grow in one outage and one
// trial, or neither does.
func TestTwoDisksTrial(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	fieldDisks(t, h.dir, []string{"mkfs.ext4 -q P/data-1"}, fieldDisk{"data", 252, [][2]int{{2048, 512000}}})
	root, data := filepath.Join(h.dir, "root.qcow2"), filepath.Join(h.dir, "data.raw")
	if err := lab.Image(t.Context(), "xfs", "qcow2", root); err != nil {
		t.Fatal(err)
	}
	openTo(t, data)
	x := h.start(t, "both", lab.Spec{Cmdline: []string{"load=ext4"}, Disks: []lab.Disk{
		{Path: root, Format: "qcow2", Target: "vda"}, {Path: data, Format: "raw", Target: "vdb"}}}, false)
	sizes := func() [2]int64 { return [2]int64{sizeOf(t, root), sizeOf(t, data)} }
	was := sizes()
	words := []string{x.Name, "--disk", "vda:+256M", "--disk", "vdb:+128M", "--boot-timeout", "90s", "--shutdown-timeout", "60s"}

	x.must(t, append([]string{"rehearse"}, words...)...)
	x.answering(t)
	if code, out := x.run(t, "health/before=error", append([]string{"grow", "--yes"}, words...)...); code != exitRestored || sizes() != was {
		t.Fatalf("exit %d, sizes %v\n%s", code, sizes(), out)
	}
	x.answering(t)
	before := x.total(t, "/")
	x.must(t, append([]string{"grow", "--yes"}, words...)...)
	if now := sizes(); now[0] != was[0]+256<<20 || now[1] != was[1]+128<<20 {
		t.Errorf("the images have %v bytes, had %v", now, was)
	}
	if now := x.total(t, "/"); now < before+240 {
		t.Errorf("the root has %d MiB, had %d", now, before)
	}
	if got := onlyPartition(t, data); got != 250+128 {
		t.Errorf("the partition on vdb has %d MiB", got)
	}
	if now := x.dump(t); now != x.xml {
		t.Errorf("the definition is\n%s, was\n%s", now, x.xml)
	}
	if left, _ := filepath.Glob(h.dir + "/*virt-grow*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
