package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// startOn defines and starts a guest whose root file system is on a disk of a bus. Its other
// disks are on virtio.
func (h *env) startOn(t *testing.T, name string, spec lab.Spec, target, bus, format string, more ...labDisk) *vm {
	t.Helper()
	path := fmt.Sprintf("%s/%s-%s.%s", h.dir, name, target, format)
	if err := lab.Image(t.Context(), "xfs", format, path); err != nil {
		t.Fatal(err)
	}
	spec.Disks = []lab.Disk{{Path: path, Format: format, Target: target, Bus: bus}}
	return h.start(t, name, spec, false, more...)
}

// moveBus moves the guest's disk to another bus, with time limits for a test. The guest's
// kernel is not on its disks, so virt-grow cannot find out whether it has the driver.
func (x *vm) moveBus(t *testing.T, to string, more ...string) (int, string) {
	t.Helper()
	x.note(t)
	args := []string{"bus", x.Name, "--to", to, "--even-unbootable", "--yes", "--boot-timeout", "90s", "--shutdown-timeout", "60s"}
	return x.run(t, "", append(args, more...)...)
}

// checkMoved fails the test unless the definition differs from the earlier one only in the
// disk's target and address, and in controllers.
func (x *vm) checkMoved(t *testing.T, target, bus string) {
	t.Helper()
	now := x.dump(t)
	if !strings.Contains(now, fmt.Sprintf("<target dev='%s' bus='%s'/>", target, bus)) {
		t.Errorf("the disk is not %s on %s:\n%s", target, bus, now)
	}
	if a, b := withoutPlaces(x.xml), withoutPlaces(now); a != b {
		t.Errorf("the definition changed:\n%s\nwas\n%s", b, a)
	}
	x.xml = now
}

// withoutPlaces returns a definition without its controllers, addresses and targets.
func withoutPlaces(xml string) string {
	var kept []string
	inside := false
	for line := range strings.Lines(xml) {
		text := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(text, "<controller"):
			inside = !strings.HasSuffix(text, "/>")
		case inside:
			inside = text != "</controller>"
		case strings.HasPrefix(text, "<address"), strings.HasPrefix(text, "<target dev"):
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestBus moves a guest from IDE to virtio, and grows it in the same outage.
func TestBus(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	x := h.startOn(t, "ide", lab.Spec{Cmdline: []string{"disks=ata_piix,sd_mod"}}, "hda", "", "qcow2")
	if code, out := x.moveBus(t, "virtio", "--size", fmt.Sprintf("%dB", x.want)); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	x.checkMoved(t, "vda", "virtio")
	x.checkGrown(t)
	if code, out := x.moveBus(t, "virtio"); code != 0 || !strings.Contains(out, "on virtio already") {
		t.Errorf("again: exit %d\n%s", code, out)
	}
}

// TestBusBuses moves a guest on q35 from SATA to SCSI, and then to virtio when a person accepts.
func TestBusBuses(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.startOn(t, "sata", lab.Spec{Machine: "q35", Cmdline: []string{"disks=ahci,sd_mod"}}, "sda", "sata", "raw")
	if code, out := x.moveBus(t, "scsi", "--size", fmt.Sprintf("%dB", x.want)); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	x.checkMoved(t, "sda", "scsi")
	x.checkGrown(t)
	if code, out := x.moveBus(t, "virtio", "--accept", "manual"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	id, _ := x.job(t)
	if code, out := x.run(t, "", "accept", id); code != 0 {
		t.Fatalf("accept: exit %d\n%s", code, out)
	}
	x.checkMoved(t, "vda", "virtio")
	x.checkKept(t)
}

// TestBusWithoutDriver checks that a guest without the driver is back on its old bus by
// itself, and that without being forced it is not even shut down.
func TestBusWithoutDriver(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.startOn(t, "bare", lab.Spec{Cmdline: []string{"disks=ata_piix,sd_mod", "without=virtio_blk"}}, "hda", "", "qcow2")
	x.note(t)
	if code, out := x.run(t, "", "bus", x.Name, "--to", "virtio", "--yes"); code != 3 || !strings.Contains(out, "virt-grow: ") {
		t.Errorf("not forced: exit %d\n%s", code, out)
	}
	if beat := x.beating(t, time.Now()); beat.Boot != x.old.Boot {
		t.Error("the guest was restarted")
	}
	if code, out := x.moveBus(t, "virtio", "--boot-timeout", "20s"); code != 7 {
		t.Errorf("forced: exit %d\n%s", code, out)
	}
	if beat := x.beating(t, time.Now()); beat.Boot == x.old.Boot {
		t.Error("the guest was not restarted")
	}
	x.checkKept(t)
}

// TestBusTwoDisks moves the system's disk behind a data disk that is on the new bus already:
// the boot order is then written to the devices. A rollback restores the definition.
func TestBusTwoDisks(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.startOn(t, "two", lab.Spec{Cmdline: []string{"disks=ata_piix,sd_mod"}}, "hda", "", "raw", labDisk{"ntfs-data", "qcow2"})
	if code, out := x.moveBus(t, "virtio", "--disk", "hda", "--accept", "manual"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if now := x.dump(t); strings.Contains(now, "<boot dev=") || !strings.Contains(now, "<target dev='vdb' bus='virtio'/>\n      <boot order='1'/>") {
		t.Errorf("the boot order is not at the disk:\n%s", now)
	}
	id, _ := x.job(t)
	if code, out := x.run(t, "", "rollback", id); code != 0 {
		t.Fatalf("rollback: exit %d\n%s", code, out)
	}
	x.beating(t, time.Now())
	x.checkKept(t)
}

// TestBusKilled kills the program in the trial, and right after the definition has changed.
func TestBusKilled(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	x := h.startOn(t, "killed", lab.Spec{Cmdline: []string{"disks=ata_piix,sd_mod"}}, "hda", "", "qcow2")
	for _, c := range []struct{ fault, then string }{{"switch/after=kill", "rollback"}, {"health/before=kill", "rollback"}, {"pivot:hda/after=kill", "resume"}} {
		x.note(t)
		if code, out := x.run(t, c.fault, "bus", x.Name, "--to", "virtio", "--even-unbootable", "--yes", "--boot-timeout", "90s"); code == 0 {
			t.Fatalf("%s: exit %d\n%s", c.fault, code, out)
		}
		id, _ := x.job(t)
		if code, out := x.run(t, "", c.then, id); code != 0 {
			t.Fatalf("%s: %s: exit %d\n%s", c.fault, c.then, code, out)
		}
		x.beating(t, time.Now())
		x.answering(t)
		if c.then == "resume" {
			x.checkMoved(t, "vda", "virtio")
		}
		x.checkKept(t)
	}
}
