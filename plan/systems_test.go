package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// words are partition types, by their short names in the layouts below.
var words = map[string]string{
	"esp": table.GPTESP, "bios": table.GPTBIOSBoot, "linux": table.GPTLinux, "swap": table.GPTLinuxSwap, "lvm": table.GPTLinuxLVM,
	"boot": table.GPTLinuxBoot, "home": table.GPTLinuxHome, "msr": table.GPTMSR, "windows": table.GPTBasicData, "winre": table.GPTWinRE,
	"fbsd-boot": "83BD6B9D-7F41-11DC-BE0B-001560B84F0F", "fbsd-swap": "516E7CB5-6ECF-11D6-8FF8-00022D09712B",
	"fbsd-ufs": "516E7CB6-6ECF-11D6-8FF8-00022D09712B", "fbsd-zfs": "516E7CBA-6ECF-11D6-8FF8-00022D09712B",
	"chromeos": "FE3A2A5D-4F32-41A7-B725-ACCC3285A309",
}

// system is the default layout of an installer or image builder. parts are in disk
// order, one after the other from 1 MiB on: number, type, MiB, and the content if there
// is one.
type system struct {
	table string // gpt when empty
	parts string
	root  string // the root as inspection names it
	grow  string // --grow, if any
	// grows is the partition that grows, moves are those that make room; reason is
	// that of the refusal where there is one.
	grows  int
	moves  []int
	reason plan.Reason
}

var systems = map[string]system{
	"Fedora":                     {parts: "1:esp:600:vfat 2:boot:1024:ext4 3:linux:8192:btrfs", root: "sda3", grows: 3},
	"Fedora Cloud":               {parts: "1:bios:2 2:esp:100:vfat 3:boot:1000:ext4 4:linux:3900:btrfs", root: "sda4", grows: 4},
	"RHEL on a BIOS":             {table: "mbr", parts: "1:linux:1024:xfs 2:lvm:15000:pv", grow: "vg/root", grows: 2},
	"RHEL on UEFI":               {parts: "1:esp:600:vfat 2:linux:1024:xfs 3:lvm:15000:pv", grow: "vg/root", grows: 3},
	"RHEL cloud image":           {parts: "1:bios:1 2:esp:200:vfat 3:linux:1000:xfs 4:linux:9000:xfs", root: "sda4", grows: 4},
	"openSUSE":                   {parts: "1:bios:8 2:linux:20000:btrfs 3:swap:2048:swap", root: "sda2", grows: 2, moves: []int{3}},
	"SLES with /home":            {parts: "1:esp:512:vfat 2:linux:20000:btrfs 3:home:10000:xfs 4:swap:2048:swap", root: "sda2", grows: 2, moves: []int{3, 4}},
	"Windows 11":                 {parts: "1:esp:100:vfat 2:msr:16 3:windows:30000:ntfs 4:winre:650:ntfs", root: "sda3", grows: 3, moves: []int{4}},
	"Windows 10, recovery first": {parts: "1:winre:529:ntfs 2:esp:100:vfat 3:msr:16 4:windows:30000:ntfs", root: "sda4", grows: 4},
	"Windows 7":                  {table: "mbr", parts: "1:linux:100:ntfs 2:linux:30000:ntfs", root: "sda2", grows: 2},
	"Ubuntu 20 and 22, cloud":    {parts: "14:bios:4 15:esp:106:vfat 1:linux:2100:ext4", root: "sda1", grows: 1},
	"Ubuntu 24, cloud":           {parts: "14:bios:4 15:esp:106:vfat 16:boot:913:ext4 1:linux:2500:ext4", root: "sda1", grows: 1},
	"Ubuntu server, LVM":         {parts: "1:bios:1 2:linux:2048:ext4 3:lvm:18000:pv", grow: "vg/root", grows: 3},
	"Debian cloud":               {parts: "14:bios:3 15:esp:124:vfat 1:linux:1920:ext4", root: "sda1", grows: 1},
	"Debian's installer, UEFI":   {parts: "1:esp:512:vfat 2:linux:19000:ext4 3:swap:976:swap", root: "sda2", grows: 2, moves: []int{3}},
	"Amazon Linux":               {parts: "127:esp:10:vfat 128:bios:1 1:linux:8000:xfs", root: "sda1", grows: 1},
	"Alpine":                     {table: "mbr", parts: "1:linux:100:ext4 2:linux:512:swap 3:linux:4000:ext4", root: "sda3", grows: 3},
	"Arch":                       {parts: "1:esp:512:vfat 2:linux:18000:ext4", grows: 2},
	"Arch with a swap behind":    {parts: "1:esp:512:vfat 2:linux:18000:btrfs 3:swap:2000:swap", grows: 2, moves: []int{3}},
	"Gentoo":                     {parts: "1:esp:1024:vfat 2:swap:4096:swap 3:linux:9000:xfs", grows: 3},
	"NixOS":                      {parts: "1:linux:10000:ext4 2:swap:8192:swap 3:esp:512:vfat", root: "sda1", grows: 1, moves: []int{2, 3}},
	"FreeBSD":                    {parts: "1:fbsd-boot:1 2:esp:33:vfat 3:fbsd-swap:1024 4:fbsd-ufs:5000:ufs", reason: plan.UnknownContent},
	"FreeBSD, the partition":     {parts: "1:fbsd-boot:1 2:esp:33:vfat 3:fbsd-swap:1024 4:fbsd-ufs:5000:ufs", grow: "sda4", grows: 4},
	"FreeBSD with ZFS":           {parts: "1:esp:260:vfat 2:fbsd-boot:1 3:fbsd-swap:2048 4:fbsd-zfs:9000:zfs_member", reason: plan.UnknownContent},
	"FreeBSD, old":               {parts: "1:fbsd-boot:1 2:fbsd-ufs:5000:ufs 3:fbsd-swap:1024", grow: "sda2", grows: 2, moves: []int{3}},
	"pfSense":                    {table: "mbr", parts: "1:linux:5000:ufs", reason: plan.UnknownContent},
	"Proxmox":                    {parts: "1:bios:1 2:esp:1024:vfat 3:lvm:30000:pv", grow: "vg/root", grows: 3},
	"Fedora CoreOS":              {parts: "1:bios:1 2:esp:127:vfat 3:linux:384:ext4 4:linux:8000:xfs", root: "sda4", grows: 4},
	"Flatcar": {parts: "1:esp:128:vfat 2:bios:2 3:linux:1024:btrfs 4:linux:1024 6:linux:128:ext4 7:linux:64 9:linux:2000:ext4",
		root: "sda9", grows: 9},
	"Talos":                                 {parts: "1:esp:100:vfat 2:bios:1 3:linux:1000:xfs 4:linux:1 5:linux:100:xfs 6:linux:3000:xfs", grow: "sda6", grows: 6},
	"ChromeOS":                              {parts: "11:linux:1 12:esp:32:vfat 2:chromeos:16 4:chromeos:16 3:linux:2000:ext4 5:linux:100:ext4 8:linux:16:ext4 1:linux:4000:ext4", grow: "sda1", grows: 1},
	"HAOS":                                  {parts: "1:esp:32:vfat 2:linux:24:squashfs 3:linux:256:squashfs 4:linux:24:squashfs 5:linux:256:squashfs 6:linux:8 7:linux:96:ext4 8:linux:1280:ext4", reason: plan.AmbiguousTarget},
	"a swap first by number, last by place": {parts: "2:linux:9000:xfs 1:swap:1024:swap", grows: 2, moves: []int{1}},
	"a BIOS boot partition behind the root": {parts: "1:linux:9000:ext4 14:bios:4", reason: plan.ImmovableNeighbor},
}

