package live

import (
	"errors"
	"maps"
	"math/rand"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// debian is the output of Probe in a Debian 12 with its root on vda, and data disks of
// every kind.
const debian = `NAME="/dev/vda" PKNAME="" TYPE="disk" SIZE="10737418240" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL=""
NAME="/dev/vda1" PKNAME="/dev/vda" TYPE="part" SIZE="10603200512" FSTYPE="ext4" MOUNTPOINT="/" UUID="3b2b1a1e-9f7b-4b8a-8b7d-6f1a2c3d4e5f" SERIAL=""
NAME="/dev/vda14" PKNAME="/dev/vda" TYPE="part" SIZE="3145728" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL=""
NAME="/dev/vda15" PKNAME="/dev/vda" TYPE="part" SIZE="130023424" FSTYPE="vfat" MOUNTPOINT="/boot/efi" UUID="CA5C-1F9C" SERIAL=""
NAME="/dev/vdb" PKNAME="" TYPE="disk" SIZE="21474836480" FSTYPE="xfs" MOUNTPOINT="/data" UUID="0c2e5b7a-0000-4000-8000-000000000001" SERIAL="d-0001"
NAME="/dev/vdc" PKNAME="" TYPE="disk" SIZE="21474836480" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL="d-0002"
NAME="/dev/vdc1" PKNAME="/dev/vdc" TYPE="part" SIZE="21472739328" FSTYPE="LVM2_member" MOUNTPOINT="" UUID="Zp1" SERIAL=""
NAME="/dev/mapper/vg--a-my--data" PKNAME="/dev/vdc1" TYPE="lvm" SIZE="10737418240" FSTYPE="xfs" MOUNTPOINT="/srv/my\x20data" UUID="0c2e5b7a-0000-4000-8000-000000000002" SERIAL=""
NAME="/dev/mapper/vg--a-logs" PKNAME="/dev/vdc1" TYPE="lvm" SIZE="1073741824" FSTYPE="ext4" MOUNTPOINT="/var/log" UUID="0c2e5b7a-0000-4000-8000-000000000003" SERIAL=""
NAME="/dev/sda" PKNAME="" TYPE="disk" SIZE="1073741824" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL="QEMU"
NAME="/dev/sda1" PKNAME="/dev/sda" TYPE="part" SIZE="1072693248" FSTYPE="" MOUNTPOINT="/mnt/b" UUID="" SERIAL=""
NAME="/dev/nvme0n1" PKNAME="" TYPE="disk" SIZE="1073741824" FSTYPE="" MOUNTPOINT="" UUID="" SERIAL=""
NAME="/dev/nvme0n1p1" PKNAME="/dev/nvme0n1" TYPE="part" SIZE="1072693248" FSTYPE="crypto_LUKS" MOUNTPOINT="" UUID="" SERIAL=""
NAME="/dev/mapper/safe" PKNAME="/dev/nvme0n1p1" TYPE="crypt" SIZE="1070596096" FSTYPE="ext4" MOUNTPOINT="/safe" UUID="" SERIAL=""
start /sys/class/block/vda1/start 262144
start /sys/class/block/vda14/start 2048
start /sys/class/block/vda15/start 8192
start /sys/class/block/vdc1/start 2048
start /sys/class/block/sda1/start 2048
start /sys/class/block/nvme0n1p1/start 2048
total 0
lrwxrwxrwx 1 root root 0 Nov 23 10:00 vda -> ../devices/pci0000:00/0000:00:05.0/virtio2/block/vda
lrwxrwxrwx 1 root root 0 Nov 23 10:00 vdb -> ../devices/pci0000:00/0000:00:06.0/virtio3/block/vdb
lrwxrwxrwx 1 root root 0 Nov 23 10:00 vdc -> ../devices/pci0000:00/0000:00:02.1/0000:07:00.0/virtio4/block/vdc
lrwxrwxrwx 1 root root 0 Nov 23 10:00 sda -> ../devices/pci0000:00/0000:00:08.0/virtio5/host2/target2:0:0/2:0:0:3/block/sda
mount /dev/vda1 / ext4 rw,relatime 0 0
mount /dev/vdb /data xfs rw,relatime 0 0
mount /dev/sda1 /mnt/b btrfs rw,relatime 0 0
btrfs 1
devid    1 size 1072693248 used 126000000 path /dev/sda1
lvs vg-a|my-data|linear|-wi-ao----
lvs vg-a|logs|linear|-wi-ao----
lvs vg-a|logs|linear|-wi-ao----
vgs vg-a|wz--n-
pvs /dev/vdc1|a--
tool growpart
tool sfdisk
tool partx
tool pvresize
tool vgs
tool lvextend
tool xfs_growfs
tool resize2fs
tool btrfs
`

func guestOf(t *testing.T, text string) Guest {
	t.Helper()
	g, err := ReadProbe(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestReadProbe(t *testing.T) {
	g := guestOf(t, debian)
	find := func(path string) Device {
		i := slices.IndexFunc(g.Devices, func(d Device) bool { return d.Path == path })
		if i < 0 {
			t.Fatalf("no %s", path)
		}
		return g.Devices[i]
	}
	for _, want := range []Device{
		{Path: "/dev/vdb", Kind: "disk", Size: 20 * size.GiB, FS: "xfs", Mounted: "/data", Mounts: []string{"/data"}, UUID: "0c2e5b7a-0000-4000-8000-000000000001", Serial: "d-0001", Address: "pci 0000:00:06.0"},
		{Path: "/dev/vdc", Kind: "disk", Size: 20 * size.GiB, Serial: "d-0002", Address: "pci 0000:07:00.0"},
		{Path: "/dev/sda", Kind: "disk", Size: size.GiB, Serial: "QEMU", Address: "pci 0000:00:08.0 scsi 0:3"},
		{Path: "/dev/sda1", Parent: "/dev/sda", Kind: "part", Start: size.MiB, Size: size.GiB - size.MiB, FS: "btrfs", Mounted: "/mnt/b", Mounts: []string{"/mnt/b"}},
		{Path: "/dev/mapper/vg--a-my--data", Parent: "/dev/vdc1", Kind: "lvm", Size: 10 * size.GiB, FS: "xfs", Mounted: "/srv/my data", UUID: "0c2e5b7a-0000-4000-8000-000000000002"},
	} {
		if diff := cmp.Diff(want, find(want.Path)); diff != "" {
			t.Errorf("%s: %s", want.Path, diff)
		}
	}
	if !g.Tools["growpart"] || g.Tools["sgdisk"] {
		t.Errorf("tools: %v", g.Tools)
	}
}

// TestReadTables checks that the MBR has priority over udev's data, which is used if the
// agent may not read the disk.
func TestReadTables(t *testing.T) {
	entry := func(kind string) string { return strings.Repeat("00 ", 4) + kind + strings.Repeat(" 00", 11) + " " }
	none := entry("00")
	for _, c := range []struct {
		text string
		want Table
	}{
		{"mbr vda " + entry("ee") + none + none + none + "55 aa", Table{Kind: table.GPT}},
		{"mbr vda " + entry("83") + entry("05") + none + none + "55 aa\npttype /dev/vda gpt", Table{Kind: table.MBR, Extended: []int{2}}},
		{"mbr vda\npttype /dev/vda gpt\nsector vda 4096", Table{Kind: table.GPT, Sector: 4096}},
		{"pttype /dev/vda dos", Table{Kind: table.MBR}},
		{"pttype /dev/vda", Table{}},
		{"mbr vda " + none + none + none + none + "00 00", Table{}},
	} {
		g := guestOf(t, `NAME="/dev/vda" TYPE="disk" SIZE="5"`+"\n"+c.text+"\n")
		if diff := cmp.Diff(c.want, g.Tables["/dev/vda"]); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

func TestReadProbeRefuses(t *testing.T) {
	for _, text := range []string{
		"", "hello", `NAME="/dev/vda`, `NAME="vda" TYPE="disk"`, `NAME="/dev/vda" TYPE="disk" SIZE="-1"`,
		`NAME="/dev/vda" TYPE="disk" SIZE="99999999999999999999"`,
		"start /sys/class/block/vda1/start x\n", "start /sys/class/block/vda1/start 99999999999999999\n",
		strings.Repeat(`NAME="/dev/vda" TYPE="disk" SIZE="1"`+"\n", maxDevices+1),
	} {
		if g, err := ReadProbe(text); err == nil {
			t.Errorf("%.60q is read as %.200v", text, g)
		}
	}
}

// TestProbe runs the probe script on this host.
func TestProbe(t *testing.T) {
	argv := Probe()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	g, err := ReadProbe(string(out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !g.Tools["sfdisk"] {
		t.Errorf("tools: %v", g.Tools)
	}
}

func TestDisks(t *testing.T) {
	g := guestOf(t, debian)
	for _, c := range []struct {
		what  string
		meant Disk
		want  string
	}{
		{"two of a size", Disk{}, "/dev/vdb /dev/vdc"},
		{"by serial number", Disk{Serial: "d-0002"}, "/dev/vdc"},
		{"by place", Disk{Address: PCIAddress(0, 0, 6, 0)}, "/dev/vdb"},
		{"by place, with another serial number", Disk{Serial: "x", Address: PCIAddress(0, 7, 0, 0)}, "/dev/vdb /dev/vdc"},
		{"nowhere", Disk{Serial: "x", Address: "pci 0000:09:00.0"}, "/dev/vdb /dev/vdc"},
	} {
		var got []string
		for _, d := range g.Disks(20*size.GiB, c.meant) {
			got = append(got, d.Path)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, c.want)
		}
	}
	after := guestOf(t, strings.Replace(debian, `"/dev/vdc" PKNAME="" TYPE="disk" SIZE="21474836480"`, `"/dev/vdc" PKNAME="" TYPE="disk" SIZE="32212254720"`, 1))
	if d, ok := after.Grown(g, 20*size.GiB, 30*size.GiB, Disk{}); !ok || d.Path != "/dev/vdc" {
		t.Errorf("it is %s that has grown (%v)", d.Path, ok)
	}
	if d, ok := g.Grown(g, 20*size.GiB, 30*size.GiB, Disk{}); ok {
		t.Errorf("%s has grown", d.Path)
	}
}

func TestCommands(t *testing.T) {
	g := guestOf(t, debian)
	lvm := []string{"growpart /dev/vdc 1", "pvresize /dev/vdc1", "vgs --noheadings -o vg_free_count vg-a"}
	for _, c := range []struct {
		what, disk, where string
		to                size.Bytes
		without           string // the tool that the guest lacks
		want              []string
		refused           plan.Reason
	}{
		{what: "a whole disk", disk: "/dev/vdb", to: 30 * size.GiB, want: []string{"xfs_growfs /data"}},
		{what: "the root", disk: "/dev/vda", to: 20 * size.GiB, want: []string{"growpart /dev/vda 1", "resize2fs /dev/vda1"}},
		{what: "without growpart", disk: "/dev/vda", to: 20 * size.GiB, without: "growpart",
			want: []string{"echo ', +' | sfdisk --no-reread --force -N 1 /dev/vda", "partx --update --nr 1 /dev/vda", "resize2fs /dev/vda1"}},
		{what: "two volumes", disk: "/dev/vdc", to: 30 * size.GiB, refused: plan.AmbiguousTarget},
		{what: "one of them", disk: "/dev/vdc", where: "/srv/my data", to: 30 * size.GiB,
			want: append(slices.Clone(lvm), "lvextend -l +100%FREE vg-a/my-data", "xfs_growfs '/srv/my data'")},
		{what: "by its name", disk: "/dev/vdc", where: "vg-a/logs", to: 30 * size.GiB,
			want: append(slices.Clone(lvm), "lvextend -l +100%FREE vg-a/logs", "resize2fs /dev/mapper/vg--a-logs")},
		{what: "the partition is big enough", disk: "/dev/vdc", where: "vg-a/logs", to: 20 * size.GiB,
			want: append(slices.Clone(lvm[1:]), "lvextend -l +100%FREE vg-a/logs", "resize2fs /dev/mapper/vg--a-logs")},
		{what: "known only as mounted", disk: "/dev/sda", to: 2 * size.GiB, want: []string{"growpart /dev/sda 1", "btrfs filesystem resize max /mnt/b"}},
		{what: "not there", disk: "/dev/vdb", where: "/nowhere", to: 30 * size.GiB, refused: plan.NotFound},
		{what: "not the last", disk: "/dev/vda", where: "/boot/efi", to: 20 * size.GiB, refused: plan.ImmovableNeighbor},
		{what: "the PV itself", disk: "/dev/vdc", where: "vdc1", to: 30 * size.GiB, want: []string{"growpart /dev/vdc 1", "pvresize /dev/vdc1"}},
		{what: "by its UUID", disk: "/dev/vdb", where: "UUID=0C2E5B7A-0000-4000-8000-000000000001", to: 30 * size.GiB, want: []string{"xfs_growfs /data"}},
		{what: "an EFI partition that is last", disk: "/dev/vda", where: "vda15", to: 20 * size.GiB, refused: plan.ImmovableNeighbor},
		{what: "no lvextend", disk: "/dev/vdc", where: "vg-a/logs", to: 30 * size.GiB, without: "lvextend", refused: plan.ToolMissing},
		{what: "an MBR beyond 2 TiB", disk: "/dev/vda", to: 3 * size.TiB, refused: plan.MBRLimit},
		{what: "encrypted", disk: "/dev/nvme0n1", to: 2 * size.GiB, refused: plan.UnsupportedLayout},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := g
			if c.without != "" {
				g.Tools = maps.Clone(g.Tools)
				delete(g.Tools, c.without)
			}
			stack, err := g.Stack(c.disk, c.where)
			var commands []Command
			if err == nil {
				commands, err = g.Commands(stack, c.to)
			}
			var r *plan.Refusal
			if errors.As(err, &r); (r == nil && c.refused != "") || (r != nil && r.Reason != c.refused) {
				t.Fatalf("%v", err)
			}
			var lines []string
			for _, c := range commands {
				lines = append(lines, c.Line())
			}
			if diff := cmp.Diff(c.want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnmounted checks that an unmounted file system that only grows mounted is refused
// beforehand.
func TestUnmounted(t *testing.T) {
	text := strings.Replace(debian, `MOUNTPOINT="/data"`, `MOUNTPOINT=""`, 1)
	g := guestOf(t, strings.Replace(text, "mount /dev/vdb /data xfs rw,relatime 0 0\n", "", 1))
	stack, err := g.Stack("/dev/vdb", "")
	if err == nil {
		_, err = g.Commands(stack, 30*size.GiB)
	}
	if r, ok := plan.IsRefusal(err); !ok || r.Reason != plan.UnsupportedLayout {
		t.Error(err)
	}
}

// TestFromLayout checks that mount points are taken from the guest if the image was only
// inspected.
func TestFromLayout(t *testing.T) {
	l := &plan.Layout{Devices: []plan.Device{
		{Name: "sda", Kind: plan.Disk, Size: 20 * size.GiB},
		{Name: "sda1", Kind: plan.Partition, Parent: "sda", Number: 1, Start: size.MiB, Size: 20*size.GiB - 2*size.MiB, Content: plan.Content{Type: plan.ContentPV, Group: "vg"}},
		{Name: "vg/data", Kind: plan.LV, Group: "vg", Size: 19 * size.GiB, Content: plan.Content{Type: "xfs", UUID: "0c2e-1"}},
	}, Groups: []plan.Group{{Name: "vg", PVs: []string{"sda1"}}}}
	g := FromLayout(l, "nvme0n1")
	stack, err := g.Stack("/dev/nvme0n1", "")
	if err != nil {
		t.Fatal(err)
	}
	commands, err := g.Commands(stack, 30*size.GiB)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range commands {
		lines = append(lines, c.Line())
	}
	want := []string{"growpart /dev/nvme0n1 1", "pvresize /dev/nvme0n1p1", "vgs --noheadings -o vg_free_count vg",
		"lvextend -l +100%FREE vg/data", `xfs_growfs "$(findmnt -n -o TARGET --source UUID=0c2e-1)"`}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// TestFromLayoutSwapLast checks that the root is the target also if the image is read,
// and that the message names the partition behind it.
func TestFromLayoutSwapLast(t *testing.T) {
	l := &plan.Layout{OS: &plan.OS{Type: "linux", Root: "sda2"}, Devices: []plan.Device{
		{Name: "sda", Kind: plan.Disk, Size: 2 * size.GiB},
		{Name: "sda1", Kind: plan.Partition, Parent: "sda", Number: 1, Start: size.MiB, Size: 36 * size.MiB, Content: plan.Content{Type: "vfat"}},
		{Name: "sda2", Kind: plan.Partition, Parent: "sda", Number: 2, Start: 37 * size.MiB, Size: size.GiB, Content: plan.Content{Type: "ext4", Mounted: []string{"/"}}},
		{Name: "sda3", Kind: plan.Partition, Parent: "sda", Number: 3, Start: 37*size.MiB + size.GiB, Size: 62 * size.MiB, Content: plan.Content{Type: "swap"}},
	}}
	for where, want := range map[string]plan.Reason{"": plan.ImmovableNeighbor, "/": plan.ImmovableNeighbor, "vda3": plan.UnknownContent} {
		g := FromLayout(l, "vda")
		stack, err := g.Stack("/dev/vda", where)
		if err == nil {
			_, err = g.Commands(stack, 3*size.GiB)
		}
		if r, ok := plan.IsRefusal(err); !ok || r.Reason != want {
			t.Errorf("%q: %v", where, err)
		}
	}
}

// TestLineIsOneCommand checks that a shell reads a printed line as one command with the
// same words, whatever the names of the guest's devices are.
func TestLineIsOneCommand(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	alphabet := []rune("aZ0 '\"\\$`;&|<>(){}*?!#~=\n\té-/")
	for range 300 {
		word := make([]rune, 1+r.Intn(12))
		for i := range word {
			word[i] = alphabet[r.Intn(len(alphabet))]
		}
		c := Command{Argv: []string{"printf", "%s.", string(word), "end"}}
		out, err := exec.Command("sh", "-c", c.Line()).Output()
		if err != nil || string(out) != string(word)+".end." {
			t.Fatalf("%q: %q (%v)", c.Line(), out, err)
		}
	}
}

// TestNames converts a volume's name to the device mapper's name and back.
func TestNames(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	name := func() string {
		b := []byte("a")
		for range r.Intn(6) {
			b = append(b, "a-_.9"[r.Intn(5)])
		}
		return string(append(b, 'z'))
	}
	for range 2000 {
		vg, lv := name(), name()
		gotVG, gotLV, ok := volume(Device{Path: "/dev/mapper/" + mapperName(vg+"/"+lv)})
		if !ok || gotVG != vg || gotLV != lv {
			t.Fatalf("%s/%s comes back as %s/%s (%v)", vg, lv, gotVG, gotLV, ok)
		}
	}
}

func FuzzReadProbe(f *testing.F) {
	f.Add(debian)
	f.Add(`NAME="\x2fdev/vda" TYPE="disk" SIZE="5"`)
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ReadProbe(text)
		if err != nil {
			return
		}
		for _, d := range g.Devices {
			if d.Size < 0 || d.Start < 0 || !strings.HasPrefix(d.Path, "/dev/") {
				t.Errorf("%+v", d)
			}
			if d.Kind != "disk" {
				continue
			}
			stack, err := g.Stack(d.Path, "")
			if err != nil {
				continue
			}
			commands, err := g.Commands(stack, d.Size+size.GiB)
			if err != nil && commands != nil {
				t.Errorf("%v, and %v", err, commands)
			}
			if err != nil || len(stack) < 2 {
				continue
			}
			for _, o := range g.children(d.Path) {
				if o.Kind == "part" && o.Start > stack[1].Start {
					t.Errorf("%s stands behind %s: %v", o.Path, stack[1].Path, commands)
				}
			}
		}
	})
}
