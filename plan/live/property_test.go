package live

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// randomGuest draws a disk with partitions in any order, and contents on some of them.
func randomGuest(t *rapid.T) Guest {
	kind := rapid.SampledFrom([]table.Kind{table.GPT, table.MBR, ""}).Draw(t, "table")
	g := onVDA(kind, "")
	numbers := rapid.Permutation([]int{1, 2, 3, 4, 5, 6, 10, 14, 15}).Draw(t, "numbers")
	at := size.MiB
	for i := range rapid.IntRange(0, 5).Draw(t, "partitions") {
		p := Device{Path: fmt.Sprintf("/dev/vda%d", numbers[i]), Parent: "/dev/vda", Kind: "part", Start: at, Size: 100 * size.MiB}
		at += 100 * size.MiB
		if kind != table.GPT && numbers[i] < 5 && rapid.IntRange(0, 4).Draw(t, "extended") == 0 {
			p.Size = 1024
			if kind == table.MBR {
				tab := g.Tables["/dev/vda"]
				tab.Extended = append(tab.Extended, numbers[i])
				g.Tables["/dev/vda"] = tab
			}
			g.Devices = append(g.Devices, p)
			continue
		}
		fill(t, &g, p, 0)
	}
	for _, tool := range Tools {
		if rapid.IntRange(0, 12).Draw(t, "lacks "+tool) == 0 {
			delete(g.Tools, tool)
		}
	}
	return g
}

// fill draws the content of a device, and adds the device and all devices on it.
func fill(t *rapid.T, g *Guest, d Device, depth int) {
	d.UUID = "uuid-" + d.name()
	d.FS = rapid.SampledFrom([]string{"ext4", "ext4", "xfs", "xfs", "btrfs", "swap", "vfat", "ntfs", "", "zfs_member", "LVM2_member", "LVM2_member", "crypto_LUKS", "linux_raid_member"}).Draw(t, "holds")
	if growsMounted[d.FS] {
		d.Mounted = rapid.SampledFrom([]string{"", "/", "/" + d.name(), "/" + d.name()}).Draw(t, "mounted")
		d.ReadOnly = rapid.IntRange(0, 8).Draw(t, "read-only") == 0
	}
	if d.FS == "btrfs" {
		g.Btrfs[d.Path] = Btrfs{ID: rapid.IntRange(1, 2).Draw(t, "devid"), Devices: rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "devices")}
	}
	if d.FS == "swap" {
		d.Mounted = "[SWAP]"
	}
	g.Devices = append(g.Devices, d)
	if depth > 2 {
		return
	}
	switch d.FS {
	case "crypto_LUKS":
		fill(t, g, Device{Path: "/dev/mapper/luks_" + d.name(), Parent: d.Path, Kind: "crypt"}, depth+1)
	case "linux_raid_member":
		fill(t, g, Device{Path: "/dev/md" + d.name(), Parent: d.Path, Kind: "raid1"}, depth+1)
	case "LVM2_member":
		g.PVs[d.Path] = rapid.SampledFrom([]string{"a--", "a--", "a--", "u--"}).Draw(t, "pv")
		vg := "vg_" + d.name()
		g.VGs[vg] = rapid.SampledFrom([]string{"wz--n-", "wz--n-", "wz--n-", "wz-pn-", "r---n-"}).Draw(t, "vg")
		for i := range rapid.IntRange(0, 2).Draw(t, "volumes") {
			lv := fmt.Sprintf("lv%d", i)
			g.LVs[vg+"/"+lv] = LV{Segments: []string{rapid.SampledFrom([]string{"linear", "linear", "linear", "striped"}).Draw(t, "segments")}, Attr: "-wi-ao----"}
			fill(t, g, Device{Path: "/dev/mapper/" + mapperName(vg+"/"+lv), Parent: d.Path, Kind: "lvm"}, depth+1)
		}
	}
}

// withParents returns a device and all devices below it.
func (g Guest) withParents(path string) []Device {
	var all []Device
	for path != "" {
		i := slices.IndexFunc(g.Devices, func(d Device) bool { return d.Path == path })
		all, path = append(all, g.Devices[i]), g.Devices[i].Parent
	}
	return all
}

