package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// shell runs a script on the host, in a directory.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// withSwapLast makes the lab's root image with a swap partition of 64 MiB behind the
// root, as Debian's installer does.
func withSwapLast(t *testing.T, path string) {
	t.Helper()
	if err := lab.Image(context.Background(), "xfs", "raw", path); err != nil {
		t.Fatal(err)
	}
	shell(t, filepath.Dir(path), `truncate -s +66M `+path+`
sfdisk -q --relocate gpt-bak-std `+path+`
echo 'size=64M,type=S' | sfdisk -q --append `+path+`
start=$(sfdisk -d `+path+` | sed -n 's/.*start= *\([0-9]*\),.*/\1/p' | sort -n | tail -n 1)
truncate -s 64M swap; mkswap -q swap
dd if=swap of=`+path+` bs=512 seek=$start conv=notrunc,sparse status=none; rm swap`)
}

// TestOnlineSwapLast checks that the swap behind the root is reported before any command
// is sent to QEMU.
func TestOnlineSwapLast(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	path := filepath.Join(h.dir, "swaplast.raw")
	withSwapLast(t, path)
	x := h.start(t, "swaplast", lab.Spec{Disks: []lab.Disk{{Path: path, Format: "raw", Target: "vda"}}}, false)
	x.inside(t, "swapon /dev/vda3")
	was, table := sizeOf(t, path), x.inside(t, "sfdisk -d /dev/vda")
	for _, c := range []struct {
		what, args, says string
		exit             int
	}{
		{"the root", "--size +1G --yes", "vda3 (swap) is behind /", 3},
		{"the offline way is told", "--size +1G --yes --grow /", "virt-grow grow swaplast --disk vda --size +1G moves", 3},
		{"the swap is named", "--size +1G --yes --grow vda3", "holds swap", 3},
		{"the commands are printed", "--size +1G --yes --in-guest print", "vda3 (swap) is behind /", 3},
	} {
		t.Run(c.what, func(t *testing.T) {
			code, out := x.run(t, "", append([]string{"online", x.Name, "--disk", "vda"}, strings.Fields(c.args)...)...)
			if code != c.exit || !strings.Contains(out, c.says) {
				t.Errorf("exit %d\n%s", code, out)
			}
		})
	}
	if now := sizeOf(t, path); now != was || x.inside(t, "sfdisk -d /dev/vda") != table {
		t.Errorf("the disk had %d bytes, and has %d", was, now)
	}
	if entries, _ := os.ReadDir(filepath.Join(x.state, "jobs")); len(entries) > 0 {
		t.Errorf("%d jobs are left", len(entries))
	}
}

// TestOnlineWindowsRecovery checks that a recovery partition behind the drive is
// reported before any command is sent to QEMU, whether Windows lists its partitions or
// the image is read.
func TestOnlineWindowsRecovery(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	for _, kind := range []string{"able", "no-exec"} {
		t.Run(kind, func(t *testing.T) {
			x := h.start(t, kind, lab.Spec{Cmdline: []string{"windows=" + kind}}, false, labDisk{"xfs", "qcow2"}, labDisk{"ntfs-winre", "qcow2"})
			was := sizeOf(t, x.disks[1])
			code, out := x.run(t, "", "online", x.Name, "--disk", "vdb", "--size", "2G", "--yes")
			if code != 3 || !strings.Contains(out, "in Windows, and can only be moved while the guest is off") || sizeOf(t, x.disks[1]) != was {
				t.Errorf("exit %d\n%s", code, out)
			}
		})
	}
}

// suspended makes a swap of 64 MiB with the signature of a memory image at the end of
// its first page.
const suspended = `truncate -s 64M sw; mkswap -q sw 2> /dev/null
printf 'S1SUSPEND\0' | dd of=sw bs=1 seek=4086 conv=notrunc status=none
`

// hibernatedImage makes a disk with an EFI partition, a root with the file system fs,
// and a swap that the script makes in the file sw. The root contains the files of the
// directory root.
func hibernatedImage(t *testing.T, fs, script string) string {
	t.Helper()
	dir := t.TempDir()
	make := map[string]string{"ext4": "mkfs.ext4 -q -d root fs", "xfs": "mkfs.xfs -q fs"}[fs]
	shell(t, dir, "PATH=$PATH:/usr/sbin:/sbin; mkdir -p root/etc\n"+script+`
truncate -s 420M h.raw
printf 'label: gpt\n2048,65536,U\n67584,655360,L\n722944,131072,S\n' | sfdisk -q h.raw
truncate -s 320M fs; `+make+`
dd if=fs of=h.raw bs=512 seek=67584 conv=notrunc,sparse status=none
dd if=sw of=h.raw bs=512 seek=722944 conv=notrunc,sparse status=none
rm -rf fs sw root`)
	return filepath.Join(dir, "h.raw")
}

