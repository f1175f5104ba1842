package image

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// write makes a file.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "a.raw"), "x")
	link := filepath.Join(dir, "link.raw")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	img, err := Locate(link)
	if err != nil || img.Path != file || img.Block || img.Stamp.Bytes != 1 {
		t.Errorf("%+v, %v", img, err)
	}
	for path, reason := range map[string]plan.Reason{
		filepath.Join(dir, "no.raw"): plan.NotFound, dir: plan.FormatUnsupported, "/dev/null": plan.FormatUnsupported,
	} {
		if _, err := Locate(path); reasonOf(err) != reason {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func reasonOf(err error) plan.Reason {
	if r, ok := plan.IsRefusal(err); ok {
		return r.Reason
	}
	return ""
}

// TestCheck checks that exactly those changes of the size are refused that would fail or
// cause damage.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		info         block.Info
		size         size.Bytes
		reason, kept plan.Reason // kept is the reason if the size is not changed
		notes        int
	}{
		"sound":                   {info: block.Info{Version: 3}, size: size.GiB},
		"encrypted":               {info: block.Info{Encrypted: true}, size: size.GiB, reason: plan.FormatUnsupported, kept: plan.FormatUnsupported},
		"data file":               {info: block.Info{DataFile: "/d"}, size: size.GiB, reason: plan.FormatUnsupported, kept: plan.FormatUnsupported},
		"corrupt":                 {info: block.Info{Corrupt: true}, size: size.GiB, reason: plan.ImageDamaged, kept: plan.ImageDamaged},
		"snapshots of version 2":  {info: block.Info{Version: 2, Snapshots: 1}, size: size.GiB, reason: plan.InternalSnapshot},
		"snapshots of version 3":  {info: block.Info{Version: 3, Snapshots: 1}, size: size.GiB, notes: 1},
		"smaller than any layout": {size: size.MiB - 1, reason: plan.UnknownContent, kept: plan.UnknownContent},
	} {
		img := &Image{Info: c.info, Size: c.size}
		if err := img.check(); reasonOf(err) != c.reason || len(img.Notes) != c.notes {
			t.Errorf("%s: %v, notes %q", name, err, img.Notes)
		}
		img = &Image{Info: c.info, Size: c.size, keepSize: true}
		if err := img.check(); reasonOf(err) != c.kept || len(img.Notes) != 0 {
			t.Errorf("%s, the size stays: %v, notes %q", name, err, img.Notes)
		}
	}
}

// fakeQEMU names the inconsistent bitmaps.
type fakeQEMU []string

func (f fakeQEMU) InconsistentBitmaps(context.Context, string) ([]string, error) { return f, nil }

func TestCheckBitmaps(t *testing.T) {
	marked := block.Info{Inconsistent: []string{"a", "b"}}
	for name, c := range map[string]struct {
		img     Image
		running BitmapReader
		item    string
	}{
		"none":                  {img: Image{}},
		"off":                   {img: Image{Info: marked}, item: "a"},
		"off, the size stays":   {img: Image{Info: marked, keepSize: true}},
		"in use by a guest":     {img: Image{Info: marked, Access: block.Shared}, running: fakeQEMU{}},
		"one is inconsistent":   {img: Image{Info: marked, Access: block.Shared}, running: fakeQEMU{"b"}, item: "b"},
		"off, QEMU is not told": {img: Image{Info: marked}, running: fakeQEMU{}, item: "a"},
	} {
		err := c.img.CheckBitmaps(context.Background(), c.running)
		r, _ := plan.IsRefusal(err)
		if (r == nil) != (c.item == "") || r != nil && (r.Reason != plan.BitmapInUse || r.Item != c.item) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStamps(t *testing.T) {
	dir := t.TempDir()
	a, b := write(t, filepath.Join(dir, "a"), "1"), write(t, filepath.Join(dir, "b"), "1")
	if err := os.Link(a, filepath.Join(dir, "a2")); err != nil {
		t.Fatal(err)
	}
	before := Stamps(a, []plan.Link{{Path: b}})
	if len(before) != 2 || before[0].Identity() == before[1].Identity() {
		t.Errorf("%+v", before)
	}
	write(t, b, "longer")
	if after := Stamps(a, []plan.Link{{Path: b}}); slices.Equal(before, after) || after[1].Identity() != before[1].Identity() {
		t.Errorf("%+v", after)
	}
	if Stamps(a, []plan.Link{{Path: filepath.Join(dir, "no")}}) != nil {
		t.Error("a file that does not exist has a stamp")
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{a, filepath.Join(dir, "a2"), true}, {a, b, false}, {"", a, false}, {a, "vda", false}, {a, filepath.Join(dir, "no"), false}} {
		if got := SameFile(c.a, c.b); got != c.want {
			t.Errorf("SameFile(%q, %q) = %v", c.a, c.b, got)
		}
	}
	if !Exists(a) || Exists(filepath.Join(dir, "no")) {
		t.Error("Exists")
	}
}
