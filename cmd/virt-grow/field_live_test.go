package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/lab"
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

// withSwapLast makes the lab's root image, with a swap partition of 64 MiB behind the
// root, as Debian's installer makes it.
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

// TestOnlineSwapLast: the root is what grows, and the swap behind it is named before
// anything is sent to QEMU.
func TestOnlineSwapLast(t *testing.T) {
	long(t)
	h := newHouse(t)
	path := filepath.Join(h.dir, "swaplast.raw")
	withSwapLast(t, path)
	x := h.moveIn(t, "swaplast", lab.Spec{Disks: []lab.Disk{{Path: path, Format: "raw", Target: "vda"}}}, false)
	x.inside(t, "swapon /dev/vda3")
	was, table := sizeOf(t, path), x.inside(t, "sfdisk -d /dev/vda")
	for _, c := range []struct {
		what, args, says string
		exit             int
	}{
		{"the root", "--size +1G --yes", "vda3 (swap) stands behind /", 3},
		{"the offline way is told", "--size +1G --yes --grow /", "virt-grow grow swaplast --disk vda --size +1G moves", 3},
		{"the swap is named", "--size +1G --yes --grow vda3", "holds swap", 3},
		{"the commands are printed", "--size +1G --yes --in-guest print", "vda3 (swap) stands behind /", 3},
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
