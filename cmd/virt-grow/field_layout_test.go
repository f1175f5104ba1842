package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// field is a disk image that is made with the host's own tools, and a program to grow
// it.
type field struct {
	dir, image string
}

func newField(t *testing.T, name, size string) *field {
	t.Helper()
	level.Need(t, level.Long)
	dir := t.TempDir()
	p := &field{dir, filepath.Join(dir, name)}
	p.sh(t, "truncate -s "+size+" "+name)
	return p
}

// sh runs a script in the image's directory. In it, put FILE SECTOR writes a file to the
// image.
func (p *field) sh(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `put() { dd if="$1" of="$image" bs=512 seek="$2" conv=notrunc,sparse status=none; }
first() { sgdisk -i"$1" "$image" | awk '/First sector/{print $3}'; }
sectors() { sgdisk -i"$1" "$image" | awk '/Partition size/{print $3}'; }
`+script)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "image="+p.image, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// run runs the program, and checks its exit code and output.
func (p *field) run(t *testing.T, exit int, says string, words ...string) string {
	t.Helper()
	got := try(t, filepath.Join(p.dir, "state"), words...)
	if out := got.out + got.err; got.exit != exit || !strings.Contains(out, says) {
		t.Fatalf("%s: exit %d, want %d and %q\n%s", strings.Join(words, " "), got.exit, exit, says, out)
	}
	return got.out + got.err
}

// refused expects exit 3, a reason, a text, and an unchanged image.
func (p *field) refused(t *testing.T, reason, says string, words ...string) string {
	t.Helper()
	was := p.sum(t)
	out := p.run(t, 3, says, append(words, "--json")...)
	if !strings.Contains(out, `"reason":"`+reason+`"`) {
		t.Fatalf("no reason %s in\n%s", reason, out)
	}
	if p.sum(t) != was {
		t.Fatalf("%s: the image has changed", strings.Join(words, " "))
	}
	return out
}

func (p *field) sum(t *testing.T) string { return p.sh(t, `sha256sum < "$image"`) }

// partition is a line of sfdisk's dump, and the partition's bytes.
type partition struct {
	start, count int64
	rest         string // type, GUID, name, attributes
	sum          [32]byte
}

var dumped = regexp.MustCompile(`(?m)^\S*?(\d+) : start= *(\d+), size= *(\d+), (.*)$`)

// table reads the image's table with sfdisk, and the bytes of all partitions but the
// largest.
func (p *field) table(t *testing.T) (id string, parts map[int]partition) {
	t.Helper()
	dump := p.sh(t, `sfdisk -d "$image"`)
	f, err := os.Open(p.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parts = map[int]partition{}
	for _, m := range dumped.FindAllStringSubmatch(dump, -1) {
		var number int
		var q partition
		fmt.Sscan(m[1], &number)
		fmt.Sscan(m[2], &q.start)
		fmt.Sscan(m[3], &q.count)
		q.rest = m[4]
		if q.count < 200<<11 {
			data := make([]byte, q.count*512)
			if _, err := f.ReadAt(data, q.start*512); err != nil {
				t.Fatal(err)
			}
			q.sum = sha256.Sum256(data)
		}
		parts[number] = q
	}
	return regexp.MustCompile(`label: \S+\nlabel-id: \S+`).FindString(dump), parts
}

// grown runs the program and checks that the table's identifiers are unchanged, as are
// sizes and bytes of the partitions that are not in grows, and the starts of those that
// are not in moved.
func (p *field) grown(t *testing.T, grows, moved []int, words ...string) (out string, before, after map[int]partition) {
	t.Helper()
	idBefore, before := p.table(t)
	out = p.run(t, 0, "", words...)
	idAfter, after := p.table(t)
	if idBefore != idAfter || len(before) != len(after) {
		t.Errorf("%s with %d partitions became %s with %d", idBefore, len(before), idAfter, len(after))
	}
	for n, was := range before {
		now := after[n]
		switch {
		case now.rest != was.rest:
			t.Errorf("partition %d: %s became %s", n, was.rest, now.rest)
		case slices.Contains(grows, n) && now.count <= was.count:
			t.Errorf("partition %d has %d sectors and had %d", n, now.count, was.count)
		case !slices.Contains(grows, n) && now.count != was.count:
			t.Errorf("partition %d had %d sectors and has %d", n, was.count, now.count)
		case slices.Contains(moved, n) != (now.start != was.start):
			t.Errorf("partition %d began at sector %d and begins at %d", n, was.start, now.start)
		case now.start%2048 != was.start%2048:
			t.Errorf("partition %d began at sector %d and begins at %d: its alignment has changed", n, was.start, now.start)
		}
	}
	if out := p.sh(t, `sgdisk -v "$image" 2>&1 || true`); strings.HasPrefix(idAfter, "label: gpt") && !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	return out, before, after
}

// same compares the bytes of partitions.
func same(t *testing.T, before, after map[int]partition, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if before[n].sum != after[n].sum || before[n].sum == [32]byte{} {
			t.Errorf("partition %d holds other bytes", n)
		}
	}
}

