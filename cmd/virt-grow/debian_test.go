package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/testimages/kvm"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestDebian grows the root of a real Debian that has its swap behind the root, and
// boots it with its own GRUB. The root gets the space, fstab still finds the swap, and
// online growth is refused. The test needs Debian's archive, and many minutes without
// KVM: make test-debian.
func TestDebian(t *testing.T) {
	level.Need(t, level.Debian)
	made, err := exec.Command("../../.ci/debian").Output()
	if err != nil {
		t.Fatalf(".ci/debian: %v", err)
	}
	h := newEnv(t)
	for _, c := range []struct {
		name       string
		root, swap int
	}{{"mbr", 1, 5}, {"gpt", 2, 3}} {
		t.Run(c.name, func(t *testing.T) {
			image := filepath.Join(h.dir, c.name+".raw")
			if out, err := exec.Command("cp", "--sparse=always", filepath.Join(strings.TrimSpace(string(made)), c.name+".raw"), image).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			x := h.bios(t, c.name, image)
			code, out := x.run(t, "", "grow", c.name, "--size", "+512M", "--yes", "--no-trial")
			if code != 0 || !strings.Contains(out, fmt.Sprintf("sda%d", c.swap)) {
				t.Fatalf("exit %d\n%s", code, out)
			}
			t.Log(out)
			x.checkDebian(t, c.root, c.swap)
		})
	}
}

// bios defines a guest that is off and boots from its disk with a BIOS.
func (h *env) bios(t *testing.T, name, image string) *vm {
	t.Helper()
	kind := "qemu"
	if kvm.Works() {
		kind = "kvm"
	}
	file := filepath.Join(h.dir, name+".xml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `<domain type=%q>
  <name>%s</name><memory unit="MiB">768</memory><vcpu>1</vcpu>
  <os><type arch="x86_64" machine="pc">hvm</type><boot dev="hd"/></os>
  <features><acpi/></features><clock offset="utc"/>
  <devices>
    <disk type="file" device="disk"><driver name="qemu" type="raw"/><source file=%q/><target dev="vda" bus="virtio"/></disk>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
  </devices>
</domain>`, kind, name, image), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Virsh(context.Background(), "define", file); err != nil {
		t.Fatal(err)
	}
	return &vm{env: h, Guest: h.Guest(name), state: filepath.Join(h.dir, name+".state"), disks: []string{image}}
}

// checkDebian starts the guest, and checks its root and swap from inside.
func (x *vm) checkDebian(t *testing.T, root, swap int) {
	t.Helper()
	ctx, cancel := within(15 * time.Minute)
	defer cancel()
	if err := x.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = x.Virsh(context.Background(), "destroy", x.Name) }()
	if err := x.WaitAgent(ctx); err != nil {
		t.Fatal(err)
	}
	in := func(command string) string {
		out, err := x.Exec(ctx, "/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; "+command+" 2>&1")
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		t.Logf("%s:\n%s", command, out)
		return out
	}
	// systemd activates the swap before the boot is complete.
	in("systemctl is-system-running --wait || systemctl --failed")
	if out := in("swapon --show=NAME,SIZE --noheadings --bytes"); strings.Join(strings.Fields(out), " ") != fmt.Sprintf("/dev/vda%d %d", swap, 128<<20-4096) {
		t.Errorf("swap: %s", out)
	}
	if out := in("findmnt --verify"); !strings.Contains(out, "Success, no errors or warnings detected") {
		t.Errorf("findmnt: %s", out)
	}
	var blocks int64
	if _, err := fmt.Sscan(in("df -B1M --output=size / | tail -n 1"), &blocks); err != nil || blocks < 2150 {
		t.Errorf("the root has %d MiB, %v", blocks, err)
	}
	start := in(fmt.Sprintf("cat /sys/class/block/vda%d/start", swap))
	var sector int64
	if _, err := fmt.Sscan(start, &sector); err != nil || sector%2048 != 0 || sector <= 3790848 {
		t.Errorf("the swap begins at sector %s", start)
	}
	if code, out := x.run(t, "", "online", x.Name, "--size", "+256M", "--yes"); code != 3 || !strings.Contains(out, fmt.Sprintf("vda%d", swap)) {
		t.Errorf("online: exit %d\n%s", code, out)
	} else {
		t.Log(out)
	}
	if out := in(fmt.Sprintf("cat /sys/class/block/vda%d/start", swap)); out != start {
		t.Errorf("the swap began at %s and begins at %s", start, out)
	}
}
