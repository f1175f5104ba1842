package appliance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/bus"
	"github.com/virt-grow/virt-grow/testimages"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// busTree is a Debian with names of disks, and with the driver of virtio in its initramfs.
var busTree = map[string]string{
	"etc/fstab":          "/dev/sda / ext4 defaults 0 1\n/dev/sda1 /data ext4 defaults 0 2\n",
	"etc/os-release":     "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
	"etc/debian_version": "12.5\n",
	"etc/hostname":       "bus\n",
	"boot/vmlinuz-6.1":   "kernel",
	"boot/extlinux.conf": "LABEL l\n  LINUX /boot/vmlinuz-6.1\n  INITRD /boot/initrd.img-6.1\n  APPEND root=/dev/sda ro\n",
	"bin/sh":             "", "usr/bin/true": "", "var/log/syslog": "", "proc/x": "", "dev/x": "",
	"lib/modules/6.1/modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
}

// TestLookForBus looks at a Linux and at the systems of testimages.WindowsSystems, which are one
// disk each of a single appliance. It compares the registry's hives before and after, byte by
// byte. Inspecting all systems takes minutes without KVM.
func TestLookForBus(t *testing.T) {
	level.Need(t, level.Long)
	windows := testimages.WindowsSystems()
	if !level.At(level.All) {
		windows = []testimages.WindowsSystem{windows[1], windows[len(windows)-1]}
	}
	disks := []string{busDisk(t, "linux", "mkfs.ext4", "-q", "-F", "-U", "c0ffee00-0000-4000-8000-000000000001")}
	for i := range windows {
		disks = append(disks, busDisk(t, fmt.Sprint(i), "mkntfs", "-q", "-F", "-Q"))
	}
	a := onBusDisks(t, disks)
	ctx := context.Background()
	fill(t, a, "/dev/sda", func(dir string) {
		for name, text := range busTree {
			writeFile(t, filepath.Join(dir, name), []byte(text))
		}
		image := filepath.Join(dir, "boot/initrd.img-6.1")
		module := filepath.Join(t.TempDir(), "usr/lib/modules/6.1/virtio_blk.ko")
		writeFile(t, module, []byte("driver"))
		shell(t, fmt.Sprintf("cd %s/../../../.. && find usr | cpio --quiet -o -H newc | zstd -q > %s", filepath.Dir(module), image))
	})
	for i, w := range windows {
		var b bytes.Buffer
		if err := w.WriteTar(&b); err != nil {
			t.Fatal(err)
		}
		untar(t, a, "/dev/"+diskName(i+1), b.Bytes())
	}
	roots, err := a.systems(ctx)
	if err != nil || len(roots) != len(disks) {
		t.Fatalf("inspection finds %v (%v)", roots, err)
	}
	t.Run("Linux", func(t *testing.T) { lookAtLinux(t, a) })
	for i, w := range windows {
		t.Run(w.Product+" "+w.Build+" "+string(w.State), func(t *testing.T) { lookAtWindows(t, a, "/dev/"+diskName(i+1), w) })
	}
}

func lookAtLinux(t *testing.T, a *Appliance) {
	disks := []bus.Disk{{Target: "hda", Bus: bus.IDE, Moves: true}}
	devices, err := a.guestDevices(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	found := &bus.Findings{Disks: disks}
	if err := a.lookAtSystem(t.Context(), "/dev/sda", devices, found); err != nil {
		t.Fatal(err)
	}
	edits, warnings, err := bus.Check(*found, bus.IDE, bus.Virtio)
	if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != plan.BusNames || refusal.Subject != "/etc/fstab" {
		t.Errorf("/dev/sda1 does not exist: %v", err)
	}
	if len(warnings) != 0 || len(edits) != 2 {
		t.Fatalf("%d edits, warnings %q: %+v", len(edits), warnings, found.Linux)
	}
	for _, e := range edits {
		if !strings.Contains(string(e.After), "UUID=c0ffee00-0000-4000-8000-000000000001 ") {
			t.Errorf("%s: %s", e.Path, e.After)
		}
	}
	if k := found.Linux.Kernels; len(k) != 1 || k[0].Version != "6.1" || len(k[0].Included) != 1 || len(k[0].Builtin) != 1 || found.Disks[0].Data {
		t.Errorf("%+v", found.Linux)
	}
}

func lookAtWindows(t *testing.T, a *Appliance, device string, w testimages.WindowsSystem) {
	found := &bus.Findings{Disks: []bus.Disk{{Target: "hda", Bus: bus.IDE, Moves: true}}}
	if err := a.lookAtSystem(t.Context(), device, nil, found); err != nil {
		t.Fatal(err)
	}
	got := found.Windows
	if got == nil || got.Version != w.Version() || got.Architecture != "x86_64" || found.System != "windows" {
		t.Fatalf("%+v: %+v", found, got)
	}
	_, warnings, err := bus.Check(*found, bus.IDE, bus.Virtio)
	refusal, refused := plan.IsRefusal(err)
	want := map[testimages.DriverState]plan.Reason{testimages.DriverAbsent: plan.BusDriver, testimages.DriverDisabled: plan.BusDisabled}[w.State]
	if refused != (want != "") || refused && refusal.Reason != want || err != nil && !refused || len(warnings) != 0 {
		t.Errorf("%v, warnings %q: %+v", err, warnings, got)
	}
	if _, _, err := bus.Check(*found, bus.IDE, bus.SCSI); err == nil {
		t.Error("scsi needs vioscsi")
	}
	for path, before := range w.Hives() {
		after, err := a.g.Read_file("/" + path)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s has changed (%v)", path, err)
		}
	}
}

// busDisk makes an image without partitions.
func busDisk(t *testing.T, name string, mkfs ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, nil)
	truncate(t, path, 24<<20)
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	return path
}

// onBusDisks starts an appliance with those disks.
func onBusDisks(t *testing.T, paths []string) *Appliance {
	t.Helper()
	var disks []extOnDisk
	for _, path := range paths {
		disks = append(disks, extOnDisk{path: path})
	}
	a := onDisks(t, disks)
	a.drives = make([]drive, len(paths))
	return a
}

// fill makes a tree in a directory of the host, and copies it to a file system.
func fill(t *testing.T, a *Appliance, device string, tree func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	tree(dir)
	out, err := exec.Command("tar", "-C", dir, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	untar(t, a, device, out)
}

// untar unpacks a tar stream on a file system.
func untar(t *testing.T, a *Appliance, device string, tar []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tar")
	writeFile(t, path, tar)
	for _, call := range []func() error{
		func() error { return a.g.Mount(device, "/") },
		func() error { return a.g.Tar_in(path, "/", nil) },
		a.g.Umount_all,
	} {
		if err := a.do(t.Context(), call); err != nil {
			t.Fatalf("%s: %v", device, err)
		}
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
