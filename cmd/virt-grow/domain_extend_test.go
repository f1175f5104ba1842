package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestWindowsExtends grows D: of a Windows guest, behind which a recovery partition is
// moved. The agent extends D:, or a message tells the user to do so if the agent may not
// run programs. If Windows cannot extend it, the job is undone.
func TestWindowsExtends(t *testing.T) {
	h := newEnv(t)
	for _, c := range []struct {
		name string
		at   level.Level
		exit int
		says string
		// volume and disk are the least sizes of D: and the disk at the end.
		volume, disk int64
	}{
		{"able", level.Long, 0, "Windows extends sda1", gib * 8 / 10, gib},
		{"no-exec", level.All, 0, "Left to do", 80 << 20, gib},
		{"fails", level.All, 7, "Not enough available capacity", 80 << 20, 128 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			level.Need(t, c.at)
			ctx := context.Background()
			x := h.start(t, c.name, lab.Spec{Cmdline: []string{"windows=" + c.name}}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-winre", "qcow2"})
			before := contentOf(t, x.disks[1])
			begun := time.Now()
			code, out := x.grow(t, "", "--disk", "vdb", "--grow", "sda1", "--ntfs", "guest")
			if code != c.exit || !strings.Contains(out, c.says) {
				t.Fatalf("exit %d, want %d\n%s", code, c.exit, out)
			}
			if c.name == "no-exec" && !strings.Contains(out, "Resize-Partition -Size $to") {
				t.Errorf("it does not say what is left to do:\n%s", out)
			}
			if c.name == "able" {
				wait, cancel := within(time.Minute)
				defer cancel()
				for _, note := range []string{"extended", "recovery is on partition 2"} {
					if _, err := x.WaitNote(wait, begun, note); err != nil {
						t.Error(err)
					}
				}
			}
			x.answering(t) // after an undo, the guest was started again
			if got := x.volume(t, `D:\`); got < c.volume {
				t.Errorf("D: has %d bytes", got)
			}
			if got := sizeOf(t, x.disks[1]); got != c.disk {
				t.Errorf("the disk has %d bytes", got)
			}
			x.checkKept(t)
			if _, err := x.Virsh(ctx, "shutdown", "--mode", "acpi", x.Name); err != nil {
				t.Fatal(err)
			}
			off, cancel := within(time.Minute)
			defer cancel()
			if err := x.WaitState(off, "shut off"); err != nil {
				t.Fatal(err)
			}
			checkRecovery(t, before, contentOf(t, x.disks[1]), c.exit == 0)
		})
	}
}

// volume returns a volume's size as the guest's agent reports it.
func (x *vm) volume(t *testing.T, at string) int64 {
	t.Helper()
	out, err := x.Agent(context.Background(), `{"execute":"guest-get-fsinfo"}`)
	var answer struct {
		Return []struct {
			Mountpoint string `json:"mountpoint"`
			Total      int64  `json:"total-bytes"`
		} `json:"return"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range answer.Return {
		if f.Mountpoint == at {
			return f.Total
		}
	}
	return 0
}

// part is a partition as sfdisk reports it.
type part struct {
	Start, Size             int64
	Type, UUID, Name, Attrs string
}

// content is the guest-visible content of a disk, and its table as sfdisk reports it.
type content struct {
	raw   string
	parts []part
}

func contentOf(t *testing.T, image string) content {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := exec.Command("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("sfdisk", "--json", raw).Output()
	var table struct {
		PartitionTable struct{ Partitions []part }
	}
	if err == nil {
		err = json.Unmarshal(out, &table)
	}
	if err != nil {
		t.Fatal(err)
	}
	return content{raw, table.PartitionTable.Partitions}
}

// checkRecovery fails the test unless the recovery partition has the same bytes, moved
// or not, except for its first and last sector, which contain its start.
func checkRecovery(t *testing.T, before, after content, moved bool) {
	t.Helper()
	was, is := before.parts[1], after.parts[1]
	if (was.Start != is.Start) != moved {
		t.Errorf("the recovery partition began at sector %d, and begins at %d", was.Start, is.Start)
	}
	if is.Start, was.Start = 0, 0; was != is {
		t.Errorf("the recovery partition was %+v, is %+v", was, is)
	}
	skip := fmt.Sprintf("%d:%d", (before.parts[1].Start+1)*512, (after.parts[1].Start+1)*512)
	if out, err := exec.Command("cmp", "-i", skip, "-n", fmt.Sprint((was.Size-2)*512), before.raw, after.raw).CombinedOutput(); err != nil {
		t.Errorf("what is in the recovery partition: %v %s", err, out)
	}
}
