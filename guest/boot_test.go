package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/growth"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestBootsFromNTFS checks that a disk that boots from NTFS still boots after its boot
// volume has grown, and after it has been moved.
func TestBootsFromNTFS(t *testing.T) {
	level.Need(t, level.All)
	ctx := context.Background()
	first := filepath.Join(t.TempDir(), "first.raw")
	makeBootable(t, first)
	boots(t, first)
	s := newSessions(t)
	for name, grow := range map[string]string{"grown": "sda2", "moved": "sda1"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name+".raw")
			if out, err := exec.Command("cp", "--sparse=always", first, path).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v: %s", err, out)
			}
			img, err := disk.OpenImage(ctx, path, image.Options{Sector: 512})
			if err != nil {
				t.Fatal(err)
			}
			o := growth.Options{Options: job.Options{Store: journal.Store{Dir: shortDir(t)}}}
			o.Session.Reuse = s.get(t, 512)
			r := plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: grownTo},
				Grow: []plan.GrowTarget{{Name: grow, Amount: plan.Amount{Mode: plan.Fill}}}}
			out, err := growth.Grow(ctx, img, r, o)
			if err != nil {
				t.Fatal(err)
			}
			before, _ := out.Plan.Before.Find("sda2")
			after, _ := out.Plan.After.Find("sda2")
			if (after.Start > before.Start) != (name == "moved") || (after.Size > before.Size) != (name == "grown") {
				t.Fatalf("sda2 went from %d, %s to %d, %s", before.Start, before.Size, after.Start, after.Size)
			}
			boots(t, path)
		})
	}
}

// bootProof is what the kernel on the disk prints on the first serial port. The kernel
// finds no root file system, and the machine restarts.
const bootProof = "started-from=ntfs"

// makeBootable makes a raw MBR disk of 160 MiB: sda1 holds a file, sda2 is active and
// holds syslinux and one of the host's kernels. The MBR code, the boot sector and the
// loader start each other as those of Windows do.
func makeBootable(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "syslinux.cfg")
	err := os.WriteFile(config, []byte("SERIAL 0\nDEFAULT linux\nLABEL linux\nLINUX /vmlinuz\nAPPEND console=ttyS0 panic=-1 "+bootProof+"\n"), 0o600)
	if err = errors.Join(err, os.WriteFile(path, make([]byte, 512), 0o600), os.Truncate(path, 160<<20)); err != nil {
		t.Fatal(err)
	}
	run := func(input string, argv ...string) {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(input)
		cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", argv[0], err, out)
		}
	}
	run("label: dos\nstart=2048, size=65536, type=7\nstart=67584, size=196608, type=7, bootable\n", "sfdisk", "-q", path)
	run("", "dd", "if="+only(t, "/usr/lib/EXTLINUX/mbr.bin", "/usr/share/syslinux/mbr.bin"), "of="+path, "bs=440", "count=1", "conv=notrunc", "status=none")
	run("", "guestfish", "--format=raw", "-a", path, "run",
		":", "mkfs", "ntfs", "/dev/sda1", ":", "mount", "/dev/sda1", "/", ":", "write", "/hello.txt", "hello", ":", "umount", "/",
		":", "mkfs", "ntfs", "/dev/sda2", ":", "mount", "/dev/sda2", "/", ":", "upload", only(t, "/boot/vmlinuz-*"), "/vmlinuz",
		":", "upload", config, "/syslinux.cfg", ":", "extlinux", "/", ":", "umount", "/")
}

// only returns the only file that matches one of the patterns.
func only(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("there is no %s", strings.Join(patterns, ", nor "))
	return ""
}

// boots starts the disk in QEMU, with its BIOS, and waits for the kernel.
func boots(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none",
		"-no-reboot", "-serial", "stdio", "-drive", "file="+path+",format=raw,if=ide").CombinedOutput()
	if !strings.Contains(string(out), bootProof) {
		t.Errorf("did not boot: %v\n%s", err, out)
	}
}
