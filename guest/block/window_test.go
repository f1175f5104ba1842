package block

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/plan/size"
)

// TestCopyIn checks that a part of the image, holes included, is copied to another
// place, also to an overlapping one, and that the image is not changed.
func TestCopyIn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	// A comma in a path is QEMU's own separator.
	dir, err := os.MkdirTemp("", "vg,")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const disk, grown, n = 8 * size.MiB, 16 * size.MiB, 5 * size.MiB
	data := make([]byte, disk)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data[:4*size.MiB]) // the rest is holes
	copy(data[6*size.MiB:], "behind the holes")

	for name, format := range map[string]string{"raw": "raw", "qcow2": "qcow2", "backed": "qcow2"} {
		t.Run(name, func(t *testing.T) {
			image := imageOf(t, dir, format, data)
			if name == "backed" { // all data is in the backing file
				base := image
				image = filepath.Join(dir, "backed.qcow2")
				if err := create(ctx, image, base, format, disk); err != nil {
					t.Fatal(err)
				}
			}
			o := Overlay{Image: image, Format: format, Path: filepath.Join(dir, format+".overlay")}
			if err := o.Create(ctx, grown); err != nil {
				t.Fatal(err)
			}
			g, err := StartGate(ctx, dir, grown)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Stop()
			if err := g.Open(ctx, o.Path); err != nil {
				t.Fatal(err)
			}
			// Data that was written to the overlay at the old place is not copied.
			if err := g.Write(ctx, bytes.Repeat([]byte("x"), 512), size.MiB); err != nil {
				t.Fatal(err)
			}
			for _, to := range []size.Bytes{2 * size.MiB, 11 * size.MiB, size.MiB + 512} {
				if err := g.CopyIn(ctx, o, n, size.MiB, to); err != nil {
					t.Fatal(err)
				}
				got, err := g.Read(ctx, n, to)
				if err != nil || !bytes.Equal(got, data[size.MiB:size.MiB+n]) {
					t.Errorf("to %d: not what it was (%v)", to, err)
				}
			}
			if err := g.CopyIn(ctx, o, n, size.MiB, 12*size.MiB); err == nil {
				t.Error("copied past the end of the disk")
			}
			if err := g.Write(ctx, make([]byte, 1024), grown-512); err == nil {
				t.Error("wrote past the end of the disk")
			}
			seen, err := Run(ctx, "qemu-img", "convert", "-U", "-f", format, "-O", "raw", image, filepath.Join(dir, "seen"))
			if err != nil {
				t.Fatal(err, seen)
			}
			if now, _ := os.ReadFile(filepath.Join(dir, "seen")); !bytes.Equal(now, data) {
				t.Error("the image changed")
			}
		})
	}
}

// imageOf makes an image with that content.
func imageOf(t *testing.T, dir, format string, data []byte) string {
	t.Helper()
	raw := filepath.Join(dir, "data.raw")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image."+format)
	if _, err := Run(context.Background(), "qemu-img", "convert", "-f", "raw", "-O", format, raw, image); err != nil {
		t.Fatal(err)
	}
	return image
}

// BenchmarkCopyIn compares a move, which copies and reads back, with cp followed by a
// sync of the same data.
func BenchmarkCopyIn(b *testing.B) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("/var/tmp", "vg")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const n = 400 * size.MiB
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	image := filepath.Join(dir, "image.raw")
	if err := os.WriteFile(image, data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("cp", func(b *testing.B) {
		b.SetBytes(int64(n))
		for range b.N {
			if _, err := Run(ctx, "sh", "-c", `cp "$1" "$2" && sync "$2"`, "sh", image, filepath.Join(dir, "copy")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("move", func(b *testing.B) {
		b.SetBytes(int64(n))
		for range b.N {
			b.StopTimer()
			o := Overlay{Image: image, Format: "raw", Path: filepath.Join(dir, "overlay")}
			if err := o.Create(ctx, 2*n); err != nil {
				b.Fatal(err)
			}
			g, err := StartGate(ctx, dir, 2*n)
			if err != nil {
				b.Fatal(err)
			}
			if err := g.Open(ctx, o.Path); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			err = g.CopyIn(ctx, o, n, 0, n)
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			if err := g.Stop(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
