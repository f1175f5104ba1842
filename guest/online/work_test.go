package online

import (
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// TestGrew compares the file system's size, as the agent reports it, with the disk's. A
// volume may be larger than the one disk that has grown.
func TestGrew(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    string
		command string
		now     size.Bytes
		right   bool
	}{
		{"partition", "part", "fs", 1900 * size.MiB, true},
		{"partition, not grown", "part", "fs", 950 * size.MiB, false},
		{"partition, more than the disk", "part", "fs", 2100 * size.MiB, false},
		{"volume on two disks", "lvm", "lv", 2900 * size.MiB, true},
		{"LUKS in a volume on two disks", "crypt", "lv", 2900 * size.MiB, true},
		{"volume, not grown", "lvm", "lv", 950 * size.MiB, false},
	} {
		o := &work{data: data{Top: live.Device{Kind: c.kind, Mounted: "/data"}, Plan: &Plan{
			From: size.GiB, To: 2 * size.GiB, Commands: []live.Command{{What: c.command}},
			Before: []domain.FS{{MountPoint: "/data", Total: 950 * size.MiB}}}}}
		if err := o.grew([]domain.FS{{MountPoint: "/data", Total: c.now}}); (err == nil) != c.right {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
