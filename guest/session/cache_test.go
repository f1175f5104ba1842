package session

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// TestCache checks that a result is valid until the image or a backing file is written
// to.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	img, below := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "base.raw")
	touch := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(img, "1")
	touch(below, "1")
	chain := []plan.Link{{Path: below, Format: "raw"}}
	layout := &plan.Layout{Devices: []plan.Device{{Name: "sda", Content: plan.Content{Type: "xfs"}}}}
	s := OpenCache(filepath.Join(dir, "state"))
	if s.Find(image.Stamps(img, chain)) != nil {
		t.Error("an empty cache has a result")
	}
	for _, change := range []func(){
		func() { touch(img, "longer") }, func() { touch(below, "longer") },
		func() { _ = os.Rename(below, below+".old"); touch(below, "longer") },
	} {
		s.Save(image.Stamps(img, chain), layout, time.Now())
		if in := OpenCache(filepath.Join(dir, "state")).Find(image.Stamps(img, chain)); in == nil || !in.Current || in.Contents[0].Type != "xfs" {
			t.Fatalf("%+v", in)
		}
		change()
		if in := s.Find(image.Stamps(img, chain)); in == nil || in.Current {
			t.Errorf("after a change: %+v", in)
		}
	}
	// A valid result is not replaced by that of a less close inspection.
	named := *layout
	named.OS = &plan.OS{Product: "Debian"}
	s.Save(image.Stamps(img, chain), &named, time.Now())
	s.Save(image.Stamps(img, chain), layout, time.Now())
	if in := s.Find(image.Stamps(img, chain)); in.OS != "Debian" {
		t.Errorf("%+v", in)
	}
	// Without a cache file, or with an invalid one, there is no result.
	(*Cache)(nil).Save(image.Stamps(img, nil), layout, time.Now())
	touch(filepath.Join(dir, "state", "inspections.json"), "{")
	if s.Find(image.Stamps(img, chain)) != nil {
		t.Error("read from nonsense")
	}
}

// TestCacheFieldsAreTagged covers the types that are stored in the state directory.
func TestCacheFieldsAreTagged(t *testing.T) { journaltest.CheckTags(t, map[string]entry{}) }

func TestCacheLimit(t *testing.T) {
	s := OpenCache(t.TempDir())
	layout := &plan.Layout{}
	entries := map[string]entry{}
	for i := range maxEntries + 3 {
		entries[fmt.Sprint(i)] = entry{Inside: plan.InsideOf(layout, time.Unix(int64(1000+i), 0))}
	}
	removeOldest(entries)
	if _, ok := entries["2"]; ok || len(entries) != maxEntries {
		t.Errorf("%d are kept", len(entries))
	}
	s.Save([]image.Stamp{{Device: 1}}, layout, time.Now()) // a block device
	if len(s.read()) != 0 {
		t.Error("a block device is kept")
	}
}
