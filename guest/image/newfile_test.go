package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
)

func TestCheckNewPath(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "taken"), "")
	for _, link := range [][2]string{{filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")}, {dir, filepath.Join(dir, "way")}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		want   string
		reason plan.Reason
	}{
		"free": {filepath.Join(dir, "free"), ""}, "way/free": {filepath.Join(dir, "free"), ""},
		"taken": {"", plan.FileExists}, "dangling": {"", plan.FileExists}, "no/free": {"", plan.NotFound},
	} {
		got, err := CheckNewPath(filepath.Join(dir, name))
		if reasonOf(err) != c.reason || c.reason == "" && got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestPublish checks that a file gets its path only when it is complete and synced, that
// no other file is replaced, and that an interrupted move is recognised.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, "job.new")
	f := &NewFile{Path: filepath.Join(dir, "a.raw"), Format: "raw"}
	begin := func() {
		t.Helper()
		if err := f.Begin(temp); err != nil {
			t.Fatal(err)
		}
		write(t, f.Temp(temp), "image")
	}
	begin()
	failed := errors.New("the disk is full")
	if err := f.Publish(temp, func() error { return failed }); !errors.Is(err, failed) || Exists(f.Path) {
		t.Fatalf("%v, or published without being saved", err)
	}
	saved := false
	if err := f.Publish(temp, func() error { saved = true; return nil }); err != nil || !saved || !Exists(f.Path) || Exists(temp) {
		t.Fatal(err)
	}
	if err := f.Publish(temp, func() error { return failed }); err != nil {
		t.Errorf("again after the move: %v", err)
	}
	other := &NewFile{Path: f.Path, Format: "raw"}
	if err := other.Begin(temp); err != nil {
		t.Fatal(err)
	}
	write(t, other.Temp(temp), "other")
	if err := other.Publish(temp, func() error { return nil }); reasonOf(err) != plan.FileExists {
		t.Errorf("over another file: %v", err)
	}
	first, err := f.Lock()
	second, _ := other.Lock()
	if err != nil || first != second {
		t.Errorf("two locks for one path: %s, %s, %v", first, second, err)
	}
	if err := other.Discard(temp); err != nil || Exists(temp) {
		t.Error(err)
	}
}

// TestUnpublish checks that only the job's own, unchanged file is deleted.
func TestUnpublish(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a.raw"), "image")
	made, err := StampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := (&NewFile{Path: path, Format: "raw"}).Unpublish(ctx); err != nil || !Exists(path) {
		t.Errorf("another file: %v", err)
	}
	f := &NewFile{Path: path, Format: "raw", Made: made}
	write(t, path, "image of a guest")
	if err := f.Unpublish(ctx); err == nil || !Exists(path) {
		t.Errorf("a file that was written to: %v", err)
	}
	if f.Made, err = StampOf(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Unpublish(ctx); err != nil || Exists(path) {
		t.Error(err)
	}
	if err := f.Unpublish(ctx); err != nil {
		t.Errorf("again: %v", err)
	}
}
