package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// compressors are the commands with which distributions compress their initramfs.
var compressors = map[string][]string{
	"gzip":         {"gzip", "-n"},
	"xz":           {"xz", "--check=crc32", "--lzma2=dict=1MiB"}, // dracut
	"xz in blocks": {"xz", "--check=crc64", "--block-size=4KiB"},
	"xz sha256":    {"xz", "--check=sha256"},
	"xz no check":  {"xz", "--check=none"},
	"zstd":         {"zstd", "-q", "-9"},
	"zstd long":    {"zstd", "-q", "-19", "--long=27"},
	"lz4":          {"lz4", "-q", "-9", "-l"}, // initramfs-tools
	"bzip2":        {"bzip2"},
	"lzma":         {"lzma", "-9"},
	"lzma alone":   {"xz", "--format=lzma"},
}

// run returns the output of a program.
func run(t testing.TB, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.String())
	}
	return out
}

// archive returns an archive of cpio(1) with those files, and their names, as cpio lists them.
func archive(t testing.TB, format string, names ...string) (data []byte, listed []string) {
	t.Helper()
	dir := t.TempDir()
	for i, name := range names {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, bytes.Repeat([]byte(name), 100*i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
		t.Fatal(err)
	}
	var input strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintln(&input, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	data = run(t, []byte(input.String()), "cpio", "--quiet", "-o", "-H", format, "-D", dir)
	for name := range strings.Lines(string(run(t, data, "cpio", "--quiet", "-t"))) {
		listed = append(listed, strings.TrimPrefix(strings.TrimSuffix(name, "\n"), "."))
	}
	return data, listed
}

// list returns the names that Read finds.
func list(data []byte) (found []string, err error) {
	err = Read(bytes.NewReader(data), func(name string) { found = append(found, name) })
	return found, err
}

var modules = []string{
	"init", "usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko",
	"usr/lib/modules/6.1.0/kernel/drivers/scsi/sd_mod.ko.zst", "etc/with space", "usr/bin/" + strings.Repeat("long", 50),
}

// TestCompressions reads archives that the distributions' own tools have made, alone and behind
// microcode. The names are those that cpio itself lists.
func TestCompressions(t *testing.T) {
	early, earlyNames := archive(t, "newc", "kernel/x86/microcode/AuthenticAMD.bin")
	main, mainNames := archive(t, "newc", modules...)
	for name, command := range compressors {
		t.Run(name, func(t *testing.T) {
			packed := run(t, main, command[0], command[1:]...)
			if got, err := list(packed); err != nil || !slices.Equal(got, mainNames) {
				t.Errorf("alone: %v\n%s", err, cmp.Diff(mainNames, got))
			}
			both := slices.Concat(early, early, make([]byte, 512), packed)
			if got, err := list(both); err != nil || !slices.Equal(got, slices.Concat(earlyNames, earlyNames, mainNames)) {
				t.Errorf("behind microcode: %v\n%s", err, cmp.Diff(mainNames, got))
			}
			// What is read must not depend on how much each call returns.
			var slow []string
			err := Read(iotest.OneByteReader(bytes.NewReader(packed)), func(name string) { slow = append(slow, name) })
			if err != nil || !slices.Equal(slow, mainNames) {
				t.Errorf("byte by byte: %v\n%s", err, cmp.Diff(mainNames, slow))
			}
		})
	}
}

// TestSequences reads several archives in one file, as boot loaders and distributions put
// them together.
func TestSequences(t *testing.T) {
	a, an := archive(t, "newc", "a")
	b, bn := archive(t, "crc", "b/c")
	zip := func(data []byte) []byte { return run(t, data, "gzip", "-n") }
	xz := func(data []byte) []byte { return run(t, data, "xz") }
	half := len(a) / 2
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"nothing":             {nil, nil},
		"zeros":               {make([]byte, 1000), nil},
		"not compressed":      {a, an},
		"with checksums":      {b, bn},
		"two":                 {slices.Concat(a, b), slices.Concat(an, bn)},
		"two in one gzip":     {zip(slices.Concat(a, b)), slices.Concat(an, bn)},
		"one in two members":  {slices.Concat(zip(a[:half]), zip(a[half:])), an},
		"one in two streams":  {slices.Concat(xz(a[:half]), xz(a[half:])), an},
		"gzip, then more":     {slices.Concat(zip(a), b), slices.Concat(an, bn)},
		"xz, zeros, and more": {slices.Concat(xz(a), make([]byte, 8), b), slices.Concat(an, bn)},
	} {
		if got, err := list(c.data); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(c.want, got))
		}
	}
}

// TestDamaged checks that an incomplete initramfs is never taken for a complete one.
func TestDamaged(t *testing.T) {
	a, names := archive(t, "newc", modules...)
	for name, command := range compressors {
		packed := run(t, a, command[0], command[1:]...)
		for _, cut := range []int{1, 7, len(packed) / 2, len(packed) - 300} {
			if got, err := list(packed[:cut]); err == nil || len(got) > len(names) {
				t.Errorf("%s, cut off at %d of %d: %d names, %v", name, cut, len(packed), len(got), err)
			}
		}
	}
	for _, cut := range []int{60, 115, len(a) / 2} {
		if _, err := list(a[:cut]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("an archive cut off at %d: %v", cut, err)
		}
	}
	for _, data := range []string{"hello, world", "MZ", "\x89LZO\x00\x0d\x0a\x1a", "\x71\xc7" + strings.Repeat("\x00", 24)} {
		if _, err := list([]byte(data)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", data, err)
		}
	}
	failure := errors.New("cannot be read")
	if err := Read(io.MultiReader(bytes.NewReader(a), iotest.ErrReader(failure)), func(string) {}); !errors.Is(err, failure) {
		t.Errorf("a failing file: %v", err)
	}
}

// TestBombs checks the limits: content that never ends, and headers that ask for more memory
// than any initramfs needs.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 8<<20)
	for name, command := range compressors {
		packed := run(t, zeros, command[0], command[1:]...)
		if err := read(bytes.NewReader(packed), nil, 1<<20); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := read(bytes.NewReader(zeros), nil, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("not compressed: %v", err)
	}
	packed := run(t, []byte("content"), "xz", "--check=none")
	packed[16] = 40 // the largest dictionary, 4 GiB
	if _, err := list(packed); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a dictionary of 4 GiB: %v", err)
	}
	packed = run(t, []byte("content"), "xz", "--format=lzma")
	copy(packed[1:], "\x00\x00\x00\xf0")
	if _, err := list(packed); err == nil {
		t.Error("lzma with a dictionary of 4 GiB was read")
	}
	// zstd: a frame whose window has 2 GiB.
	if _, err := list([]byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00")); err == nil {
		t.Error("zstd with a window of 2 GiB was read")
	}
}

func FuzzRead(f *testing.F) {
	a, _ := archive(f, "newc", "init", "lib2/x.ko")
	f.Add(a)
	for _, command := range compressors {
		packed := run(f, a, command[0], command[1:]...)
		f.Add(packed)
		f.Add(slices.Concat(a, packed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		n := 0
		err := read(bytes.NewReader(data), func(string) { n++ }, limit)
		// Each entry has a header of 110 bytes.
		if n > 2*limit/110 {
			t.Errorf("%d names (%v)", n, err)
		}
	})
}