// meant returns the devices that match a request, found by a simple search.
func (g Guest) meant(where string) []string {
	var named, roots, fs []string
	for _, d := range g.Devices {
		switch {
		case where != "" && (d.Path == where || d.Mounted == where):
			named = append(named, d.Path)
		case d.Mounted == "/":
			roots = append(roots, d.Path)
		}
		if growsMounted[d.FS] {
			fs = append(fs, d.Path)
		}
	}
	switch {
	case where != "":
		return named
	case len(roots) > 0:
		return roots
	}
	return fs
}

// touched returns the device that a command changes.
func (g Guest) touched(c Command) string {
	last := c.Argv[len(c.Argv)-1]
	switch c.Argv[0] {
	case "growpart":
		return partitionNamed(c.Argv[1], c.Argv[2])
	case "sfdisk", "partx":
		return partitionNamed(last, c.Argv[len(c.Argv)-2])
	case "lvextend":
		return "/dev/mapper/" + mapperName(last)
	case "xfs_growfs", "btrfs":
		i := slices.IndexFunc(g.Devices, func(d Device) bool { return d.Mounted == last })
		return g.Devices[i].Path // mount points are unique, except for the root
	case "vgs":
		return ""
	}
	return last
}

func partitionNamed(disk, number string) string { return disk + number }

// impossible returns why a stack with that top device cannot grow; "" if it can.
func (g Guest) impossible(top string) string {
	down := g.withParents(top)
	for i, d := range down {
		switch {
		case i == 0 && d.FS != "LVM2_member" && !growsMounted[d.FS]:
			return "content"
		case i == 0 && growsMounted[d.FS] && (d.Mounted == "" || d.ReadOnly || g.Btrfs[d.Path].Devices > 1):
			return "mount"
		case d.Kind == "crypt" || d.Kind == "raid1":
			return d.Kind
		case d.Kind == "lvm" && (down[i+1].Kind == "lvm" || !strings.HasPrefix(g.PVs[down[i+1].Path], "a")):
			return "pv"
		case d.Kind == "lvm":
			vg, lv, _ := volume(d)
			if g.LVs[vg+"/"+lv].Segments[0] != "linear" || g.VGs[vg] != "wz--n-" {
				return "lvm"
			}
		case d.Kind == "part":
			for _, o := range g.Devices {
				if o.Kind == "part" && o.Start > d.Start {
					return o.Path + " is behind"
				}
				if o.Kind == "part" && o.Size == 1024 && o.Start < d.Start && len(d.Number()) > 0 && d.Number() > "4" || d.Number() == "10" && g.Tables["/dev/vda"].Kind == table.MBR {
					return "logical"
				}
			}
		}
	}
	return ""
}

// TestCommandsProperty checks that the commands change only the requested device and
// those below it, and that there are no commands if one of these cannot be grown.
func TestCommandsProperty(t *testing.T) {
	grown := 0
	rapid.Check(t, func(t *rapid.T) {
		g := randomGuest(t)
		where := ""
		if len(g.Devices) > 1 && rapid.Bool().Draw(t, "named") {
			d := g.Devices[rapid.IntRange(1, len(g.Devices)-1).Draw(t, "which")]
			where = d.Path
			if d.Mounted != "" && d.Mounted != "[SWAP]" && rapid.Bool().Draw(t, "by mount point") {
				where = d.Mounted
			}
		}
		stack, err := g.Stack("/dev/vda", where)
		if err != nil {
			return
		}
		meant := g.meant(where)
		top := stack[len(stack)-1].Path
		if len(meant) != 1 || meant[0] != top {
			t.Fatalf("%q is %s; it can be %v", where, top, meant)
		}
		commands, err := g.Commands(stack, 2*size.TiB)
		why := g.impossible(top)
		if err != nil {
			if commands != nil {
				t.Fatalf("refused (%v), and commands all the same: %v", err, commands)
			}
			return
		}
		if why != "" {
			t.Fatalf("%s cannot grow (%s): %v", top, why, commands)
		}
		allowed := g.withParents(top)
		for _, c := range commands {
			if at := g.touched(c); at != "" && !slices.ContainsFunc(allowed, func(d Device) bool { return d.Path == at }) {
				t.Fatalf("%s touches %s, which %s does not lie on", c.Line(), at, top)
			}
			if !g.Tools[c.Argv[0]] {
				t.Fatalf("the guest has no %s", c.Argv[0])
			}
		}
		grown++
	})
	if grown < 20 {
		t.Errorf("only %d guests could grow: the property says little", grown)
	}
}
