package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// TestPaths checks that a disk that is committed live has no undo file.
func TestPaths(t *testing.T) {
	s := Set{{Files: block.Overlay{Path: "a.qcow2", Undo: "a.undo.qcow2"}}, {Target: "vdb", Files: block.Overlay{Path: "b.qcow2"}}}
	if got, want := s.Paths(), []string{"a.qcow2", "a.undo.qcow2", "a.undo.qcow2.bitmaps", "b.qcow2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSync checks that the missing overlay of any disk is an error.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	s := Set{{Files: block.Overlay{Path: filepath.Join(dir, "a")}}, {Files: block.Overlay{Path: filepath.Join(dir, "b")}}}
	for _, d := range s {
		if err := s.Sync(); err == nil {
			t.Errorf("without %s: no error", d.Files.Path)
		}
		if err := os.WriteFile(d.Files.Path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}

// TestCheckUnwritten checks that an image is refused if its time or size has changed
// since the job began.
func TestCheckUnwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.raw")
	if err := os.WriteFile(path, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := image.StampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckUnwritten(path, was, "JOB"); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		bytes int64
		time  time.Time
	}{"a write": {was.Bytes, was.Time.Add(time.Second)}, "growth": {was.Bytes + 1, was.Time}} {
		if err := errors.Join(os.Truncate(path, c.bytes), os.Chtimes(path, time.Time{}, c.time)); err != nil {
			t.Fatal(err)
		}
		if r, _ := plan.IsRefusal(CheckUnwritten(path, was, "JOB")); r == nil || r.Reason != plan.ImageChanged || r.Subject != "JOB" {
			t.Errorf("%s: %v", name, r)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	err = CheckUnwritten(path, was, "JOB")
	if _, refused := plan.IsRefusal(err); err == nil || refused {
		t.Errorf("an image that is gone: %v", err)
	}
}
