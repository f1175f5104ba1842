package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/block"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// warnings returns a disk's warnings, each as its reason and subject.
func warnings(d plan.ListedDisk) []string {
	var all []string
	for _, w := range d.Warnings {
		all = append(all, fmt.Sprintf("%s %s", w.Reason, w.Subject))
	}
	return all
}

func TestDescribeFile(t *testing.T) {
	at := files(t, "a.raw", "base.raw", "b.qcow2")
	if err := os.WriteFile(at("b.qcow2"), []byte("QFI\xfb"), 0o600); err != nil {
		t.Fatal(err)
	}
	readable := func(images map[string]block.Info) func(context.Context, string, string, block.Access) (block.Info, error) {
		return func(_ context.Context, path, _ string, _ block.Access) (block.Info, error) {
			if info, ok := images[path]; ok {
				return info, nil
			}
			return block.Info{}, errors.New("no such image")
		}
	}
	whole := block.Info{VirtualSize: size.GiB, Allocated: size.MiB}
	over := func(backing, format string) block.Info {
		return block.Info{VirtualSize: size.GiB, Allocated: size.MiB, Backing: backing, BackingFormat: format}
	}
	for name, c := range map[string]struct {
		disk   domain.Disk
		images map[string]block.Info
		depth  int
		below  int // the number of listed backing files
		want   []string
	}{
		"a raw file": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("a.raw"), Format: "raw"},
			images: map[string]block.Info{at("a.raw"): whole}, depth: 1},
		"on the network": {disk: domain.Disk{Device: "disk", Kind: "network", Remote: "rbd:a"}},
		"not there": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("no.raw"), Format: "raw"},
			want: []string{"not-found " + at("no.raw")}},
		"without a format": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("a.raw")},
			images: map[string]block.Info{at("a.raw"): whole}, depth: 1, want: []string{"format-missing " + at("a.raw")}},
		"a medium without a format": {disk: domain.Disk{Device: "cdrom", Kind: "file", Source: at("a.raw")},
			images: map[string]block.Info{at("a.raw"): whole}, depth: 1},
		"raw that is qcow2": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "raw"},
			images: map[string]block.Info{at("b.qcow2"): whole}, depth: 1, want: []string{"format-mismatch " + at("b.qcow2")}},
		"a chain": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "qcow2"},
			images: map[string]block.Info{at("b.qcow2"): over(at("base.raw"), "raw"), at("base.raw"): whole}, depth: 2, below: 1},
		"a chain without a format": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "qcow2"},
			images: map[string]block.Info{at("b.qcow2"): over(at("base.raw"), "")}, depth: 1, below: 1, want: []string{"format-missing " + at("b.qcow2")}},
		"a backing file that is gone": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "qcow2"},
			images: map[string]block.Info{at("b.qcow2"): over(at("gone"), "raw")}, depth: 1, below: 1, want: []string{"backing-missing " + at("gone")}},
		"a backing file on the network": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "qcow2"},
			images: map[string]block.Info{at("b.qcow2"): over("nbd://host/a", "raw")}, depth: 1, below: 1},
		"a backing file that cannot be read": {disk: domain.Disk{Device: "disk", Kind: "file", Source: at("b.qcow2"), Format: "qcow2"},
			images: map[string]block.Info{at("b.qcow2"): over(at("base.raw"), "raw")}, depth: 1, below: 1, want: []string{"unreadable " + at("base.raw")}},
		"unsafe cache": {disk: domain.Disk{Target: "vda", Device: "disk", Kind: "file", Source: at("a.raw"), Format: "raw", Cache: "unsafe"},
			images: map[string]block.Info{at("a.raw"): whole}, depth: 1, want: []string{"cache-unsafe vda"}},
	} {
		d := listed(c.disk)
		describeFile(context.Background(), readable(c.images), &d)
		if got := warnings(d); !slices.Equal(got, c.want) {
			t.Errorf("%s: warnings %q, want %q", name, got, c.want)
		}
		if d.Depth != c.depth || len(d.Backing) != c.below || c.depth > 0 && (d.Size != size.GiB || d.Allocated != size.MiB) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestDefinitionsDiffer(t *testing.T) {
	disk := domain.Disk{Target: "vda", Device: "disk", Kind: "file", Source: "/a.raw", Format: "raw"}
	other := disk
	other.Cache = "writeback"
	for name, c := range map[string]struct {
		live, defined []domain.Disk
		want          string // a part of the warning; "" for none
	}{
		"the same":       {[]domain.Disk{disk}, []domain.Disk{disk}, ""},
		"only defined":   {nil, []domain.Disk{disk}, "only in the persistent definition"},
		"only running":   {[]domain.Disk{disk}, nil, "only in the running guest"},
		"another cache":  {[]domain.Disk{disk}, []domain.Disk{other}, "cache none, then writeback"},
		"another target": {[]domain.Disk{disk}, []domain.Disk{{Target: "vdb"}}, "only in the running guest"},
	} {
		d := listed(disk)
		warnIfDefinitionsDiffer(&d, "web", c.live, c.defined)
		var text string
		if len(d.Warnings) == 1 && d.Warnings[0].Reason == plan.DefinitionsDiffer {
			text = d.Warnings[0].Text
		}
		if (c.want == "") != (len(d.Warnings) == 0) || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
		if all := bothOf(c.live, c.defined); len(all) != 1 && name != "another target" {
			t.Errorf("%s: %d disks", name, len(all))
		}
	}
}

// TestShared checks that the list warns of an image that two disks use, unless neither
// writes to it or both are marked as shareable.
func TestShared(t *testing.T) {
	at := files(t, "a.raw", "base.raw")
	mine := plan.ListedDisk{Target: "vda", Device: "disk", Kind: "file", Source: at("a.raw")}
	overlay := plan.ListedDisk{Target: "vda", Device: "disk", Kind: "file", Source: at("a.raw"), Backing: []plan.Link{{Path: at("base.raw"), Format: "raw"}}}
	fixed, shareable := mine, mine
	fixed.ReadOnly, shareable.Shareable = true, true
	user := func(change func(*domain.Disk), source string) domain.User {
		u := domain.User{Domain: "other", Target: "vdb", Disk: domain.Disk{Target: "vdb", Source: at(source), Format: "raw"}}
		change(&u.Disk)
		return u
	}
	plain := func(*domain.Disk) {}
	readOnly := func(d *domain.Disk) { d.Fixed = true }
	for name, c := range map[string]struct {
		disk plan.ListedDisk
		user domain.User
		want string
	}{
		"both write":                {mine, user(plain, "a.raw"), "disk-shared other"},
		"this one writes":           {mine, user(readOnly, "a.raw"), "disk-shared other"},
		"the other one writes":      {fixed, user(plain, "a.raw"), "disk-shared other"},
		"neither writes":            {fixed, user(readOnly, "a.raw"), ""},
		"shared on purpose":         {shareable, user(func(d *domain.Disk) { d.Shared = true }, "a.raw"), ""},
		"shared by one of them":     {shareable, user(plain, "a.raw"), "disk-shared other"},
		"below the other one":       {mine, user(func(d *domain.Disk) { d.Format, d.Lower = "", []string{at("a.raw")} }, "base.raw"), "chain-shared other"},
		"the base is written to":    {overlay, user(plain, "base.raw"), "chain-shared other"},
		"the base is only read":     {overlay, user(readOnly, "base.raw"), ""},
		"another file":              {mine, user(plain, "base.raw"), ""},
		"a disk that is not a file": {plan.ListedDisk{Kind: "network", Source: at("a.raw")}, user(plain, "a.raw"), ""},
	} {
		users := FindUsers(context.Background(), backing(nil), []domain.User{c.user})
		warnIfShared(&c.disk, users)
		if got := strings.Join(warnings(c.disk), ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTwice(t *testing.T) {
	at := files(t, "a.raw", "b.raw")
	d := func(name string, readOnly bool) plan.ListedDisk {
		return plan.ListedDisk{Kind: "file", Source: at(name), ReadOnly: readOnly}
	}
	for name, c := range map[string]struct {
		disks []plan.ListedDisk
		want  int
	}{
		"two files":       {[]plan.ListedDisk{d("a.raw", false), d("b.raw", false)}, 0},
		"one file":        {[]plan.ListedDisk{d("a.raw", false), d("b.raw", false), d("a.raw", true)}, 1},
		"only read twice": {[]plan.ListedDisk{d("a.raw", true), d("a.raw", true)}, 0},
	} {
		warnIfTwice(c.disks)
		got := 0
		for _, disk := range c.disks {
			got += len(disk.Warnings)
		}
		if got != c.want {
			t.Errorf("%s: %d warnings, want %d", name, got, c.want)
		}
	}
}
