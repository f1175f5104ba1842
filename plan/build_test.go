package plan_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// cloud returns the disk of a cloud image, with the partitions 14, 15 and 1 in this
// order.
func cloud() *plan.Layout {
	t := gpt(10*GiB, []part{
		{14, 1 * MiB, 3 * MiB, table.GPTBIOSBoot},
		{15, 4 * MiB, 124 * MiB, table.GPTESP},
		{1, 128 * MiB, 10*GiB - 129*MiB, ""},
	})
	return layout(10*GiB, t, map[int]plan.Content{
		15: {Type: "vfat"},
		1:  fs("ext4", 10*GiB-129*MiB),
	})
}

// volumes returns a disk with /boot and a volume group of two volumes.
func volumes() *plan.Layout {
	t := gpt(10*GiB, []part{{1, 1 * MiB, 511 * MiB, ""}, {2, 512 * MiB, 10*GiB - 513*MiB, table.GPTLinuxLVM}})
	pv := size.Bytes(2431) * 4 * MiB
	l := layout(10*GiB, t, map[int]plan.Content{
		1: fs("ext4", 511*MiB),
		2: {Type: plan.ContentPV, Size: pv, Offset: MiB, Group: "vg"},
	})
	l.Groups = []plan.Group{{Name: "vg", Extent: 4 * MiB, Free: pv - 8*GiB, PVs: []string{"sda2"}}}
	l.Devices = append(l.Devices,
		plan.Device{Name: "vg/root", Kind: plan.LV, Group: "vg", Size: 6 * GiB, Content: fs("xfs", 6*GiB)},
		plan.Device{Name: "vg/home-data", Kind: plan.LV, Group: "vg", Size: 2 * GiB, Content: fs("btrfs", 2*GiB)})
	return l
}

// vault returns a disk with LUKS on a partition, and a file system in it.
func vault(open bool) *plan.Layout {
	t := gpt(10*GiB, []part{{1, 1 * MiB, 10*GiB - 2*MiB, table.GPTLinuxLUKS}})
	n := 10*GiB - 2*MiB
	l := layout(10*GiB, t, map[int]plan.Content{1: {Type: plan.ContentLUKS, Offset: 16 * MiB, Size: n - 16*MiB}})
	if !open {
		l.Devices[1].Content = plan.Content{Type: plan.ContentLUKS, Problem: plan.Refuse(plan.LUKSLocked, "sda1", "locked")}
		return l
	}
	l.Devices = append(l.Devices, plan.Device{Name: "luks-sda1", Kind: plan.Crypt, Parent: "sda1", Size: n - 16*MiB, Content: fs("xfs", n-16*MiB)})
	return l
}

func whole(c plan.Content) *plan.Layout {
	return &plan.Layout{DiskLayout: plan.DiskLayout{Size: 10 * GiB, Sector: 512}, Devices: []plan.Device{{Name: "sda", Kind: plan.Disk, Size: 10 * GiB, Content: c}}}
}

func ids(p *plan.Plan) []string {
	var got []string
	for _, s := range p.Steps {
		got = append(got, s.ID())
	}
	return got
}