// layout returns the system's disk, which is a MiB larger than its partitions.
func (s system) layout() *plan.Layout {
	at := MiB
	var parts []part
	contents := map[int]string{}
	for _, word := range strings.Fields(s.parts) {
		f := strings.Split(word, ":")
		var number int
		var n size.Bytes
		fmt.Sscan(f[0], &number)
		fmt.Sscan(f[2], &n)
		parts = append(parts, part{number: number, start: at, len: n * MiB, typ: words[f[1]]})
		at += n * MiB
		if len(f) > 3 {
			contents[number] = f[3]
		}
	}
	disk := at + MiB
	t := gpt(disk, parts)
	if s.table == "mbr" {
		t = mbr(disk, parts)
	}
	l := layout(disk, t, nil)
	for i := range l.Devices {
		d := &l.Devices[i]
		switch kind := contents[d.Number]; {
		case d.Kind != plan.Partition || kind == "":
		case kind == "pv":
			s.group(l, d)
		default:
			d.Content = fs(kind, d.Size)
		}
	}
	if s.root != "" {
		l.OS = &plan.OS{Root: s.root}
	}
	return l
}

// group puts a volume group with a root and a swap on a partition.
func (s system) group(l *plan.Layout, d *plan.Device) {
	const extent = 4 * MiB
	d.Content = plan.Content{Type: plan.ContentPV, Group: "vg", Offset: MiB, Size: (d.Size - MiB).Down(extent)}
	rest := d.Content.Size - 2*GiB
	l.Groups = append(l.Groups, plan.Group{Name: "vg", Extent: extent, PVs: []string{d.Name}})
	l.Devices = append(l.Devices,
		plan.Device{Name: "vg/swap", Kind: plan.LV, Group: "vg", Size: 2 * GiB, Content: plan.Content{Type: "swap"}},
		plan.Device{Name: "vg/root", Kind: plan.LV, Group: "vg", Size: rest, Content: fs("xfs", rest)})
}

