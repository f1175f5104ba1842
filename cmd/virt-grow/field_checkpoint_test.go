package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestFieldCheckpoints checks that the trial of a domain with checkpoints is refused
// while the guest runs. A growth without a trial keeps the checkpoints, and an
// incremental backup from a checkpoint contains what has changed.
func TestFieldCheckpoints(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.start(t, "backed-up", lab.Spec{}, false, labDisk{"xfs", "qcow2"})
	h.virsh(t, "checkpoint-create-as", x.Name, "monday")
	x.refusedHere(t, 3, "checkpoint", "has 1 checkpoint(s)", "grow", x.Name, "--size", "1G", "--yes")

	code, out := x.run(t, "", "rehearse", x.Name, "--size", "1G", "--no-trial")
	if code != 0 {
		t.Errorf("rehearse: exit %d\n%s", code, out)
	}
	x.mustGrow(t, "--no-trial")
	x.checkGrown(t)
	x.hasChanged(t, "monday", 0)

	x.note(t)
	code, out = x.run(t, "", "online", x.Name, "--disk", "vda", "--size", "1280M", "--in-guest", "none", "--yes")
	if code != 0 || sizeOf(t, x.disks[0]) != 1280<<20 {
		t.Errorf("online: exit %d, %d bytes\n%s", code, sizeOf(t, x.disks[0]), out)
	}
	x.hasChanged(t, "monday", 0)
	h.virsh(t, "checkpoint-create-as", x.Name, "tuesday")
	h.virsh(t, "checkpoint-delete", x.Name, "monday")
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot {
		t.Error("the guest was started again")
	}
}

// hasChanged fails the test unless the block at that offset is marked as changed in an
// incremental backup from the checkpoint.
func (x *vm) hasChanged(t *testing.T, checkpoint string, offset int64) {
	t.Helper()
	// QEMU may create a socket in libvirt's directory for the running domain.
	dirs, _ := filepath.Glob(filepath.Join(x.dir, "l/lib/qemu/domain-*-"+x.Name))
	if len(dirs) != 1 {
		t.Fatalf("the domain's directories: %v", dirs)
	}
	socket := filepath.Join("/var/lib/libvirt/qemu", filepath.Base(dirs[0]), "b")
	file := filepath.Join(x.dir, "backup.xml")
	text := fmt.Sprintf(`<domainbackup mode='pull'><incremental>%s</incremental><server transport='unix' socket='%s'/>
<disks><disk name='vda' backup='yes' type='file' exportname='vda' exportbitmap='changed'><scratch file='%s'/></disk></disks></domainbackup>`,
		checkpoint, socket, filepath.Join(x.dir, "scratch.qcow2"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	x.virsh(t, "backup-begin", x.Name, file)
	defer x.virsh(t, "domjobabort", x.Name)
	source := fmt.Sprintf("driver=nbd,export=vda,server.type=unix,server.path=%s,x-dirty-bitmap=qemu:dirty-bitmap:changed", filepath.Join(dirs[0], "b"))
	raw, err := exec.Command("qemu-img", "map", "--output=json", "--image-opts", source).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	out := string(raw)
	// QEMU reports dirty blocks as holes (block/nbd.c, x-dirty-bitmap).
	if !strings.HasPrefix(out, fmt.Sprintf(`[{ "start": %d, `, offset)) || !strings.Contains(strings.SplitN(out, "\n", 2)[0], `"data": false`) {
		t.Errorf("the block at %d has not changed since %s:\n%s", offset, checkpoint, out)
	}
}
