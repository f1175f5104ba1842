package block

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPercents checks that each percentage is reported once, however the output is split
// into reads.
func TestPercents(t *testing.T) {
	// QEMU 7.2: qemu-img convert -p, qemu-progress.c.
	const said = "    (0.00/100%)\r    (1.00/100%)\r    (50.13/100%)\r    (100.00/100%)\r    (100.00/100%)\n"
	want := []float64{0, 1, 50.13, 100, 100}
	for n := 1; n <= len(said); n++ {
		var got []float64
		p := &percents{tell: func(f float64) { got = append(got, f) }}
		for piece := range slices.Chunk([]byte(said), n) {
			if _, err := p.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %v", n, got)
		}
	}
}

func FuzzPercents(f *testing.F) {
	f.Add([]byte("(12.34/100%)\r"), 3)
	f.Fuzz(func(t *testing.T, said []byte, n int) {
		p := &percents{tell: func(got float64) {
			if got < 0 || got > 100 {
				t.Errorf("%f", got)
			}
		}}
		for piece := range slices.Chunk(said, max(1, n%64)) {
			_, _ = p.Write(piece)
			if len(p.rest) > 32 {
				t.Fatalf("%d bytes are kept", len(p.rest))
			}
		}
	})
}

// TestRenameNew checks that a rename never replaces a file, a directory or a dangling
// link.
func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(path("file"), []byte("old"), 0o600), os.Mkdir(path("folder"), 0o700), os.Symlink("nowhere", path("link")))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"file", "folder", "link", "free"} {
		from := path(fmt.Sprint(i))
		if err := os.WriteFile(from, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := RenameNew(from, path(name), dir)
		if name == "free" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if _, left := os.Stat(from); !errors.Is(err, fs.ErrExist) || left != nil {
			t.Errorf("%s: %v, %v", name, err, left)
		}
	}
	if data, err := os.ReadFile(path("file")); err != nil || string(data) != "old" {
		t.Errorf("%q, %v", data, err)
	}
}
