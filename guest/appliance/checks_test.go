package appliance

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// TestCompare checks that a damaged superblock is distinguished from one that was
// changed.
func TestCompare(t *testing.T) {
	planned := plan.Content{Type: "ext4", UUID: "u", Size: size.GiB, Ext: &superblock.Ext{}}
	known := planned
	known.Ext = &superblock.Ext{Errors: true}
	for name, c := range map[string]struct {
		head    head
		planned plan.Content
		want    plan.Reason
	}{
		"as planned":     {head{true, "u", size.GiB, false}, planned, ""},
		"checksum":       {head{false, "u", size.GiB, false}, planned, plan.FSDamaged},
		"new errors":     {head{true, "u", size.GiB, true}, planned, plan.FSDamaged},
		"known errors":   {head{true, "u", size.GiB, true}, known, ""},
		"another one":    {head{true, "v", size.GiB, false}, planned, plan.StalePlan},
		"grown already":  {head{true, "u", 2 * size.GiB, false}, planned, plan.StalePlan},
		"without a UUID": {head{true, "", size.GiB, false}, plan.Content{Type: "xfs", Size: size.GiB}, ""},
	} {
		err := c.head.compare("sda1", c.planned)
		r, _ := plan.IsRefusal(err)
		if c.want == "" && err != nil || c.want != "" && (r == nil || r.Reason != c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRanOut checks that a checker that ran out of memory is distinguished from one that
// found damage.
func TestRanOut(t *testing.T) {
	for name, c := range map[string]struct {
		failure, log string
		want         bool
	}{
		"damage":                     {"e2fsck: /dev/sda1: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.", "EXT4-fs (sda1): mounted", false},
		"e2fsck cannot get it":       {"e2fsck: Memory allocation failed", "", true},
		"xfs_repair is killed":       {"xfs_repair -n finds damage", "Out of memory: Killed process 123 (xfs_repair) total-vm:1234kB", true},
		"another program was killed": {"e2fsck: damaged", "Out of memory: Killed process 7 (udevd) total-vm:1kB", false},
	} {
		if got := ranOut(c.failure, c.log); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMemoryFor(t *testing.T) {
	for name, c := range map[string]struct {
		disks, available size.Bytes
		want             int
	}{
		"a small disk":               {2 * size.GiB, 16 * size.GiB, 1282},
		"a large disk":               {2 * size.TiB, 16 * size.GiB, 1280 + 2048},
		"a larger one than the host": {64 * size.TiB, 16 * size.GiB, 8192},
		"a host with little":         {size.TiB, size.GiB, 1280},
		"a host that does not tell":  {size.TiB, 0, 1280},
	} {
		if got := memoryFor(1280, c.disks, c.available); got != c.want {
			t.Errorf("%s: %d MiB, want %d", name, got, c.want)
		}
	}
	if got := readAvailable(strings.NewReader("MemTotal:       24684000 kB\nMemAvailable:   22957000 kB\n")); got != 22957000*size.KiB {
		t.Errorf("available: %d", got)
	}
}