func TestBuild(t *testing.T) {
	around := func(inner ...string) []string {
		return append(append([]string{"overlay"}, inner...), "save-undo", "commit", "clean-up")
	}
	for name, c := range map[string]struct {
		layout  *plan.Layout
		request plan.Request
		steps   []string
		grows   string
		to      size.Bytes // new size of the target's device
	}{
		"cloud image": {cloud(), request("+10G"),
			around("check:sda1", "table:sda", "fs:sda1", "verify:sda1"), "sda1", 20*GiB - 129*MiB},
		"by another name of the disk": {cloud(), request("+10G", "/dev/vda1"),
			around("check:sda1", "table:sda", "fs:sda1", "verify:sda1"), "sda1", 20*GiB - 129*MiB},
		"nvme name": {cloud(), request("20G", "nvme0n1p1"),
			around("check:sda1", "table:sda", "fs:sda1", "verify:sda1"), "sda1", 20*GiB - 129*MiB},
		"volume by vg/lv": {volumes(), request("+10G", "vg/root"),
			around("check:vg/root", "table:sda", "pv:sda2", "lv:vg/root", "fs:vg/root", "verify:vg/root"), "vg/root", 17916 * MiB},
		"volume by mapper name, some of the room": {volumes(), request("+10G", "/dev/mapper/vg-home--data=+1G"),
			around("check:vg/home-data", "table:sda", "pv:sda2", "lv:vg/home-data", "fs:vg/home-data", "verify:vg/home-data"), "vg/home-data", 3 * GiB},
		"the group only": {volumes(), request("+10G", "sda2"),
			around("table:sda", "pv:sda2", "verify:sda2"), "sda2", 20*GiB - 513*MiB},
		"free extents are enough": {volumes(), request("fill", "vg/home-data=+100M"),
			around("check:vg/home-data", "lv:vg/home-data", "fs:vg/home-data", "verify:vg/home-data"), "vg/home-data", 2*GiB + 100*MiB},
		"LUKS": {vault(true), request("+10G"),
			around("check:luks-sda1", "table:sda", "crypt:luks-sda1", "fs:luks-sda1", "verify:luks-sda1"), "luks-sda1", 20*GiB - 18*MiB},
		"LUKS by its partition": {vault(true), request("+10G", "sda1"),
			around("check:luks-sda1", "table:sda", "crypt:luks-sda1", "fs:luks-sda1", "verify:luks-sda1"), "luks-sda1", 20*GiB - 18*MiB},
		"LUKS, some of the room": {vault(true), request("+10G", "sda1=12G"),
			around("check:luks-sda1", "table:sda", "crypt:luks-sda1", "fs:luks-sda1", "verify:luks-sda1"), "luks-sda1", 12 * GiB},
		"whole disk": {whole(fs("xfs", 10*GiB)), request("30G"),
			around("check:sda", "fs:sda", "verify:sda"), "sda", 30 * GiB},
		"container only": {cloud(), request("+10G", "none"), around(), "", 0},
		"partition only": {vault(false), plan.Request{Size: amount("+1G"), Grow: request("+1G", "sda1").Grow, PartitionOnly: true},
			around("table:sda", "verify:sda1"), "sda1", 11*GiB - 2*MiB},
		"all as asked": {cloud(), request("10G"), nil, "sda1", 10*GiB - 129*MiB},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, c.request)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.steps, ids(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if p.Grows != c.grows {
				t.Errorf("grows %q, want %q", p.Grows, c.grows)
			}
			if c.grows == "" {
				return
			}
			d, _ := p.After.Find(c.grows)
			if d.Size != c.to {
				t.Errorf("%s will have %d bytes (%s), want %s", c.grows, d.Size, d.Size, c.to)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	neighbour := func(kind string) *plan.Layout {
		t := gpt(10*GiB, []part{{1, 1 * MiB, 8 * GiB, ""}, {2, 9 * GiB, 512 * MiB, kind}})
		return layout(10*GiB, t, map[int]plan.Content{1: fs("xfs", 8*GiB), 2: {Type: "swap"}})
	}
	stay := request("+10G")
	stay.NoMove = true
	swap := request("+10G", "sda1")
	swap.NoMove, swap.Delete = true, []string{"sda3"}
	crowd := gpt(10*GiB, []part{{1, 1 * MiB, 8 * GiB, ""}, {2, 9 * GiB, 512 * MiB, table.GPTLinuxSwap}, {3, 9*GiB + 512*MiB, 256 * MiB, ""}})
	byOffset := func(at size.Bytes) *plan.Layout {
		l := neighbour(table.GPTLinux)
		l.ByOffset = []plan.Offset{{MountPoint: "/old", At: at}}
		return l
	}
	disk := func(c plan.Content) *plan.Layout {
		t := gpt(10*GiB, []part{{1, 1 * MiB, 10*GiB - 2*MiB, ""}})
		return layout(10*GiB, t, map[int]plan.Content{1: c})
	}
	old := func(size size.Bytes) *plan.Layout {
		t := mbr(size, []part{{number: 1, start: MiB, len: size - MiB}})
		return layout(size, t, map[int]plan.Content{1: fs("ext4", size-MiB)})
	}
	two := func() *plan.Layout {
		l := volumes()
		l.Devices[1].Content.Label = "boot"
		return l
	}
	capped := fs("ext4", 10*GiB-2*MiB)
	capped.Max = 16 * GiB
	missing := volumes()
	missing.Groups[0].Missing = 1
	damaged := disk(fs("xfs", 9*GiB))
	damaged.Table.Problems = []table.Problem{{Code: table.Overlap, Text: "overlap", Fatal: true}}
	fenced := plan.Content{Type: "BitLocker", Problem: plan.Refuse(plan.BitLocker, "sda1", "BitLocker")}
	for name, c := range map[string]struct {
		layout  *plan.Layout
		request plan.Request
		reason  plan.Reason
		says    string
	}{
		"shrink":                 {cloud(), request("9G"), plan.Shrink, "10 GiB"},
		"shrink the target":      {cloud(), request("+1G", "sda1=5G"), plan.Shrink, "sda1"},
		"neighbour, --no-move":   {neighbour(table.GPTLinuxSwap), stay, plan.ImmovableNeighbor, "sda2 (Linux swap, swap, 512 MiB)"},
		"--delete, --no-move":    {layout(10*GiB, crowd, map[int]plan.Content{1: fs("xfs", 8*GiB), 2: {Type: "swap"}}), swap, plan.ImmovableNeighbor, "sda2 (Linux swap, swap, 512 MiB)"},
		"mounted by offset":      {byOffset(9 * GiB), request("+10G"), plan.ImmovableNeighbor, "mounts /old by its offset"},
		"mounted by some offset": {byOffset(-1), request("+10G"), plan.ImmovableNeighbor, "mounts /old by its offset"},
		"BIOS boot":              {neighbour(table.GPTBIOSBoot), request("+10G"), plan.ImmovableNeighbor, "sector"},
		"PReP":                   {neighbour(table.GPTPReP), request("+10G"), plan.ImmovableNeighbor, "firmware"},
		"swap by itself":         {neighbour(table.GPTLinuxSwap), request("+10G", "sda2"), plan.UnknownContent, "swap"},
		"2 TiB":                  {old(2000 * GiB), request("3T"), plan.MBRLimit, "2 TiB"},
		"ambiguous":              {two(), request("+10G"), plan.AmbiguousTarget, "label boot"},
		"no such name":           {cloud(), request("+10G", "/data"), plan.NotFound, "sda1"},
		"no such partition":      {cloud(), request("+10G", "sda7"), plan.NotFound, "sda7"},
		"locked LUKS":            {vault(false), request("+10G"), plan.LUKSLocked, ""},
		"unknown content":        {disk(plan.Content{Type: plan.ContentUnknown}), request("+10G"), plan.UnknownContent, "unknown"},
		"unknown, named":         {disk(plan.Content{Type: plan.ContentUnknown}), request("+10G", "sda1"), plan.UnknownContent, "unknown"},
		"empty":                  {whole(plan.Content{}), request("+10G"), plan.UnknownContent, "empty"},
		"BitLocker":              {disk(fenced), request("+10G"), plan.BitLocker, ""},
		"file system's limit":    {disk(capped), request("+10G"), plan.FSLimit, "16 GiB"},
		"group's disks missing":  {missing, request("+10G", "vg/root"), plan.UnsupportedLayout, "on other disks"},
		"more than the group":    {volumes(), request("+1G", "vg/root=30G"), plan.NoRoom, "30 GiB"},
		"more than the disk":     {cloud(), request("+1G", "sda1=30G"), plan.NoRoom, "sda1"},
		"damaged table":          {damaged, request("+1G"), plan.TableDamaged, "overlap"},
		"a target twice":         {volumes(), request("+1G", "vg/root", "/dev/vg/root"), plan.AmbiguousTarget, "twice"},
		"container and more":     {volumes(), request("+1G", "none", "sda1"), plan.AmbiguousTarget, "none"},
		"two, too much":          {volumes(), request("+1G", "vg/root=+2G", "sda1=+2G"), plan.NoRoom, "are missing"},
		"partition-only of a LV": {volumes(), plan.Request{Size: amount("+1G"), Grow: request("+1G", "vg/root").Grow, PartitionOnly: true}, plan.UnsupportedLayout, "is not a partition"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Build(c.layout, target, c.request)
			r, ok := plan.IsRefusal(err)
			if !ok {
				t.Fatalf("not refused: %v, %v", ids2(p), err)
			}
			if r.Reason != c.reason || !strings.Contains(r.Text, c.says) {
				t.Errorf("%s: %s; want %s: …%s…", r.Reason, r.Text, c.reason, c.says)
			}
		})
	}
}

func ids2(p *plan.Plan) []string {
	if p == nil {
		return nil
	}
	return ids(p)
}

func TestBlockDeviceOnlyFills(t *testing.T) {
	device := target
	device.Block = true
	if _, err := plan.Build(cloud(), device, request("+10G")); err == nil {
		t.Error("a block device was to be made bigger")
	}
	p, err := plan.Build(cloud(), device, request("fill"))
	if err != nil || p.Changes() {
		t.Errorf("fill of a full device: %v, %v", ids2(p), err)
	}
}

func TestDrivesAndMounts(t *testing.T) {
	l := cloud()
	l.Devices[1].Content.Mounted = []string{"/"}
	l.Devices[3].Content.Mounted = []string{"C:"}
	for _, name := range []string{"/", "UUID=EXT4-uuid", "sda1"} {
		p, err := plan.Build(l, target, request("+1G", name))
		if err != nil || p.Grows != "sda1" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := plan.Build(l, target, request("+1G", "c:")); err == nil || !strings.Contains(err.Error(), "vfat") {
		t.Errorf("c: is FAT: %v", err)
	}
}

func TestPlanFile(t *testing.T) {
	for _, l := range []*plan.Layout{cloud(), volumes(), vault(true)} {
		p, err := plan.Build(l, target, request("+10G", grown(l)))
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := p.Write(&text); err != nil {
			t.Fatal(err)
		}
		again, err := plan.Read(&text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again, cmpopts.IgnoreFields(plan.Layout{}, "Table"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read back (-wrote +read):\n%s", diff)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{
		"", "{}", "null", `{"schema":"virt-grow/plan/v2"}`, `{"schema":"virt-grow/plan/v1","more":1}`,
		`{"schema":"virt-grow/plan/v1","target":{"path":"/a"},"old_size":2,"new_size":1}`,
		"[]", `{"schema":"virt-grow/plan/v1"} {}`,
	} {
		if _, err := plan.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as a plan", text)
		}
	}
}

// TestFingerprint checks that the fingerprint depends on the state that a plan relies
// on, and not on what a running guest changes all the time.
func TestFingerprint(t *testing.T) {
	was := cloud().Fingerprint()
	same := cloud()
	same.Devices[1].Content.Used = GiB
	same.Devices[1].Content.Notes = []string{"dirty"}
	if same.Fingerprint() != was {
		t.Error("used space changed the fingerprint")
	}
	changes := []func(*plan.Layout){
		func(l *plan.Layout) { l.Size++ },
		func(l *plan.Layout) { l.Devices[1].Content.UUID = "other" },
		func(l *plan.Layout) { l.Devices[1].Content.Size -= MiB },
		func(l *plan.Layout) {
			l.Table = gpt(10*GiB, []part{{1, 128 * MiB, 10*GiB - 129*MiB, ""}})
		},
		func(l *plan.Layout) { l.Groups = []plan.Group{{Name: "vg"}} },
	}
	for i, change := range changes {
		l := cloud()
		change(l)
		if l.Fingerprint() == was {
			t.Errorf("change %d does not show in the fingerprint", i)
		}
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]plan.Amount{
		"30G": {Mode: plan.Absolute, Bytes: 30 * GiB}, "+10G": {Mode: plan.Relative, Bytes: 10 * GiB},
		"fill": {Mode: plan.Fill}, " 1.5T ": {Mode: plan.Absolute, Bytes: 1536 * GiB}, "4096b": {Mode: plan.Absolute, Bytes: 4096},
		"60%": {Mode: plan.Share, Percent: 60}, "100%": {Mode: plan.Share, Percent: 100},
	} {
		if got, err := plan.ParseAmount(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "30", "-1G", "+", "G", "0G", "1e3G", "9999999P", "full", "0x10G", "+-1G", "NaNG", "InfG", "0%", "101%", "%", "1.5%", "+5%"} {
		if got, err := plan.ParseAmount(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

func TestWheres(t *testing.T) {
	for text, want := range map[string]plan.GrowTarget{
		"/data":         {Name: "/data", Amount: plan.Amount{Mode: plan.Fill}},
		"C:=+10G":       {Name: "C:", Amount: amount("+10G")},
		"UUID=ab-c":     {Name: "UUID=ab-c", Amount: plan.Amount{Mode: plan.Fill}},
		"UUID=ab-c=+1G": {Name: "UUID=ab-c", Amount: amount("+1G")},
		"LABEL=a b=20G": {Name: "LABEL=a b", Amount: amount("20G")},
		"none":          {Name: "none", Amount: plan.Amount{Mode: plan.Fill}},
	} {
		if got, err := plan.ParseGrowTarget(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=1G", "UUID=", "/=", "/=10", "none=1G", "/data=-1G"} {
		if got, err := plan.ParseGrowTarget(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

func TestWindowsAndLinuxRootWin(t *testing.T) {
	l := volumes()
	l.OS = &plan.OS{Type: "linux", Root: "vg/root"}
	p, err := plan.Build(l, target, request("+1G"))
	if err != nil || p.Grows != "vg/root" {
		t.Errorf("the root file system was not chosen: %v", err)
	}
	if plan.Look(windows(), request("+1G", "sda3")) != plan.LookAtFstab || plan.Look(windows(), request("+1G", "C:")) != plan.LookAtSystem {
		t.Error("whether something has to move decides")
	}
	if plan.Look(volumes(), request("+1G")) != plan.LookAtSystem || plan.Look(cloud(), request("+1G")) != plan.LookAtContents {
		t.Error("inspection is for a choice between several, and only for that")
	}
	if !slices.Contains(ids(p), "lv:vg/root") {
		t.Error(ids(p))
	}
}

// grown returns the last device that can grow.
func grown(l *plan.Layout) string {
	name := ""
	for _, d := range l.Devices {
		if d.Content.Growable() {
			name = d.Name
		}
	}
	return name
}