// TestMemoryImage checks that every change of a disk with a hibernated system is
// refused.
func TestMemoryImage(t *testing.T) {
	level.Need(t, level.Long)
	const swapFile = "printf 'UUID=1 / ext4 defaults 0 1\\n/var/lib/s none swap sw 0 0\\n' > root/etc/fstab; mkdir -p root/var/lib; mv sw root/var/lib/s; truncate -s 64M sw; mkswap -q sw 2> /dev/null"
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, fs, script, says string
		exit                   int
		runs                   [][]string
	}{
		{what: "swap partition", fs: "xfs", script: suspended, exit: 3, says: "the swap on sda3 holds the image of its memory", runs: [][]string{
			{"grow", "--size", "+512M", "--grow", "sda2", "--yes"}, {"grow", "--size", "+512M", "--grow", "none", "--yes"},
			{"copy-in", file}, {"plan", "--size", "+512M"}}},
		{what: "swap file", fs: "ext4", script: suspended + swapFile, exit: 3, says: "/var/lib/s, a swap file on sda2 holds the image of its memory", runs: [][]string{
			{"grow", "--size", "+512M", "--yes"}, {"copy-in", file}}},
		{what: "swap that holds nothing", fs: "ext4", script: "truncate -s 64M sw; mkswap -q sw 2> /dev/null; echo '/swapfile none swap sw 0 0' > root/etc/fstab; cp sw root/swapfile", runs: [][]string{
			{"grow", "--size", "+512M", "--yes"}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			image := hibernatedImage(t, c.fs, c.script)
			was := sums(t, []string{image})
			for _, words := range c.runs {
				line := append([]string{words[0], "--format", "raw", image}, words[1:]...)
				if words[0] == "copy-in" {
					line = []string{"copy-in", "--format", "raw", words[1], image + ":/"}
				}
				r := try(t, t.TempDir(), line...)
				if r.exit != c.exit || !strings.Contains(r.err, c.says) {
					t.Errorf("%v: exit %d\n%s%s", words, r.exit, r.out, r.err)
				}
				if same := sums(t, []string{image}) == was; same != (c.exit != 0) {
					t.Errorf("%v: the image is the same: %v", words, same)
				}
			}
		})
	}
}

// TestMemoryImageInspect checks that inspect reports a hibernated system.
func TestMemoryImageInspect(t *testing.T) {
	level.Need(t, level.All)
	r := try(t, t.TempDir(), "inspect", "--format", "raw", hibernatedImage(t, "xfs", suspended))
	unwrapped := strings.Join(strings.Fields(r.out), " ")
	if r.exit != 0 || !strings.Contains(unwrapped, "holds the image of its memory") {
		t.Errorf("exit %d\n%s%s", r.exit, r.out, r.err)
	}
}

// TestMemoryImageElsewhere checks that a change is refused if the memory image is on
// another disk of the domain.
func TestMemoryImageElsewhere(t *testing.T) {
	level.Need(t, level.All)
	h := newEnv(t)
	data, swap := filepath.Join(h.dir, "data.raw"), filepath.Join(h.dir, "swap.raw")
	shell(t, h.dir, "PATH=$PATH:/usr/sbin:/sbin\n"+suspended+`mv sw swap.raw
truncate -s 202M data.raw; printf 'label: gpt\n2048,409600,L\n' | sfdisk -q data.raw
truncate -s 200M fs; mkfs.ext4 -q fs; dd if=fs of=data.raw bs=512 seek=2048 conv=notrunc,sparse status=none; rm fs`)
	x := h.start(t, "elsewhere", lab.Spec{Disks: []lab.Disk{{Path: data, Format: "raw", Target: "vda"}, {Path: swap, Format: "raw", Target: "vdb"}}}, true)
	was := sums(t, x.disks)
	for _, line := range []string{"grow elsewhere --disk vda --size +512M --yes --no-trial", "plan elsewhere --disk vda --size +512M"} {
		code, out := x.run(t, "", strings.Fields(line)...)
		if code != 3 || !strings.Contains(out, "the swap on vdb holds the image of its memory") {
			t.Errorf("%s: exit %d\n%s", line, code, out)
		}
	}
	if sums(t, x.disks) != was {
		t.Error("the images have changed")
	}
}
