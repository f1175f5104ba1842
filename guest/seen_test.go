package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// What was seen counts until somebody writes to the image, or to one below it.
func TestSeen(t *testing.T) {
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
	s := OpenSeen(filepath.Join(dir, "state"))
	if s.find(image.Stamps(img, chain)) != nil {
		t.Error("something was seen")
	}
	for _, change := range []func(){
		func() { touch(img, "longer") }, func() { touch(below, "longer") },
		func() { _ = os.Rename(below, below+".old"); touch(below, "longer") },
	} {
		s.saw(image.Stamps(img, chain), layout, time.Now())
		if in := OpenSeen(filepath.Join(dir, "state")).find(image.Stamps(img, chain)); in == nil || !in.Current || in.Contents[0].Type != "xfs" {
			t.Fatalf("%+v", in)
		}
		change()
		if in := s.find(image.Stamps(img, chain)); in == nil || in.Current {
			t.Errorf("after a change: %+v", in)
		}
	}
	// A closer look is not replaced by a shorter one, while it holds.
	named := *layout
	named.OS = &plan.OS{Product: "Debian"}
	s.saw(image.Stamps(img, chain), &named, time.Now())
	s.saw(image.Stamps(img, chain), layout, time.Now())
	if in := s.find(image.Stamps(img, chain)); in.OS != "Debian" {
		t.Errorf("%+v", in)
	}
	// Where nothing can be kept, or it is no JSON, nothing was seen.
	(*Seen)(nil).saw(image.Stamps(img, nil), layout, time.Now())
	touch(filepath.Join(dir, "state", "seen.json"), "{")
	if s.find(image.Stamps(img, chain)) != nil {
		t.Error("read from nonsense")
	}
}

func TestSeenForgets(t *testing.T) {
	s := OpenSeen(t.TempDir())
	layout := &plan.Layout{}
	images := map[string]seenImage{}
	for i := range seenMost + 3 {
		images[fmt.Sprint(i)] = seenImage{Inside: plan.InsideOf(layout, time.Unix(int64(1000+i), 0))}
	}
	forgetOldest(images)
	if _, ok := images["2"]; ok || len(images) != seenMost {
		t.Errorf("%d are kept", len(images))
	}
	s.saw([]image.Stamp{{Device: 1}}, layout, time.Now()) // a block device
	if len(s.read()) != 0 {
		t.Error("a block device is kept")
	}
}
