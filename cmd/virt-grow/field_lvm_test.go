package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/lvm"
	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/testimages/lab"
	"github.com/virt-grow/virt-grow/testimages/level"
)

// fieldDisk is a disk of a size in MiB with a GPT. A partition is its first sector and
// its length.
type fieldDisk struct {
	name  string
	mib   int
	parts [][2]int
}

// fieldDisks makes disks, and runs the lines in one appliance with all of them. In the
// lines, P/NAME-NUMBER is a partition (/dev/disk/by-partlabel/NAME-NUMBER).
func fieldDisks(t *testing.T, dir string, lines []string, disks ...fieldDisk) {
	t.Helper()
	var paths []string
	for _, d := range disks {
		path := filepath.Join(dir, d.name+".raw")
		script := "label: gpt\n"
		for i, p := range d.parts {
			script += fmt.Sprintf("start=%d, size=%d, type=L, name=%s-%d\n", p[0], p[1], d.name, i+1)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, int64(d.mib)<<20); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sfdisk", "-q", path)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		paths = append(paths, path)
	}
	var commands strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&commands, "debug sh \"(%s) 2>&1\"\n", strings.ReplaceAll(line, "P/", "/dev/disk/by-partlabel/"))
	}
	t.Log(fish(t, "--rw", commands.String(), paths...))
}

// fieldRun grows an image, and returns the exit code and the last event.
func fieldRun(t *testing.T, image string, words ...string) (exit int, result struct{ Reason, Error, Hint string }) {
	t.Helper()
	r := try(t, shortState(t), append([]string{"--json", "grow", image, "--yes"}, words...)...)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		t.Fatalf("%s\n%s", r.out, r.err)
	}
	return r.exit, result
}

