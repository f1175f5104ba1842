package superblock

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/level"
)

func read(t *testing.T, path string) *Ext {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, ExtLen)
	if _, err := f.ReadAt(b, ExtAt); err != nil {
		t.Fatal(err)
	}
	e, err := ReadExt(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// rounds returns the number of random cases in a short run, in make test, and in the
// long matrices.
func rounds(short, real, long int) int {
	switch {
	case level.At(level.Long):
		return long
	case level.At(level.Real):
		return real
	}
	return short
}

func TestExtOracle(t *testing.T) {
	n := rounds(10, 40, 400)
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { extCase(t, rand.New(rand.NewPCG(uint64(seed), 1))) })
	}
}

func one(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func extCase(t *testing.T, r *rand.Rand) {
	path := filepath.Join(t.TempDir(), "fs")
	block := one(r, "1024", "2048", "4096", "4096", "4096")
	args := []string{"-b", block}
	if i := one(r, "", "", "4096", "8192", "65536"); i != "" {
		args = append(args, "-i", i)
	}
	if o := one(r, "", "", "^resize_inode", "^64bit", "^flex_bg", "meta_bg,^resize_inode", "sparse_super2,^resize_inode", "^sparse_super,^resize_inode", "^metadata_csum,^64bit", "^has_journal"); o != "" {
		args = append(args, "-O", o)
	}
	if i := one(r, "", "128", "512"); i != "" {
		args = append(args, "-I", i)
	}
	bytes := int64(16+r.IntN(400)) << 20
	makeExt(t, path, bytes, args...)
	e := read(t, path)
	to := bytes + int64(r.IntN(2<<20))<<12>>r.IntN(14)
	if b := e.BlocksPerGroup * e.BlockSize; r.IntN(2) == 0 { // a small remainder
		to = to/b*b + int64(r.IntN(12<<20))
	}
	to = max(to, bytes) &^ 511
	want, limit := e.Grown(size.Bytes(to)), size.Bytes(0)
	limit, why := e.Max()
	truncate(t, path, to)
	out, err := exec.Command("resize2fs", "-f", path).CombinedOutput()
	if want > limit {
		if err == nil {
			t.Logf("LIMIT %v %v -> %v: works above %v (%s)", args, size.Bytes(bytes), size.Bytes(to), limit, why)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v %v -> %v: limit %v %+v: %v\n%s", args, size.Bytes(bytes), size.Bytes(to), limit, e, err, out)
	}
	if got := read(t, path); got.Size() != want {
		t.Errorf("%v %d -> %d: %d, want %d", args, bytes, to, got.Size(), want)
	}
	if feature, _ := e.CannotGrow(); feature != "" {
		return // refused, because resize2fs damages it
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil && !strings.Contains(string(out), "clean") {
		t.Errorf("%v %d -> %d: %v\n%s", args, bytes, to, err, out)
	}
}

// TestExtReserved grows small file systems beyond their reserved descriptors. Each
// accepted size works, and so does the size that is named as the limit.
func TestExtReserved(t *testing.T) {
	n := rounds(3, 12, 120)
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 2))
			path := filepath.Join(t.TempDir(), "fs")
			bytes := int64(16+r.IntN(140)) << 20
			if seed == 0 {
				bytes = 32 << 20
			}
			fresh := func() *Ext {
				makeExt(t, path, bytes, "-b", "4096")
				return read(t, path)
			}
			limit, why := fresh().Max()
			works := min(limit, size.Bytes(bytes)*1200)
			if out, err := grow(t, path, int64(works)); err != nil {
				t.Errorf("%d MiB to the limit %v (%s): %v\n%s", bytes>>20, works, why, err, out)
			}
			if seed == 0 && limit != 32*size.GiB {
				t.Errorf("32 MiB can become %v, want 32 GiB", limit)
			}
			if limit == works {
				fresh()
				if _, err := grow(t, path, int64(limit)+1<<30); err == nil {
					t.Logf("%d MiB grows beyond %v as well", bytes>>20, limit)
				} else if seed == 0 {
					return
				}
			}
		})
	}
}

// TestExtDescriptors checks the other limits of resize2fs.
func TestExtDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fs")
	makeExt(t, path, 16<<20, "-b", "1024", "-O", "^resize_inode")
	limit, why := read(t, path).Max()
	if limit != 8191*16*8*size.MiB+1024 {
		t.Errorf("the limit is %d (%s)", limit, why)
	}
	if out, err := grow(t, path, int64(limit)+8<<20); err == nil {
		t.Errorf("it grows beyond: %s", out)
	}
}

func makeExt(t *testing.T, path string, bytes int64, args ...string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	truncate(t, path, bytes)
	args = append(append([]string{"-q", "-F"}, args...), path)
	if out, err := exec.Command("mkfs.ext4", args...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4 %v: %v\n%s", args, err, out)
	}
}

func grow(t *testing.T, path string, to int64) (string, error) {
	t.Helper()
	truncate(t, path, to)
	out, err := exec.Command("resize2fs", "-f", path).CombinedOutput()
	return string(out), err
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}