// TestFieldLogicalChain grows the middle one of several logical partitions, whose EBRs
// are one and 63 sectors before them.
func TestFieldLogicalChain(t *testing.T) {
	level.Need(t, level.All)
	p := newField(t, "chain.raw", "384M")
	p.sh(t, `printf 'label: dos\nunit: sectors\n1: start=63,size=65505,type=7\n2: start=67583,size=696321,type=f\n5: start=67584,size=40000,type=83\n6: start=107647,size=450000,type=83\n7: start=559104,size=80000,type=82\n' | sfdisk -q "$image"
truncate -s $((450000*512)) data; mkfs.xfs -q data 2>/dev/null || { truncate -s $((450000*512)) data; mkfs.ext4 -q -F data; }; put data 107647
truncate -s 32M sw; mkswap -q sw; put sw 559104
head -c 3000000 /dev/urandom > noise; put noise 67584`)
	_, before, after := p.grown(t, []int{2, 6}, []int{7}, "grow", p.image, "--format", "raw", "--size", "+512M", "--grow", "sda6", "--yes")
	same(t, before, after, 1, 5, 7)
}

// TestFieldHAOS uses the layout of Home Assistant OS: several file systems, none of
// which is recognised as a root.
func TestFieldHAOS(t *testing.T) {
	level.Need(t, level.All)
	p := newField(t, "haos.raw", "500M")
	p.sh(t, `sgdisk -n1:2048:+32M -t1:ef00 -n2:0:+24M -n3:0:+32M -n4:0:+24M -n5:0:+32M -n6:0:+8M -n7:0:+96M -n8:0:0 \
  -c1:hassos-boot -c2:hassos-kernel0 -c3:hassos-system0 -c4:hassos-kernel1 -c5:hassos-system1 -c6:hassos-bootstate -c7:hassos-overlay -c8:hassos-data "$image" >/dev/null
truncate -s 32M boot; mkfs.vfat -n hassos-boot boot >/dev/null; put boot $(first 1)
# A squashfs as blkid knows it: its magic number, and version 4 at byte 28.
head -c 100000 /dev/urandom > sq; printf 'hsqs' | dd of=sq conv=notrunc status=none; printf '\004\000\000\000' | dd of=sq bs=1 seek=28 conv=notrunc status=none
for n in 2 3 4 5; do put sq $(first $n); done
truncate -s 96M overlay; mkfs.ext4 -q -L hassos-overlay overlay; put overlay $(first 7)
truncate -s $(($(sectors 8)*512)) data; mkfs.ext4 -q -L hassos-data data; put data $(first 8)`)
	out := p.refused(t, "ambiguous-target", "sda7 (ext4", "grow", p.image, "--format", "raw", "--size", "+512M", "--yes")
	if !strings.Contains(out, "hassos-overlay") || !strings.Contains(out, "hassos-data") {
		t.Errorf("not both are listed: %s", out)
	}
	_, before, after := p.grown(t, []int{8}, nil, "grow", p.image, "--format", "raw", "--size", "+512M", "--grow", "LABEL=hassos-data", "--yes")
	same(t, before, after, 1, 2, 3, 4, 5, 6, 7)
	before = after
	_, _, after = p.grown(t, []int{8}, nil, "grow", p.image, "--format", "raw", "--size", "+256M", "--grow", "PARTLABEL=hassos-data", "--yes")
	same(t, before, after, 1, 2, 3, 4, 5, 6, 7)
}

// TestFieldOddStart grows a root that begins directly behind a BIOS boot partition, at
// sector 2049, and ends at the last usable sector.
func TestFieldOddStart(t *testing.T) {
	level.Need(t, level.All)
	p := newField(t, "odd.raw", "322M")
	p.sh(t, `sgdisk -a1 -n1:34:2048 -t1:ef02 -n2:2049:0 "$image" >/dev/null
truncate -s 320M root; mkfs.xfs -q root; put root 2049`)
	_, before, after := p.grown(t, []int{2}, nil, "grow", p.image, "--format", "raw", "--size", "+512M", "--yes")
	same(t, before, after, 1)
	if after[1].start != 34 || after[2].start != 2049 {
		t.Errorf("%+v", after)
	}
}

// TestFieldFreeBSD grows a partition with UFS, which only FreeBSD itself can grow: the
// commands to run there are printed. A swap partition behind it is moved.
func TestFieldFreeBSD(t *testing.T) {
	level.Need(t, level.All)
	p := newField(t, "u.raw", "400M")
	// The magic number of UFS2, 0x19540119, is at offset 65536+1372 of its partition.
	p.sh(t, `sgdisk -a1 -n1:40:+512K -t1:a501 -n2:0:+33M -t2:ef00 -n3:0:+200M -t3:a503 -n4:0:+64M -t4:a502 "$image" >/dev/null
printf '\031\001\124\031' | dd of="$image" bs=1 seek=$(($(first 3)*512+65536+1372)) conv=notrunc status=none`)
	out := p.refused(t, "unknown-content", "sda3 holds ufs", "grow", p.image, "--format", "raw", "--size", "+256M", "--yes")
	if !strings.Contains(out, "--grow sda3 --partition-only") {
		t.Errorf("the way is not told: %s", out)
	}
	out, before, after := p.grown(t, []int{3}, []int{4}, "grow", p.image, "--format", "raw", "--size", "+256M", "--grow", "sda3", "--partition-only", "--yes")
	same(t, before, after, 1, 2)
	if !strings.Contains(out, "growfs PARTITION") {
		t.Errorf("what is left is not told: %s", out)
	}
}
