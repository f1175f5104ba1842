package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// fsImage makes a raw image with one GPT partition, which begins at 1 MiB. The script
// makes its file system in the file fs of that size.
func fsImage(t *testing.T, dir string, fs size.Bytes, script string) string {
	t.Helper()
	shell(t, dir, fmt.Sprintf(`truncate -s %d fs
%s
truncate -s %d disk.raw
printf 'label: gpt\n2048,%d,L\n' | sfdisk -q disk.raw
dd if=fs of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none; rm fs`, fs, script, fs+2*size.MiB, fs/512))
	return filepath.Join(dir, "disk.raw")
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// mmpSays returns a script that makes an ext4 whose multiple mount protection block holds
// that sequence number: four bytes, as printf's escapes.
func mmpSays(sequence string) string {
	return fmt.Sprintf(`mkfs.ext4 -q -F -b 4096 -O mmp,^metadata_csum fs
block=$(dumpe2fs -h fs 2>/dev/null | awk '/^MMP block/ {print $4}')
printf '%s' | dd of=fs bs=1 seek=$((block*4096+4)) conv=notrunc status=none`, sequence)
}

// TestFieldFileSystems checks common file systems: each is grown to the size that was
// shown, or is refused by its name and not changed.
func TestFieldFileSystems(t *testing.T) {
	level.Need(t, level.Long)
	program := buildWithFaults(t)
	const v6 = `mkfs.xfs -q fs; xfs_db -x -c 'sb 0' -c 'write -d features_incompat %s' fs >/dev/null`
	for _, c := range []struct {
		name   string
		size   size.Bytes
		script string
		args   string
		exit   int
		says   []string
		after  string // run on the file system after the growth
	}{
		{"last group dropped", 200 * size.MiB, `mkfs.ext4 -q -b 4096 -i 4096 fs`, "--size 264M", 0, []string{"256 MiB"},
			`dumpe2fs -h fs 2>/dev/null | grep -q '^Block count: *65536$'; e2fsck -fn fs`},
		{"more than was reserved for", 32 * size.MiB, `mkfs.ext4 -q -b 4096 fs`, "--size 60G", 3, []string{"can grow to 32 GiB at most", "--grow sda1=32G"}, ""},
		{"bigalloc", 200 * size.MiB, `mkfs.ext4 -q -O bigalloc fs`, "--size +256M", 3, []string{"bigalloc"}, ""},
		{"a newer XFS", 320 * size.MiB, fmt.Sprintf(v6, "0xcb"), "--size +512M", 3, []string{"does not support: exchange-range, parent pointers", "0xc0"}, ""},
		{"an XFS with unknown features and damage", 320 * size.MiB, fmt.Sprintf(v6, "0xcb") + `
printf x | dd of=fs bs=1 seek=300 conv=notrunc status=none`, "--size +512M", 3, []string{"is damaged"}, ""},
		{"blocks larger than pages", 200 * size.MiB, `mkfs.ext4 -q -F -F -b 65536 fs 2>/dev/null`, "--size +256M", 3, []string{"blocks of 64 KiB"}, ""},
		{"unmounted", 200 * size.MiB, `mkfs.ext4 -q -F -O mmp fs`, "--size +256M", 0, []string{"is grown"}, `e2fsck -fn fs`},
		{"mounted by a host", 200 * size.MiB, mmpSays("\\1\\0\\0\\0"), "--size +256M", 5, []string{"reports that the host", "shut down the system that has it mounted"}, ""},
		{"checked by a host", 200 * size.MiB, mmpSays("\\120\\115\\115\\342"), "--size +256M", 5, []string{"is checking it", "clear_mmp"}, ""},
		{"an XFS in need of repair", 320 * size.MiB, fmt.Sprintf(v6, "0x1b"), "--size +512M", 3, []string{"is damaged"}, ""},
		{"an XFS whose count is off", 320 * size.MiB, `mkfs.xfs -q fs
n=$(xfs_db -c 'sb 0' -c 'p fdblocks' fs | awk '{print $3}')
xfs_db -x -c 'sb 0' -c "write fdblocks $((n-1))" fs >/dev/null`, "--size +512M", 0, []string{"blocks free"}, `xfs_repair -n fs`},
		{"two signatures", 200 * size.MiB, `mkfs.ext4 -q fs; truncate -s 320M x; mkfs.xfs -q x; dd if=x of=fs bs=512 count=1 conv=notrunc status=none; rm x`,
			"--size +256M", 3, []string{"xfs and ext", "wipefs"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &crash{program: program, dir: t.TempDir()}
			x.state = shortState(t)
			image := fsImage(t, x.dir, c.size, c.script)
			was := fileSum(t, image)
			code, out := x.run(t, "", append([]string{"grow", image, "--format", "raw", "--yes"}, strings.Fields(c.args)...)...)
			if code != c.exit {
				t.Fatalf("exit %d\n%s", code, out)
			}
			for _, s := range c.says {
				if !strings.Contains(out, s) {
					t.Errorf("it does not say %q:\n%s", s, out)
				}
			}
			if c.exit != 0 && fileSum(t, image) != was {
				t.Error("the image has changed")
			}
			if c.after != "" {
				shell(t, x.dir, `dd if=disk.raw of=fs bs=1M skip=1 conv=sparse status=none; sectors=$(sfdisk -l -o Sectors disk.raw | tail -n 1)
truncate -s $((sectors*512)) fs
`+c.after)
			}
		})
	}
}

// TestFieldNoDriver checks that a driver that the appliance's kernel lacks is reported
// as a problem of the host.
func TestFieldNoDriver(t *testing.T) {
	level.Need(t, level.Long)
	t.Setenv("LIBGUESTFS_APPEND", "module_blacklist=btrfs")
	x := &crash{program: buildWithFaults(t), dir: t.TempDir()}
	x.state = filepath.Join(x.dir, "state")
	image := fsImage(t, x.dir, 256*size.MiB, `mkfs.btrfs -q fs`)
	code, out := x.run(t, "", "grow", image, "--format", "raw", "--yes", "--size", "+256M")
	if code != 3 || !strings.Contains(out, "appliance has no btrfs") || strings.Contains(out, "damaged") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestFieldSnapshots checks that snapper's snapshots of a root are not taken for
// operating systems, and that the default subvolume is used.
func TestFieldSnapshots(t *testing.T) {
	level.Need(t, level.Long)
	x := &crash{program: buildWithFaults(t), dir: t.TempDir()}
	x.state = filepath.Join(x.dir, "state")
	image := filepath.Join(x.dir, "s.raw")
	shell(t, x.dir, `truncate -s 700M s.raw; printf 'label: gpt\n2048,,L\n' | sfdisk -q s.raw`)
	fish(t, "--rw", `mkfs btrfs /dev/sda1 label:x
mount /dev/sda1 /
btrfs-subvolume-create /@
mkdir-p /@/.snapshots/1
btrfs-subvolume-create /@/.snapshots/1/snapshot
mkdir-p /@/.snapshots/1/snapshot/etc
mkdir-p /@/.snapshots/1/snapshot/usr/bin
mkdir-p /@/.snapshots/1/snapshot/bin
mkdir-p /@/.snapshots/1/snapshot/var
write /@/.snapshots/1/snapshot/etc/os-release "ID=opensuse-leap\nNAME=openSUSE\nVERSION_ID=15.6\n"
write /@/.snapshots/1/snapshot/etc/fstab "LABEL=x / btrfs defaults 0 0\n"
mkdir-p /@/.snapshots/2
btrfs-subvolume-snapshot /@/.snapshots/1/snapshot /@/.snapshots/2/snapshot
write /@/.snapshots/2/snapshot/etc/os-release "ID=opensuse-leap\nNAME=openSUSE\nVERSION_ID=15.5\n"
btrfs-subvolume-set-default 257 /
`, image)
	if code, out := x.run(t, "", "cat", image+":/etc/os-release", "--format", "raw"); code != 0 || !strings.Contains(out, "15.6") {
		t.Errorf("cat: exit %d\n%s", code, out)
	}
	if code, out := x.run(t, "", "grow", image, "--format", "raw", "--yes", "--size", "+512M", "--grow", "/"); code != 0 {
		t.Errorf("grow: exit %d\n%s", code, out)
	}
}

// TestFieldBtrfsDevice grows a btrfs whose only device does not have the number 1.
func TestFieldBtrfsDevice(t *testing.T) {
	level.Need(t, level.All)
	x := &crash{program: buildWithFaults(t), dir: t.TempDir()}
	x.state = filepath.Join(x.dir, "state")
	image := filepath.Join(x.dir, "d.raw")
	shell(t, x.dir, `truncate -s 702M d.raw; printf 'label: gpt\n2048,614400,L\n616448,614400,L\n' | sfdisk -q d.raw`)
	fish(t, "--rw", `mkfs-btrfs /dev/sda1
mount /dev/sda1 /
btrfs-device-add /dev/sda2 /
btrfs-device-delete /dev/sda1 /
`, image)
	was := fileSum(t, image)
	code, out := x.run(t, "", "grow", image, "--format", "raw", "--yes", "--size", "+512M", "--grow", "sda2")
	if code != 3 || !strings.Contains(out, "btrfs filesystem resize 2:max") || fileSum(t, image) != was {
		t.Errorf("exit %d\n%s", code, out)
	}
}
