package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestCacheOnDemand checks that only the requested files are made: no image for a
// kernel, and no ntfs3 for a guest that does not load it.
func TestCacheOnDemand(t *testing.T) {
	t.Setenv("VIRT_GROW_TEST_CACHE", t.TempDir())
	dir, err := cache(t.Context(), "kernel", plainInitramfs)
	check(t, err)
	again, err := cache(t.Context(), "supervisor", "kernel")
	check(t, err)
	if again != dir {
		t.Errorf("two directories: %s and %s", dir, again)
	}
	files, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{plainInitramfs, "kernel", "supervisor"}; !slices.Equal(names, want) {
		t.Errorf("made %q, want %q", names, want)
	}
	if left, _ := filepath.Glob(dir + ".build"); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if _, err := cache(t.Context(), "nothing"); err == nil {
		t.Error("an unknown file was made")
	}
}

func TestInitramfs(t *testing.T) {
	for _, test := range []struct{ cmdline, want string }{
		{"", plainInitramfs}, {"load=ext4,btrfs", plainInitramfs}, {"load=ext4,ntfs3", ntfs3Initramfs}, {"load=ntfs3", ntfs3Initramfs},
	} {
		if got := (Spec{Cmdline: []string{"no-agent", test.cmdline}}).initramfs(); got != test.want {
			t.Errorf("%s: %s", test.cmdline, got)
		}
	}
}

// TestPrepareSharesAppliance checks that images that are requested together are made in
// one appliance, and that an existing image is not made again. A fake guestfish counts
// its calls.
func TestPrepareSharesAppliance(t *testing.T) {
	level.Need(t, level.Real) // Prepare asks QEMU whether KVM works
	bin := t.TempDir()
	script := "#!/bin/sh\ncat >>" + bin + "/script\necho >>" + bin + "/launches\n"
	check(t, os.WriteFile(filepath.Join(bin, "guestfish"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("VIRT_GROW_TEST_CACHE", t.TempDir())
	launches := func() int {
		b, _ := os.ReadFile(bin + "/launches")
		return len(b)
	}

	check(t, Prepare(t.Context(), "lvm", "ntfs-data"))
	check(t, Prepare(t.Context(), "ntfs-data"))
	if launches() != 1 {
		t.Errorf("%d launches for two images", launches())
	}
	check(t, Image(t.Context(), "ntfs-data", "raw", filepath.Join(bin, "disk")))
	check(t, Prepare(t.Context(), Variants...))
	if launches() != 2 {
		t.Errorf("%d launches for all images", launches())
	}
	b, err := os.ReadFile(bin + "/script")
	check(t, err)
	if n := strings.Count(string(b), "mkfs xfs "); n != 1 {
		t.Errorf("the XFS image was made %d times", n)
	}
}