// TestSystems checks that in common layouts one partition grows by the added space,
// those behind it are moved, and the others keep their place, number and identifiers.
func TestSystems(t *testing.T) {
	for name, s := range systems {
		t.Run(name, func(t *testing.T) {
			r := request("+3G")
			if s.grow != "" {
				r = request("+3G", s.grow)
			}
			r.PartitionOnly = strings.HasPrefix(s.grow, "sda") && strings.Contains(s.parts, "fbsd")
			p, err := plan.Build(s.layout(), target, r)
			if s.reason != "" {
				if refusal, ok := plan.IsRefusal(err); !ok || refusal.Reason != s.reason {
					t.Fatalf("%v, want %s", err, s.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, was := range p.Before.Table.Partitions {
				now, ok := p.After.Table.Partition(was.Number)
				grew, moved := now.Size-was.Size, now.Start-was.Start
				if !ok || now.Type != was.Type || now.GUID != was.GUID {
					t.Errorf("%+v became %+v", was, now)
				}
				if want := 3 * GiB; was.Number == s.grows && (grew > want+MiB || grew < want-2*MiB) || was.Number != s.grows && grew != 0 {
					t.Errorf("partition %d grows by %s", was.Number, grew)
				}
				if slices.Contains(s.moves, was.Number) != (moved != 0) || moved%MiB != 0 {
					t.Errorf("partition %d moves by %s", was.Number, moved)
				}
			}
			if r.PartitionOnly && (len(p.ManualSteps) != 1 || !strings.Contains(p.ManualSteps[0], "growfs")) {
				t.Errorf("left to do: %q", p.ManualSteps)
			}
		})
	}
}

// TestPartitionOnlyToDo checks that the steps left to the guest are printed, for every
// content.
func TestPartitionOnlyToDo(t *testing.T) {
	for content, says := range map[string]string{
		"ufs": "growfs PARTITION", "zfs_member": "zpool online -e", "linux_raid_member": "--size=max", "xfs": "xfs_growfs",
		"ntfs": "extend filesystem", "minix": "use the tool that belongs to the content",
	} {
		tab := mbr(10*GiB, []part{{number: 1, start: MiB, len: GiB}})
		l := layout(10*GiB, tab, map[int]plan.Content{1: fs(content, GiB)})
		r := request("+1G", "sda1")
		r.PartitionOnly = true
		p, err := plan.Build(l, target, r)
		if err != nil {
			t.Errorf("%s: %v", content, err)
			continue
		}
		if len(p.ManualSteps) != 1 || !strings.Contains(p.ManualSteps[0], says) || !strings.Contains(p.ManualSteps[0], "number 1 of this disk") {
			t.Errorf("%s: %q", content, p.ManualSteps)
		}
	}
}

// TestForeignContent checks that, if no content can grow, the refusal names the
// partition that could grow without its content, even if small partitions of unknown
// content are beside it.
func TestForeignContent(t *testing.T) {
	l := system{parts: "1:fbsd-boot:1 2:esp:33:vfat 3:fbsd-ufs:5000:ufs 4:fbsd-swap:1024"}.layout()
	boot, _ := l.Find("sda1")
	boot.Content = plan.Content{Type: plan.ContentUnknown, Problem: plan.Refuse(plan.UnknownContent, "sda1", "nobody knows")}
	_, err := plan.Build(l, target, request("+1G"))
	r, ok := plan.IsRefusal(err)
	if !ok || r.Subject != "sda3" || !strings.Contains(r.Text, "sda3 holds ufs") || !strings.Contains(r.Text, "--partition-only") {
		t.Errorf("%v", err)
	}
}

// TestPartNames finds partitions by the names and identifiers in their table.
func TestPartNames(t *testing.T) {
	l := cloud()
	guid := l.Table.Partitions[0].GUID
	for name, want := range map[string]string{"PARTUUID=" + strings.ToLower(guid): "sda1", "PARTUUID=" + guid: "sda1", "PARTUUID=x": "", "PARTLABEL=x": ""} {
		p, err := plan.Build(l, target, request("+1G", name))
		if refusal, ok := plan.IsRefusal(err); want == "" && (!ok || refusal.Reason != plan.NotFound) || want != "" && (err != nil || p.Grows != want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tab := mbr(10*GiB, []part{{number: 1, start: MiB, len: GiB}})
	l = layout(10*GiB, tab, map[int]plan.Content{1: fs("xfs", GiB)})
	if p, err := plan.Build(l, target, request("+1G", "PARTUUID=00000000-01=1100M")); err != nil || p.Grows != "sda1" {
		t.Errorf("of an MBR: %v", err)
	}
	for _, text := range []string{"PARTUUID=", "PARTLABEL=", "PARTLABEL==1G"} {
		if w, err := plan.ParseGrowTarget(text); err == nil {
			t.Errorf("%q became %+v", text, w)
		}
	}
}
