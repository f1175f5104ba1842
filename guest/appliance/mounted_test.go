package appliance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
	"github.com/virt-grow/virt-grow/testimages/kvm"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// extOnDisk is an ext4 that fills a whole disk.
type extOnDisk struct {
	path    string
	options []string
	to      size.Bytes
}

// TestGrowMounted grows mounted ext4 file systems of many shapes with the appliance's
// kernel. Each has the planned size afterwards, and e2fsck finds no errors.
func TestGrowMounted(t *testing.T) {
	level.Need(t, level.Real)
	n := 12
	if level.At(level.Long) {
		n = 24 // one disk each: /dev/sda to /dev/sdx
	}
	var disks []extOnDisk
	for seed := uint64(0); len(disks) < n; seed++ {
		if d, ok := makeExt4(t, rand.New(rand.NewPCG(seed, 3)), len(disks)); ok {
			disks = append(disks, d)
		}
	}
	a := onDisks(t, disks)
	ctx := context.Background()
	for i, d := range disks {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			device := "sd" + string(rune('a'+i))
			if err := a.GrowMounted(ctx, device, "ext4", d.to); err != nil {
				t.Fatalf("%v to %d: %v", d.options, int64(d.to), err)
			}
			if got, err := a.ContentSize(ctx, device, "ext4"); err != nil || got != d.to {
				t.Errorf("%v: the appliance reads a size of %d, want %d (%v)", d.options, int64(got), int64(d.to), err)
			}
		})
	}
	if err := a.g.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if got := readExt4(t, d.path).Size(); got != d.to {
			t.Errorf("%v: %d, want %d", d.options, int64(got), int64(d.to))
		}
		if out, err := exec.Command("e2fsck", "-fn", d.path).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", d.options, err, out)
		}
	}
}

// makeExt4 makes a random ext4 and chooses a size to grow it to. It returns false if
// only resize2fs can grow it.
func makeExt4(t *testing.T, r *rand.Rand, i int) (extOnDisk, bool) {
	t.Helper()
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	d := extOnDisk{path: filepath.Join(t.TempDir(), fmt.Sprint(i)), options: []string{"-b", one("1024", "2048", "4096", "4096")}}
	for flag, value := range map[string]string{
		"-i": one("", "", "4096", "65536"), "-I": one("", "", "128", "512"),
		"-O": one("", "", "^64bit", "^flex_bg", "^metadata_csum", "^metadata_csum,^64bit", "^uninit_bg,^metadata_csum", "^dir_index,^huge_file"),
	} {
		if value != "" {
			d.options = append(d.options, flag, value)
		}
	}
	bytes := int64(24+r.IntN(300)) << 20
	if err := os.WriteFile(d.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	truncate(t, d.path, bytes)
	if out, err := exec.Command("mkfs.ext4", append(append([]string{"-q", "-F"}, d.options...), d.path)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4 %v: %v\n%s", d.options, err, out)
	}
	e := readExt4(t, d.path)
	device := size.Bytes(bytes + int64(r.IntN(3<<20))<<10)
	if group := size.Bytes(e.BlocksPerGroup * e.BlockSize); r.IntN(2) == 0 { // a small remainder
		device = device.Down(group) + size.Bytes(r.IntN(12<<20)).Down(512)
	}
	device = max(device, size.Bytes(bytes))
	truncate(t, d.path, int64(device))
	d.to = e.Grown(device)
	limit, _ := e.Max()
	return d, d.to > size.Bytes(bytes) && d.to <= limit && e.GrowsMounted(d.to)
}

// onDisks starts an appliance with those disks.
func onDisks(t *testing.T, disks []extOnDisk) *Appliance {
	t.Helper()
	g, err := guestfs.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	for _, d := range disks {
		if err := g.Add_drive(d.path, &guestfs.OptargsAdd_drive{Format_is_set: true, Format: "raw"}); err != nil {
			t.Fatal(err)
		}
	}
	if !kvm.Works() {
		if err := g.Set_backend_setting("force_tcg", "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Launch(); err != nil {
		t.Fatal(err)
	}
	return &Appliance{g: g, measured: map[string]size.Bytes{}}
}

func readExt4(t *testing.T, path string) *superblock.Ext {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, superblock.ExtLen)
	if _, err := f.ReadAt(b, superblock.ExtAt); err != nil {
		t.Fatal(err)
	}
	e, err := superblock.ReadExt(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func truncate(t *testing.T, path string, to int64) {
	t.Helper()
	if err := os.Truncate(path, to); err != nil {
		t.Fatal(err)
	}
}
