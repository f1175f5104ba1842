package plan_test

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/superblock"
)

// smallGroups returns an ext4 of 200 MiB made with an inode for every 4 KiB. A last
// group of 6 MiB would be too small for its own metadata.
func smallGroups() plan.Content {
	return plan.Content{Type: "ext4", Size: 200 * MiB, Ext: &superblock.Ext{
		Blocks: 51200, BlockSize: 4096, BlocksPerGroup: 32768, InodesPerGroup: 25600, InodeSize: 256, DescSize: 64,
		ReservedGDT: 24, FlexGroups: 16, Compat: 0x3c, Incompat: 0x2c2, ROCompat: 0x46b,
	}}
}

func TestFilled(t *testing.T) {
	xfs := plan.Content{Type: "xfs", Size: 320 * MiB, Block: 4096, Unit: 80 * MiB}
	ntfs := plan.Content{Type: "ntfs", Size: 100*MiB - 4096, Block: 4096, SectorSize: 512}
	btrfs := plan.Content{Type: "btrfs", Size: 256 * MiB, Block: 4096}
	for _, c := range []struct {
		name         string
		content      plan.Content
		device, want size.Bytes
	}{
		{"a last group that is dropped", smallGroups(), 262 * MiB, 256 * MiB},
		{"a last group that is kept", smallGroups(), 270 * MiB, 270 * MiB},
		{"no room for another group", smallGroups(), 200*MiB + 2048, 200 * MiB},
		{"63 blocks behind the last group", xfs, 320*MiB + 63*4096, 320 * MiB},
		{"64 blocks behind the last group", xfs, 320*MiB + 64*4096, 320*MiB + 64*4096},
		{"NTFS and its boot sector's copy", ntfs, 100 * MiB, 100*MiB - 4096},
		{"NTFS, room for a cluster", ntfs, 100*MiB + 512, 100 * MiB},
		{"half a sector of btrfs", btrfs, 300*MiB + 2048, 300 * MiB},
		{"a device that is too small", btrfs, 100 * MiB, 256 * MiB},
	} {
		if got := c.content.Filled(c.device); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := c.content.Fills(c.device); got != (c.want == c.content.Size) {
			t.Errorf("%s: fills is %t", c.name, got)
		}
	}
}

// TestBuildExactSize checks that the plan has the size that the file system will have,
// not that of its partition.
func TestBuildExactSize(t *testing.T) {
	l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: 200 * MiB, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: 200 * MiB, Content: smallGroups()}}}
	p, err := plan.Build(l, plan.Target{Path: "x"}, plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: 262 * MiB}})
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := p.After.Find("sda"); d.Content.Size != 256*MiB {
		t.Errorf("it is planned to have %s", d.Content.Size)
	}
	for _, s := range p.Steps {
		if (s.Kind == plan.StepFS || s.Kind == plan.StepVerify) && s.To != 256*MiB {
			t.Errorf("%s goes to %s", s.Kind, s.To)
		}
	}
}

// TestBuildLimit checks that the refusal names the largest possible size of a file
// system.
func TestBuildLimit(t *testing.T) {
	c := smallGroups()
	c.Max, c.MaxWhy = 32*GiB, "for a reason"
	l := &plan.Layout{DiskLayout: plan.DiskLayout{Size: 200 * MiB, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: 200 * MiB, Content: c}}}
	_, err := plan.Build(l, plan.Target{Path: "x"}, plan.Request{Size: plan.Amount{Mode: plan.Absolute, Bytes: 60 * GiB}})
	r, ok := plan.IsRefusal(err)
	if !ok || r.Reason != plan.FSLimit || r.Size != 32*GiB {
		t.Errorf("%v", err)
	}
}
