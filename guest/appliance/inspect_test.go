package appliance

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
)

func TestByOffset(t *testing.T) {
	for fstab, want := range map[string][]plan.Offset{
		"": nil,
		"UUID=1 / ext4 defaults 0 0\n/dev/vda2 /data ext4 rw 0 2\n":                 nil,
		"/dev/vda /old ext4 loop,offset=68157440 0 0":                               {{MountPoint: "/old", At: 68157440}},
		"/dev/sdb\t/old\text4\tro,offset=0x4100000,loop\t0\t0\n":                    {{MountPoint: "/old", At: 0x4100000}},
		"/dev/vda /old ext4 offset=65M 0 0\n# /dev/vda /x ext4 offset=1 0 0\n":      {{MountPoint: "/old", At: -1}},
		"/srv/disk.img /img ext4 loop,offset=1048576 0 0\n/dev/vda /short ext4\n\n": nil,
	} {
		if diff := cmp.Diff(want, byOffset(fstab)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", fstab, diff)
		}
	}
}
