package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
)

// files makes empty files in a directory.
func files(t *testing.T, names ...string) (at func(string) string) {
	t.Helper()
	dir := t.TempDir()
	at = func(name string) string { return filepath.Join(dir, name) }
	for _, name := range names {
		if err := os.WriteFile(at(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// backing returns an Inspector for qcow2 images. below maps an image to its backing
// file.
func backing(below map[string]string) image.Inspector {
	return func(_ context.Context, path, _ string, _ block.Access) (block.Info, error) {
		if path == "" {
			return block.Info{}, errors.New("no path")
		}
		return block.Info{Backing: below[path], BackingFormat: "qcow2"}, nil
	}
}

func TestUsers(t *testing.T) {
	at := files(t, "web.qcow2", "base.qcow2", "db.raw", "lone.raw")
	link := at("link.raw")
	if err := os.Symlink(at("db.raw"), link); err != nil {
		t.Fatal(err)
	}
	user := func(name, target, source, format string, live bool) domain.User {
		return domain.User{Domain: name, Target: target, Live: live, Disk: domain.Disk{Target: target, Source: source, Format: format}}
	}
	listed := user("old", "vda", at("web.qcow2"), "", false)
	listed.Disk.Lower = []string{at("base.qcow2")}
	u := FindUsers(context.Background(), backing(map[string]string{at("web.qcow2"): at("base.qcow2")}), []domain.User{
		user("web", "vda", at("web.qcow2"), "qcow2", false), user("web", "vda", at("web.qcow2"), "qcow2", true),
		user("db", "vdb", link, "raw", false), user("gone", "vda", at("no.qcow2"), "qcow2", false),
		user("remote", "vda", "", "raw", true), user("named", "vda", "base.qcow2", "raw", true), listed,
	})
	for _, c := range []struct {
		file string
		want []string // domain, target, depth, whether it runs
	}{
		{"web.qcow2", []string{"old vda 0 false", "web vda 0 true"}},
		{"base.qcow2", []string{"old vda 1 false", "web vda 1 true"}},
		{"db.raw", []string{"db vdb 0 false"}},
		{"lone.raw", nil},
		{"no.qcow2", nil},
	} {
		var got []string
		for _, use := range u.Of(at(c.file)) {
			got = append(got, fmt.Sprint(use.Domain, " ", use.Target, " ", use.Depth, " ", use.Live))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.file, got, c.want)
		}
	}
}

// others lists fixed disks.
type others []domain.User

func (o others) Others(context.Context) ([]domain.User, error) { return o, nil }

func reasonOf(err error) plan.Reason {
	if r, ok := plan.IsRefusal(err); ok {
		return r.Reason
	}
	return ""
}

// TestChecksOfUsers needs no qemu-img: the images are raw or have no format, and their
// backing files are those that the definition lists.
func TestChecksOfUsers(t *testing.T) {
	at := files(t, "a.raw", "base.raw", "b.raw")
	ctx := context.Background()
	over := domain.Disk{Target: "vda", Source: at("a.raw"), Lower: []string{at("base.raw")}}
	fixed := domain.Disk{Target: "sda", Source: at("b.raw"), Format: "raw", Fixed: true}
	for path, want := range map[string]plan.Reason{"a.raw": plan.DiskShared, "base.raw": plan.ChainShared, "b.raw": ""} {
		err := CheckNotShared(ctx, others{{Domain: "web", Target: "vda", Disk: over}}, at(path))
		if reasonOf(err) != want || want == "" && err != nil {
			t.Errorf("shared %s: %v", path, err)
		}
	}
	if err := CheckNotShared(ctx, others{{Domain: "web", Target: "vda", Disk: over}}, at("b.raw"), at("base.raw")); reasonOf(err) != plan.ChainShared {
		t.Errorf("the second of two images: %v", err)
	}
	for path, want := range map[string]plan.Reason{"a.raw": plan.DiskShared, "base.raw": plan.DiskShared, "b.raw": ""} {
		if err := CheckNotOwn(ctx, "web", []domain.Disk{over}, at(path)); reasonOf(err) != want {
			t.Errorf("own %s: %v", path, err)
		}
	}
	running := []domain.User{{Domain: "web", Target: "vda", Disk: over, Live: true}, {Domain: "web", Target: "sda", Disk: fixed, Live: true}}
	for path, want := range map[string]plan.Reason{"a.raw": plan.InUse, "base.raw": "", "b.raw": ""} {
		if err := CheckNotRunning(ctx, running, at(path)); reasonOf(err) != want {
			t.Errorf("running %s: %v", path, err)
		}
	}
	if err := CheckNotRunning(ctx, []domain.User{{Domain: "web", Target: "vda", Disk: over}}, at("a.raw")); err != nil {
		t.Errorf("a domain that is off: %v", err)
	}
}