// shortState returns a state directory whose path is short enough for a socket;
// t.TempDir contains the test's name.
func shortState(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vgs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fieldLayout returns what inspect reports about an image.
func fieldLayout(t *testing.T, image string) (sizes, contents map[string]int64) {
	t.Helper()
	r := try(t, t.TempDir(), "--json", "inspect", image)
	var document struct {
		Layout struct {
			Devices []struct {
				Name    string
				Size    int64
				Content struct{ Size int64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &document); err != nil {
		t.Fatalf("%s\n%s", r.out, r.err)
	}
	sizes, contents = map[string]int64{}, map[string]int64{}
	for _, d := range document.Layout.Devices {
		sizes[d.Name], contents[d.Name] = d.Size, d.Content.Size
	}
	return sizes, contents
}

func hashOf(t *testing.T, path string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// TestFieldVolumes checks common volume groups. Volumes that LVM can grow are grown to
// exactly the size that was shown; others are refused before any change.
func TestFieldVolumes(t *testing.T) {
	level.Need(t, level.All)
	dir := t.TempDir()
	one := [][2]int{{2048, 264192}} // 129 MiB
	fieldDisks(t, dir, []string{
		"lvm pvcreate -y --pvmetadatacopies 2 P/mdas-1 && lvm vgcreate mdas P/mdas-1 && lvm lvcreate -y -Wn -L 100M -n d mdas && mkfs.ext4 -q /dev/mdas/d",
		"lvm vgcreate striped P/striped-1 P/striped-2 && lvm lvcreate -y -Wn -i2 -L 200M -n d striped && mkfs.ext4 -q /dev/striped/d",
		"lvm pvcreate -y --dataalignment 512k --metadatasize 1200k P/half-1 && lvm vgcreate -s 512k half P/half-1 && lvm lvcreate -y -Wn -l 101 -n d half && mkfs.ext4 -q /dev/half/d",
		"lvm vgcreate fixed P/fixed-1 && lvm lvcreate -y -Wn -L 60M -n d fixed && mkfs.ext4 -q /dev/fixed/d && lvm pvchange -xn P/fixed-1",
		"lvm pvcreate -y --dataalignment 3M --setphysicalvolumesize 64M P/small-1 && lvm vgcreate small P/small-1 && lvm lvcreate -y -Wn -L 40M -n d small && lvm lvchange --alloc contiguous small/d && mkfs.ext4 -q /dev/small/d",
		"lvm vgcreate pair P/pair-1 P/other-1 && lvm lvcreate -y -Wn -L 20M -n near pair P/pair-1 && lvm lvcreate -y -Wn -L 180M -n d pair && mkfs.ext4 -q /dev/pair/d && mkfs.ext4 -q /dev/pair/near",
		"lvm vgcreate own P/whose-1 && lvm lvcreate -y -Wn -L 20M -n d own && lvm lvcreate -y -Wn -L 4M -n skip own && mkfs.ext4 -q /dev/own/d && lvm lvchange -ky own/skip",
		"lvm vgcreate exported P/whose-2 && lvm lvcreate -y -Wn -L 20M -n d exported && lvm vgchange -an exported && lvm vgexport exported",
		"lvm vgcreate foreign P/whose-3 && lvm lvcreate -y -Wn -L 20M -n d foreign && lvm vgchange -an foreign",
		"lvm vgcreate spare P/whose-4",
		"mkfs.ext4 -q P/whose-5 && lvm vgchange -y --systemid otherhost foreign",
		"lvm vgchange -an mdas striped half fixed small pair own",
	},
		fieldDisk{"mdas", 131, one}, fieldDisk{"half", 131, one}, fieldDisk{"fixed", 131, one}, fieldDisk{"small", 131, one},
		fieldDisk{"striped", 402, [][2]int{{2048, 307200}, {309248, 307200}}},
		fieldDisk{"pair", 131, one}, fieldDisk{"other", 131, one},
		fieldDisk{"whose", 400, [][2]int{{2048, 65536}, {67584, 65536}, {133120, 65536}, {198656, 65536}, {264192, 204800}}})
	// A group that LVM refuses does not hide the others.
	r := try(t, t.TempDir(), "--json", "df", filepath.Join(dir, "whose.raw"))
	if r.exit != 0 || !strings.Contains(r.out, `"own/d"`) || strings.Contains(r.out, `"foreign/d"`) {
		t.Errorf("df: exit %d\n%s%s", r.exit, r.out, r.err)
	}
	const mib = int64(1) << 20
	for _, c := range []struct {
		image string
		words string
		exit  int
		says  string
		hint  string
		pv    int64 // of sda1, or 0
		lv    map[string]int64
	}{
		{image: "mdas", words: "--size +512M --grow mdas/d", pv: 636 * mib, lv: map[string]int64{"mdas/d": 636 * mib}},
		// The extents are half a MiB large and begin at 1.5 MiB; libguestfs's lvresize
		// only takes whole MiB.
		{image: "half", words: "--size +300M --grow half/d=+101M", pv: 427*mib + mib/2, lv: map[string]int64{"half/d": 152 * mib}},
		{image: "half", words: "--size fill --grow half/d", pv: 427*mib + mib/2, lv: map[string]int64{"half/d": 427*mib + mib/2}},
		// 129 + 300 MiB, less 3 MiB at the start, in extents of 4 MiB.
		{image: "small", words: "--size +300M --grow small/d", pv: 424 * mib, lv: map[string]int64{"small/d": 424 * mib}},
		{image: "whose", words: "--size +100M --grow own/d --no-move", exit: 3, says: "sda2"},
		{image: "whose", words: "--size +100M --grow own/skip", exit: 3, says: "own/skip is not activated"},
		{image: "whose", words: "--size +100M --grow foreign/d", exit: 3, says: `belongs to another host: its system ID is "otherhost"`, hint: "virt-grow online"},
		{image: "whose", words: "--size +100M --grow exported/d", exit: 3, says: "is exported"},
		{image: "whose", words: "--size +100M --grow sda5"},
		{image: "whose", words: "--size +100M --grow own/d", lv: map[string]int64{"own/d": 124 * mib}},
		{image: "striped", words: "--size +256M --grow striped/d", exit: 3, says: "is striped over 2 PVs"},
		{image: "fixed", words: "--size +256M --grow fixed/d", exit: 3, says: "pvchange -xn"},
		{image: "pair", words: "--size +256M --grow pair/d", exit: 3, says: "has 1 PV(s) on other disks", hint: "name the domain instead of the image"},
		{image: "pair", words: "--size +256M --grow pair/near", exit: 3, says: "has 1 PV(s) on other disks", hint: "name the domain instead of the image"},
	} {
		t.Run(c.image+" "+c.words, func(t *testing.T) {
			image := filepath.Join(dir, c.image+".raw")
			was := hashOf(t, image)
			exit, result := fieldRun(t, image, strings.Fields(c.words)...)
			if exit != c.exit || !strings.Contains(result.Error, c.says) || !strings.Contains(result.Hint, c.hint) {
				t.Fatalf("exit %d, %+v", exit, result)
			}
			if c.exit == 3 {
				if hashOf(t, image) != was {
					t.Error("the image is not what it was")
				}
				if !strings.Contains(c.words, "--no-move") && result.Reason != "unsupported-layout" {
					t.Errorf("reason %q", result.Reason)
				}
				return
			}
			sizes, contents := fieldLayout(t, image)
			if c.pv != 0 && contents["sda1"] != c.pv {
				t.Errorf("the PV has %d bytes, want %d", contents["sda1"], c.pv)
			}
			for name, want := range c.lv {
				if sizes[name] != want || contents[name] != want {
					t.Errorf("%s has %d bytes, and holds %d, want %d", name, sizes[name], contents[name], want)
				}
			}
		})
	}
}

// pvOf reads a PV's metadata from an image, and returns its size and the size that
// pvresize gives it in a partition of that length.
func pvOf(t *testing.T, image string, start, length size.Bytes) (now, grown size.Bytes) {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	data = data[start : start+length]
	label, err := lvm.ReadLabel(data)
	if err != nil {
		t.Fatal(err)
	}
	area := label.Metadata[0]
	text, used, err := lvm.ReadHeader(data[area.Offset:], area)
	if err != nil || !used {
		t.Fatal(used, err)
	}
	var all []byte
	for _, p := range text.Pieces() {
		all = append(all, data[p.Offset:p.Offset+p.Size]...)
	}
	g, err := text.Group(all)
	if err != nil {
		t.Fatal(err)
	}
	pv, _ := g.PV(label.UUID)
	return size.Bytes(pv.Count) * g.Extent, (length - pv.Start - label.Tail()).Down(g.Extent)
}

// TestPVSizes compares the computed size of a PV with LVM's own result, for PVs that are
// resized to their larger partitions.
func TestPVSizes(t *testing.T) {
	level.Need(t, level.Long)
	dir := t.TempDir()
	disk := fieldDisk{name: "many", mib: 2}
	lines, resize := []string{}, []string{}
	for i, options := range []struct{ pv, vg string }{
		{"", ""}, {"--pvmetadatacopies 2", ""}, {"--pvmetadatacopies 2 --metadatasize 5m", ""}, {"--pvmetadatacopies 2 --dataalignment 3m", "-s 1m"},
		{"--dataalignment 8m", "-s 2m"}, {"--dataalignment 384k --metadatasize 300k", "-s 128k"}, {"--dataalignmentoffset 7s", "-s 512k"},
		{"--pvmetadatacopies 2 --metadatasize 700k", "-s 384k"}, {"--bootloaderareasize 2m", "-s 8m"}, {"--pvmetadatacopies 2 --metadatasize 2m", "-s 32m"},
	} {
		n := 100*2048 + i*1000 // sectors
		disk.parts = append(disk.parts, [2]int{disk.mib * 2048, n})
		disk.mib += n/2048 + 1
		name := fmt.Sprintf("P/many-%d", i+1)
		lines = append(lines, fmt.Sprintf("lvm pvcreate -y --setphysicalvolumesize 50m %s %s && lvm vgcreate %s vg%d %s", options.pv, name, options.vg, i, name))
		resize = append(resize, fmt.Sprintf("debug sh \"lvm pvresize /dev/disk/by-partlabel/many-%d 2>&1\"", i+1))
	}
	disk.mib += 2
	fieldDisks(t, dir, lines, disk)
	image := filepath.Join(dir, "many.raw")
	var want []size.Bytes
	for _, p := range disk.parts {
		now, grown := pvOf(t, image, size.Bytes(p[0])*512, size.Bytes(p[1])*512)
		if now >= grown {
			t.Errorf("a PV of %d cannot grow to %d", now, grown)
		}
		want = append(want, grown)
	}
	fish(t, "--rw", strings.Join(resize, "\n")+"\n", image)
	for i, p := range disk.parts {
		if now, _ := pvOf(t, image, size.Bytes(p[0])*512, size.Bytes(p[1])*512); now != want[i] {
			t.Errorf("%s: LVM made it %d, want %d", lines[i], now, want[i])
		}
	}
}

// TestFieldArrays checks that arrays, which udev in the appliance assembles even if a
// member is missing, keep their partitions from being changed. A plain partition beside
// them can be grown. A member can be grown alone, unless its metadata is at its end.
func TestFieldArrays(t *testing.T) {
	level.Need(t, level.All)
	dir := t.TempDir()
	create := "mdadm --create MD --level=1 --raid-devices=2 --run"
	lines := []string{
		create + " --metadata=1.2 P/beside-1 missing && mdadm --stop MD",
		create + " --metadata=1.0 P/beside-2 P/beside-3 && mkfs.ext4 -q MD && mdadm --wait MD; mdadm --stop MD",
		// One half is on a disk that is not attached, so the array stays inactive.
		create + " --metadata=1.2 P/beside-4 P/away-1 && mdadm --wait MD; mdadm --stop MD",
		"mkfs.xfs -q P/beside-5",
		create + " --metadata=1.2 P/onmd-1 P/onmd-2 && lvm vgcreate onmd MD && lvm lvcreate -y -Wn -L 20M -n d onmd && mkfs.ext4 -q /dev/onmd/d && lvm vgchange -an onmd && mdadm --wait MD; mdadm --stop MD",
		"mkfs.ext4 -q P/onmd-3",
		create + " --metadata=0.90 P/v09-1 missing && mkfs.ext4 -q MD && mdadm --stop MD",
		create + " --metadata=1.0 P/v10-1 missing && mkfs.ext4 -q MD && mdadm --stop MD",
		create + " --metadata=1.2 P/v12-1 missing && mkfs.ext4 -q MD && mdadm --stop MD",
	}
	for i := range lines { // a name that was just in use may be busy for a moment
		lines[i] = strings.ReplaceAll(lines[i], "MD", fmt.Sprintf("/dev/md%d", 9-i))
	}
	fieldDisks(t, dir, lines,
		fieldDisk{"beside", 500, [][2]int{{2048, 65536}, {67584, 65536}, {133120, 65536}, {198656, 32768}, {231424, 753664}}},
		fieldDisk{"away", 20, [][2]int{{2048, 32768}}},
		fieldDisk{"onmd", 300, [][2]int{{2048, 131072}, {133120, 131072}, {264192, 204800}}},
		fieldDisk{"v09", 300, [][2]int{{2048, 262144}}}, fieldDisk{"v10", 300, [][2]int{{2048, 262144}, {264192, 65536}}}, fieldDisk{"v12", 300, [][2]int{{2048, 262144}}})
	const mib = int64(1) << 20
	for _, c := range []struct {
		image, words string
		exit         int
		says         string
		grown        string
		size         int64
	}{
		{image: "beside", words: "--size +512M --grow sda5", grown: "sda5", size: 898 * mib},
		{image: "onmd", words: "--size +100M --grow sda3", grown: "sda3", size: 200*mib + 70*mib},
		{image: "v09", words: "--size +256M --grow sda1 --partition-only", exit: 3, says: "metadata 0.90"},
		{image: "v10", words: "--size +256M --grow sda1 --partition-only", exit: 3, says: "metadata 1.0"},
		{image: "v12", words: "--size +256M --grow sda1 --partition-only", grown: "sda1", size: 554 * mib},
	} {
		t.Run(c.image, func(t *testing.T) {
			image := filepath.Join(dir, c.image+".raw")
			was := hashOf(t, image)
			exit, result := fieldRun(t, image, strings.Fields(c.words)...)
			if exit != c.exit || !strings.Contains(result.Error, c.says) {
				t.Fatalf("exit %d, %+v", exit, result)
			}
			if c.exit == 3 {
				if result.Reason != "unsupported-layout" || hashOf(t, image) != was {
					t.Errorf("reason %q; or the image is not what it was", result.Reason)
				}
				return
			}
			if n := partitionSize(t, image, c.grown); n < c.size-2*mib || n > c.size+2*mib {
				t.Errorf("%s has %d bytes, want some %d", c.grown, n, c.size)
			}
		})
	}
	// The member is still found, and is unchanged.
	out := fish(t, "--ro", "debug sh \"mdadm --examine /dev/sda1\"\n", filepath.Join(dir, "v12.raw"))
	if !strings.Contains(out, "Version : 1.2") || !strings.Contains(out, "Raid Devices : 2") {
		t.Errorf("mdadm --examine:\n%s", out)
	}
}

// partitionSize returns a partition's size as sfdisk reports it.
func partitionSize(t *testing.T, image, name string) int64 {
	t.Helper()
	out, err := exec.Command("sfdisk", "--json", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Node string
				Size int64
			}
		}
	}
	if err := json.Unmarshal(out, &table); err != nil {
		t.Fatal(err)
	}
	for _, p := range table.PartitionTable.Partitions {
		if p.Node == image+strings.TrimPrefix(name, "sda") {
			return p.Size * 512
		}
	}
	t.Fatalf("no %s in %s", name, out)
	return 0
}

// TestFieldEnds checks that metadata in the last sectors of a partition keeps its place.
func TestFieldEnds(t *testing.T) {
	level.Need(t, level.Long)
	const sectors = 262144
	for _, c := range []struct {
		name  string
		at    int // in sectors, before the partition's end
		bytes string
		ufs   bool
		words string
		exit  int
		says  string
	}{
		{name: "ufs", ufs: true},
		{name: "geom", ufs: true, at: 1, bytes: "GEOM::JOURNAL", exit: 3, says: "GEOM::JOURNAL"},
		{name: "eli", at: 1, bytes: "GEOM::ELI", words: "--even-unknown", exit: 3, says: "GEOM::ELI"},
		{name: "unknown", at: sectors, bytes: "what only its owner knows", exit: 3, says: "unknown content"},
		{name: "known", at: sectors, bytes: "what only its owner knows", words: "--even-unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "a.raw")
			data := make([]byte, 140<<20)
			if c.ufs {
				copy(data[2048*512+65536+1372:], "\x19\x01\x54\x19")
			}
			copy(data[(2048+sectors-c.at)*512:], c.bytes)
			if err := os.WriteFile(image, data, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sfdisk", "-q", image)
			cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\n2048,%d,L\n", sectors))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			was := hashOf(t, image)
			exit, result := fieldRun(t, image, append(strings.Fields(c.words), "--size", "+64M", "--grow", "sda1", "--partition-only")...)
			if exit != c.exit || !strings.Contains(result.Error, c.says) {
				t.Fatalf("exit %d, %+v", exit, result)
			}
			if c.exit == 3 && (result.Reason != "unsupported-layout" || result.Hint == "" || hashOf(t, image) != was) {
				t.Errorf("%+v; or the image is not what it was", result)
			}
		})
	}
}

// TestFieldGroupOverDisks grows a volume on two disks of a running guest, in a trial of
// all its disks and online. A growth of one of its images alone is refused, with a hint.
func TestFieldGroupOverDisks(t *testing.T) {
	level.Need(t, level.Long)
	h := newEnv(t)
	root := filepath.Join(h.dir, "root.qcow2")
	if err := lab.Image(context.Background(), "xfs", "qcow2", root); err != nil {
		t.Fatal(err)
	}
	fieldDisks(t, h.dir, []string{
		"lvm vgcreate pair P/one-1 P/two-1 && lvm lvcreate -y -Wn -L 400M -n data pair && mkfs.xfs -q /dev/pair/data && lvm vgchange -an pair",
	}, fieldDisk{"one", 252, [][2]int{{2048, 512000}}}, fieldDisk{"two", 252, [][2]int{{2048, 512000}}})
	spec := lab.Spec{Cmdline: []string{"load=ext4,dm-mod"}, Disks: []lab.Disk{{Path: root, Format: "qcow2", Target: "vda"}}}
	for i, name := range []string{"one", "two"} {
		path := filepath.Join(h.dir, name+".raw")
		openTo(t, path)
		spec.Disks = append(spec.Disks, lab.Disk{Path: path, Format: "raw", Target: fmt.Sprintf("vd%c", 'b'+i)})
	}
	x := h.start(t, "pair", spec, false)
	x.inside(t, "vgchange -a y; mkdir -p /mnt/data && mount -t xfs /dev/mapper/pair-data /mnt/data && echo kept > /mnt/data/f")
	was := x.total(t, "/mnt/data")

	alone := filepath.Join(h.dir, "two.raw")
	if err := exec.Command("cp", alone, alone+".copy").Run(); err != nil {
		t.Fatal(err)
	}
	exit, refused := fieldRun(t, alone+".copy", "--format", "raw", "--size", "+256M", "--grow", "pair/data")
	if exit != 3 || refused.Reason != "unsupported-layout" || !strings.Contains(refused.Error, "has 1 PV(s)") || !strings.Contains(refused.Hint, "name the domain instead of the image") {
		t.Errorf("an image alone: exit %d, %+v", exit, refused)
	}

	words := []string{x.Name, "--disk", "vdc", "--size", "+256M", "--grow", "pair/data", "--yes"}
	// Nothing mounts the volume during the boot, so the agent could not find it.
	x.must(t, append([]string{"grow", "--no-agent", "--settle", "5s", "--shutdown-timeout", "60s"}, words...)...)
	x.answering(t)
	x.inside(t, "vgchange -a y; mkdir -p /mnt/data && mount -t xfs /dev/mapper/pair-data /mnt/data")
	if now := x.total(t, "/mnt/data"); now < was+250 {
		t.Errorf("%d MiB, and %d before", now, was)
	}
	if got := x.inside(t, "cat /mnt/data/f"); !strings.HasPrefix(got, "kept") {
		t.Errorf("the file holds %q", got)
	}
	was = x.total(t, "/mnt/data")

	x.must(t, append([]string{"online"}, words...)...)
	if now := x.total(t, "/mnt/data"); now < was+250 {
		t.Errorf("%d MiB, and %d before", now, was)
	}
	if got := x.inside(t, "cat /mnt/data/f"); !strings.HasPrefix(got, "kept") {
		t.Errorf("the file holds %q", got)
	}
}
