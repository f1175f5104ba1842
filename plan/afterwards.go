package plan

import (
	"fmt"
	"strings"

	"github.com/virt-grow/virt-grow/plan/table"
)

// growers has the commands with which the guest grows a content whose partition has grown
// without it. PART stands for the partition's name in the guest.
var growers = map[string]string{
	"ext2": "resize2fs PART", "ext3": "resize2fs PART", "ext4": "resize2fs PART",
	"xfs":   "xfs_growfs where it is mounted",
	"btrfs": "btrfs filesystem resize max where it is mounted (btrfs filesystem show lists the device's number, if it is not 1)",
	"f2fs":  "resize.f2fs PART, while it is not mounted",
	"jfs":   "mount -o remount,resize where it is mounted",
	"swap":  "swapoff PART, mkswap with -U and the old UUID, swapon PART",
	"ufs":   "growfs PART (FreeBSD, for the root: service growfs onestart)",

	"zfs_member":        "zpool online -e POOL PART (zpool status names both)",
	"linux_raid_member": "when all members have grown: mdadm --grow /dev/mdN --size=max, then what lies on the array",
	"bcachefs":          "bcachefs device resize PART",
	ContentPV:           "pvresize PART, then lvextend -r for a volume",
	ContentLUKS:         "cryptsetup resize NAME, then what is in it",

	"ntfs":      "diskpart: select volume, extend filesystem",
	"ReFS":      "diskpart: select volume, extend filesystem",
	"BitLocker": "diskpart: select volume, extend filesystem",
	"apfs":      "diskutil apfs resizeContainer PART 0",
	"hfsplus":   "diskutil resizeVolume PART R",
}

// afterwards returns what the user has to do in the guest for partitions that have grown
// without their content.
func (b *builder) afterwards(goals []goal) (todo []string) {
	for _, g := range goals {
		if !b.request.PartitionOnly || g.Kind != Partition || b.now(g.Name).Size == g.Size {
			continue
		}
		command, known := growers[g.Content.Type]
		if !known {
			command = "use the tool that belongs to the content"
		}
		command = strings.ReplaceAll(command, "PART", "PARTITION")
		todo = append(todo, fmt.Sprintf("the content of %s (%s) still has its old size; in the guest, where PARTITION stands for number %d of this disk:\n%s", g.Name, contentName(g.Content.Type), g.Number, command))
		if p, ok := b.before.entry(g.Device); ok && b.before.tableOf(g.Device).Kind == table.MBR && bsdSlice[p.Type] {
			b.warn(fmt.Sprintf("%s is a slice of a BSD: if there is a BSD label in it, its partitions stay as they are. In the guest, grow the last one first (FreeBSD: gpart resize -i 1 on the slice, OpenBSD and NetBSD: disklabel -E or -i), then its file system", g.Name))
		}
	}
	return todo
}

// bsdSlice are the MBR types of FreeBSD, OpenBSD and NetBSD.
var bsdSlice = map[string]bool{"0xa5": true, "0xa6": true, "0xa9": true}
