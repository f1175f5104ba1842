package appliance

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"libguestfs.org/guestfs"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestVmlinux unpacks an ELF file from each format of a packed kernel.
func TestVmlinux(t *testing.T) {
	want := elfFile("Xen\x00")
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(want)))
	for program, payload := range map[string][]byte{
		"gzip": zipped.Bytes(),
		"xz":   append(packed(t, want, "xz", "--check=crc32", "--x86", "--lzma2"), size...),
		"zstd": append(packed(t, want, "zstd", "-q"), size...),
	} {
		got, err := vmlinux(context.Background(), bzImage(payload))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes", program, err, len(got))
		}
	}
}

func packed(t *testing.T, data []byte, program string, options ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, append(options, "-c")...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

// bzImage returns a bzImage with a setup of one sector before the payload.
func bzImage(payload []byte) []byte {
	image := make([]byte, 2*512, 2*512+len(payload))
	image[setupSectors] = 1
	copy(image[setupMagic:], "HdrS")
	binary.LittleEndian.PutUint16(image[setupVersion:], 0x20f)
	binary.LittleEndian.PutUint32(image[payloadLength:], uint32(len(payload)))
	return append(image, payload...)
}

// elfFile returns the smallest ELF file with a PVH entry in a note of that name.
func elfFile(name string) []byte {
	const header, program = 64, 56
	note := "\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00" + name + "\x50\x08\x00\x01"
	b := make([]byte, header+program, header+program+len(note))
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2)         // executable
	le.PutUint16(b[18:], 62)        // x86-64
	le.PutUint32(b[20:], 1)         // version
	le.PutUint64(b[32:], header)    // program headers
	le.PutUint16(b[52:], header)    // size of this
	le.PutUint16(b[54:], program)   // of one of those
	le.PutUint16(b[56:], 1)         // how many
	le.PutUint32(b[header:], 4)     // PT_NOTE
	le.PutUint64(b[header+8:], 120) // where
	le.PutUint64(b[header+32:], uint64(len(note)))
	return append(b, note...)
}

func TestVmlinuxErrors(t *testing.T) {
	short := bzImage([]byte(strings.Repeat("x", 100)))
	old := bzImage([]byte(strings.Repeat("x", 100)))
	old[setupVersion] = 7
	for what, image := range map[string][]byte{
		"nothing":       nil,
		"another file":  make([]byte, 4096),
		"cut off":       short[:len(short)-1],
		"old":           old,
		"not packed":    short,
		"broken":        bzImage(append([]byte("\x1f\x8b"), make([]byte, 100)...)),
		"no ELF":        bzImage(append(packed(t, make([]byte, 100), "xz"), 0, 0, 0, 0)),
		"without entry": bzImage(append(packed(t, elfFile("GNU\x00"), "xz"), 0, 0, 0, 0)),
	} {
		if _, err := vmlinux(context.Background(), image); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestStale checks that an unpacked kernel is not used after libguestfs has replaced its
// own.
func TestStale(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("LIBGUESTFS_CACHEDIR", t.TempDir())
	g, err := guestfs.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx := context.Background()
	if _, err := unpack(ctx, g); err == nil {
		t.Error("unpacked before there is an appliance")
	}
	var cache string
	if cache, err = g.Get_cachedir(); err != nil {
		t.Fatal(err)
	}
	kept := applianceKernel(cache)
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) *kernel {
		if err := os.WriteFile(kept, bzImage(append(packed(t, content, "xz"), 0, 0, 0, 0)), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := unpack(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(k.unpacked); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%v, %d bytes", err, len(got))
		}
		return k
	}
	first := write(elfFile("Xen\x00"))
	if first.stale() {
		t.Error("stale at once")
	}
	second := write(append(elfFile("Xen\x00"), 1))
	if !first.stale() || second.stale() {
		t.Errorf("the first is stale: %v, the second: %v", first.stale(), second.stale())
	}
	if _, err := os.Stat(first.unpacked); err == nil {
		t.Error("the first is still kept")
	}
}

// TestUnusableKernel checks that an appliance boots even if the unpacked kernel is
// broken.
func TestUnusableKernel(t *testing.T) {
	level.Need(t, level.Real)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	g, err := guestfs.Create()
	if err != nil {
		t.Fatal(err)
	}
	k, err := unpack(context.Background(), g)
	g.Close()
	if err != nil {
		t.Skipf("no kernel to unpack: %v", err)
	}
	if err := os.WriteFile(k.unpacked, []byte("not a kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Launch(context.Background(), Options{Accel: TCG, scratch: scratchSize})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	if a.kernel != nil {
		t.Errorf("it booted %s", a.kernel.unpacked)
	}
}
