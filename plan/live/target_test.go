package live

import (
	"fmt"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// onVDA makes a guest from lines "vda1 START SIZE FS MOUNTPOINT" in MiB. A device on top
// of another is written "vg-root@vda2", a missing value as a dash.
func onVDA(kind table.Kind, text string) Guest {
	g := Guest{
		Devices: []Device{{Path: "/dev/vda", Kind: "disk", Size: 1000 * size.MiB}},
		Tools:   map[string]bool{}, Tables: map[string]Table{"/dev/vda": {Kind: kind, Sector: 512}},
		LVs: map[string]LV{}, VGs: map[string]string{}, PVs: map[string]string{}, Ext: map[string]Ext{}, Btrfs: map[string]Btrfs{},
	}
	for _, tool := range Tools {
		g.Tools[tool] = true
	}
	for line := range strings.Lines(text) {
		var name, fs, at string
		var start, n int
		if _, err := fmt.Sscan(strings.ReplaceAll(line, " -", " none"), &name, &start, &n, &fs, &at); err != nil {
			panic(err)
		}
		none := func(s string) string { return strings.TrimSuffix(s, "none") }
		d := Device{Path: "/dev/" + name, Parent: "/dev/vda", Kind: "part", FS: none(fs), Mounted: none(at), UUID: name,
			Start: size.Bytes(start) * size.MiB, Size: size.Bytes(n) * size.MiB}
		if short, parent, on := strings.Cut(name, "@"); on {
			d.Path, d.Parent, d.Kind, d.Start = "/dev/mapper/"+short, "/dev/"+parent, "lvm", 0
			vg, lv, _ := volume(d)
			g.LVs[vg+"/"+lv], g.VGs[vg], g.PVs[d.Parent] = LV{Segments: []string{"linear"}, Attr: "-wi-ao----"}, "wz--n-", "a--"
		}
		if fs == "extended" {
			d.FS, d.Size = "", 1024
			t := g.Tables["/dev/vda"]
			t.Extended = append(t.Extended, 2)
			g.Tables["/dev/vda"] = t
		}
		g.Devices = append(g.Devices, d)
	}
	return g
}

// TestTarget checks that the target is the root or the named device, and never simply
// the last partition.
func TestTarget(t *testing.T) {
	const efi = "vda1 1 36 vfat /boot/efi\nvda2 37 600 ext4 /\n"
	for _, c := range []struct {
		what, devices, where string
		kind                 table.Kind
		change               func(*Guest)
		want                 string // the commands or the message
		refused              plan.Reason
	}{
		{what: "swap stands last", devices: efi + "vda3 637 62 swap [SWAP]", want: "vda3 (swap) is behind / in the guest", refused: plan.ImmovableNeighbor},
		{what: "swap that stands last is named", devices: efi + "vda3 637 62 swap [SWAP]", where: "vda3", want: "holds swap", refused: plan.UnknownContent},
		{what: "FAT stands last", devices: efi + "vda3 637 62 vfat -", want: "vda3 (vfat) is behind /", refused: plan.ImmovableNeighbor},
		{what: "an empty one stands last", devices: efi + "vda3 637 62 - -", want: "vda3 is behind /", refused: plan.ImmovableNeighbor},
		{what: "an empty one is named", devices: efi + "vda3 637 62 - -", where: "/dev/vda3", want: "has no content", refused: plan.UnknownContent},
		{what: "a BIOS boot partition stands last", devices: efi + "vda14 637 1 - -", want: "vda14 is behind /", refused: plan.ImmovableNeighbor},
		{what: "Windows' recovery stands last", devices: efi + "vda3 637 62 ntfs -", want: "vda3 (ntfs) is behind /", refused: plan.ImmovableNeighbor},
		{what: "one that is not mounted stands last", devices: efi + "vda3 637 62 ext4 -", want: "vda3 (ext4) is behind /", refused: plan.ImmovableNeighbor},
		{what: "one that is not mounted is named", devices: efi + "vda3 637 62 ext4 -", where: "vda3", want: "not mounted", refused: plan.UnsupportedLayout},
		{what: "a whole disk of FAT", devices: "vda1 1 900 vfat /boot/efi", want: "nothing on /dev/vda in the guest can grow by itself: vda1 holds vfat", refused: plan.UnknownContent},
		{what: "swap alone", devices: "vda1 1 900 swap [SWAP]", want: "vda1 holds swap", refused: plan.UnknownContent},
		{what: "nothing at all", devices: "vda1 1 900 - -", want: "no file system", refused: plan.UnknownContent},
		{what: "the root is last", devices: efi, want: "growpart /dev/vda 2; resize2fs /dev/vda2"},
		{what: "the root is last, by position", devices: "vda1 101 800 ext4 /\nvda15 1 100 vfat /boot/efi", want: "growpart /dev/vda 1; resize2fs /dev/vda1"},
		{what: "swap in a logical partition", kind: table.MBR, devices: "vda1 1 600 ext4 /\nvda2 601 90 extended -\nvda5 602 89 swap [SWAP]", want: "vda5 (swap) is behind /", refused: plan.ImmovableNeighbor},
		{what: "an empty extended partition", kind: table.MBR, devices: "vda1 1 600 ext4 /\nvda2 601 90 extended -", want: "vda2 (extended) is behind /", refused: plan.ImmovableNeighbor},
		{what: "a logical partition", kind: table.MBR, devices: "vda1 1 600 ext4 /\nvda2 601 90 extended -\nvda10 602 89 xfs /data", where: "/data", want: "logical", refused: plan.UnsupportedLayout},
		{what: "the extended partition", kind: table.MBR, devices: "vda1 1 600 ext4 /\nvda2 601 90 extended -", where: "vda2", want: "extended", refused: plan.UnsupportedLayout},
		{what: "the only file system of a data disk", devices: "vda1 1 900 xfs /data", want: "growpart /dev/vda 1; xfs_growfs /data"},
		{what: "two on a data disk", devices: "vda1 1 600 xfs /a\nvda2 601 300 xfs /b", want: "/a (xfs), /b (xfs)", refused: plan.AmbiguousTarget},
		{what: "the last of two on a data disk is named", devices: "vda1 1 600 xfs /a\nvda2 601 300 xfs /b", where: "/b", want: "growpart /dev/vda 2; xfs_growfs /b"},
		{what: "a volume is the root", devices: "vda1 1 90 ext4 /boot\nvda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /\nvg-swap@vda2 0 90 swap [SWAP]",
			want: "growpart /dev/vda 2; pvresize /dev/vda2; vgs --noheadings -o vg_free_count vg; lvextend -l +100%FREE vg/root; xfs_growfs /"},
		{what: "swap behind the root's group", devices: "vda2 91 800 LVM2_member -\nvg-root@vda2 0 300 xfs /\nvda3 891 90 swap [SWAP]", want: "vda3 (swap) is behind / (vda2)", refused: plan.ImmovableNeighbor},
		{what: "a swap volume is named", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /\nvg-swap@vda2 0 90 swap [SWAP]", where: "vg/swap", want: "holds swap", refused: plan.UnknownContent},
		{what: "a striped volume", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) {
			g.LVs["vg/root"] = LV{Segments: []string{"linear", "striped"}, Attr: "-wi-ao----"}
		}, want: "striped", refused: plan.UnsupportedLayout},
		{what: "a thin volume", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) {
			g.LVs["vg/root"] = LV{Segments: []string{"thin"}, Attr: "Vwi-aotz--"}
		}, want: "thin", refused: plan.UnsupportedLayout},
		{what: "the origin of a snapshot", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) {
			g.LVs["vg/root"] = LV{Segments: []string{"linear"}, Attr: "owi-aos---"}
		}, want: "not a plain", refused: plan.UnsupportedLayout},
		{what: "a contiguous volume", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) {
			g.LVs["vg/root"] = LV{Segments: []string{"linear"}, Attr: "-wc-ao----"}
		}, want: "contiguous", refused: plan.UnsupportedLayout},
		{what: "a PV without allocation", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) { g.PVs["/dev/vda2"] = "u--" }, want: "allocated", refused: plan.UnsupportedLayout},
		{what: "a group that lacks a PV", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) { g.VGs["vg"] = "wz-pn-" }, want: "cannot be changed", refused: plan.UnsupportedLayout},
		{what: "LVM does not know the volume", devices: "vda2 91 900 LVM2_member -\nvg-root@vda2 0 300 xfs /", change: func(g *Guest) { g.LVs = nil }, want: "does not list", refused: plan.UnsupportedLayout},
		{what: "a read-only root", devices: efi, change: func(g *Guest) { g.Devices[2].ReadOnly = true }, want: "read-only", refused: plan.UnsupportedLayout},
		{what: "bigalloc", devices: efi, change: func(g *Guest) { g.Ext["/dev/vda2"] = Ext{Block: 4096, Bits64: true, Bigalloc: true} }, want: "bigalloc", refused: plan.UnsupportedLayout},
		{what: "32-bit block numbers", devices: efi, change: func(g *Guest) { g.Ext["/dev/vda2"] = Ext{Block: 256} }, want: "64-bit", refused: plan.FSLimit},
		{what: "a btrfs on two devices", devices: "vda1 1 900 btrfs /data", change: func(g *Guest) { g.Btrfs["/dev/vda1"] = Btrfs{ID: 1, Devices: 2} }, want: "2 devices", refused: plan.UnsupportedLayout},
		{what: "a btrfs that is device 2", devices: "vda1 1 900 btrfs /data", change: func(g *Guest) { g.Btrfs["/dev/vda1"] = Btrfs{ID: 2, Devices: 1} },
			want: "growpart /dev/vda 1; btrfs filesystem resize 2:max /data"},
		{what: "a btrfs whose root is a subvolume", devices: "vda1 1 36 vfat /boot/efi\nvda2 37 600 btrfs /home", change: func(g *Guest) { g.Devices[2].Mounts = []string{"/home", "/"} },
			want: "growpart /dev/vda 2; btrfs filesystem resize max /home"},
		{what: "a damaged table", devices: efi, change: func(g *Guest) { g.Tables["/dev/vda"] = Table{Kind: table.GPT, Problem: "damaged"} }, want: "damaged", refused: plan.TableDamaged},
		{what: "no xfs_growfs", devices: "vda1 1 900 xfs /data", change: func(g *Guest) { delete(g.Tools, "xfs_growfs") }, want: "xfs_growfs", refused: plan.ToolMissing},
		{what: "growpart without sfdisk or sgdisk", devices: efi, change: func(g *Guest) { delete(g.Tools, "sfdisk"); delete(g.Tools, "sgdisk") }, want: "sfdisk", refused: plan.ToolMissing},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.kind == "" {
				c.kind = table.GPT
			}
			g := onVDA(c.kind, c.devices)
			if c.change != nil {
				c.change(&g)
			}
			stack, err := g.Stack("/dev/vda", c.where)
			var commands []Command
			if err == nil {
				commands, err = g.Commands(stack, 2*size.TiB)
			}
			if r, refused := plan.IsRefusal(err); refused {
				if r.Reason != c.refused || !strings.Contains(r.Text, c.want) || commands != nil {
					t.Errorf("refused as %s: %s (%v)", r.Reason, r.Text, commands)
				}
				return
			}
			var lines []string
			for _, command := range commands {
				lines = append(lines, command.Line())
			}
			if err != nil || c.refused != "" || strings.Join(lines, "; ") != c.want {
				t.Errorf("%q (%v)", lines, err)
			}
		})
	}
}
