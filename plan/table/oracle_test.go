package table_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// These tests make disks with sfdisk and sgdisk, which are independent of this project,
// and check the grown disks with them. Both tools are required.

// disk is a sparse file.
type disk struct {
	t *testing.T
	*os.File
}

func newDisk(t *testing.T, bytes size.Bytes) disk {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d := disk{t, f}
	d.resize(bytes)
	return d
}

func (d disk) resize(bytes size.Bytes) {
	d.t.Helper()
	if err := d.Truncate(int64(bytes)); err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) size() size.Bytes {
	info, err := d.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	return size.Bytes(info.Size())
}

// run runs a tool on the disk, whose path is the last argument, with input. It keeps
// sfdisk from waiting and syncing all file systems of the host before it reports the
// change to the kernel.
func (d disk) run(input, tool string, args ...string) string {
	d.t.Helper()
	if tool == "sfdisk" {
		args = append([]string{"--no-tell-kernel"}, args...)
	}
	cmd := exec.CommandContext(d.t.Context(), tool, append(args, d.Name())...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %v\n%s\ninput:\n%s", cmd.Args, err, out, input)
	}
	return string(out)
}

func (d disk) read() *table.Table {
	d.t.Helper()
	tab, err := table.Read(d, d.size(), 512)
	if err != nil {
		d.t.Fatal(err)
	}
	return tab
}

// grow enlarges the file, and applies the writes that Grow returns.
func (d disk) grow(bytes size.Bytes, changes ...table.Change) {
	d.t.Helper()
	writes := mustGrow(d.t, d.read(), bytes, changes...)
	d.resize(bytes)
	for _, w := range writes {
		if _, err := d.WriteAt(w.Data, int64(w.Offset)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d disk) clone() disk {
	d.t.Helper()
	c := newDisk(d.t, d.size())
	if _, err := io.Copy(io.NewOffsetWriter(c, 0), io.NewSectionReader(d, 0, int64(d.size()))); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// sameBytes compares n bytes at an offset, except those at the offsets given.
func (d disk) sameBytes(other disk, at size.Bytes, n int64, except ...int64) {
	d.t.Helper()
	a, _ := io.ReadAll(io.NewSectionReader(d, int64(at), n))
	b, _ := io.ReadAll(io.NewSectionReader(other, int64(at), n))
	if bytes.Equal(a, b) {
		return
	}
	for i := range a {
		if off := int64(at) + int64(i); a[i] != b[i] && !slices.Contains(except, off) {
			d.t.Errorf("byte %d is %#x, the tool wrote %#x", off, a[i], b[i])
		}
	}
}

// sfdisk's view, man page "--json".
type sfdiskTable struct {
	Label, ID  string
	Partitions []struct {
		Node, Type, UUID, Name string
		Start, Size            int64
		Bootable               bool
	}
}

// checkSfdisk fails the test unless sfdisk finds the same partitions and no errors.
func (d disk) checkSfdisk() {
	d.t.Helper()
	var doc struct{ PartitionTable sfdiskTable }
	if err := json.Unmarshal([]byte(d.run("", "sfdisk", "--json")), &doc); err != nil {
		d.t.Fatal(err)
	}
	view, tab := doc.PartitionTable, d.read()
	var theirs, ours []table.Partition
	for _, p := range view.Partitions {
		number, err := strconv.Atoi(strings.TrimPrefix(p.Node, d.Name()))
		if err != nil {
			d.t.Fatal(err)
		}
		if view.Label == "dos" {
			n, _ := strconv.ParseUint(p.Type, 16, 8)
			p.Type = fmt.Sprintf("0x%02x", n)
		}
		theirs = append(theirs, table.Partition{Number: number, Type: p.Type, GUID: p.UUID, Name: p.Name,
			Bootable: p.Bootable, Start: size.Bytes(p.Start * 512), Size: size.Bytes(p.Size * 512)})
	}
	for _, p := range tab.Partitions {
		p.Role, p.Attributes = "", 0
		ours = append(ours, p)
	}
	slices.SortFunc(theirs, func(a, b table.Partition) int { return a.Number - b.Number })
	if diff := cmp.Diff(theirs, ours); diff != "" || tab.Err() != nil || tab.ID != view.ID {
		d.t.Errorf("ID %s, sfdisk's %s; %v; partitions (-sfdisk +ours):\n%s", tab.ID, view.ID, tab.Err(), diff)
	}
	if out := d.run("", "sfdisk", "--verify"); !strings.Contains(out, "No errors detected") {
		d.t.Errorf("sfdisk --verify: %s", out)
	}
}

var sgdiskLine = regexp.MustCompile(`(?m)^(Partition GUID code|Partition unique GUID|First sector|Last sector|Attribute flags|Partition name): (?:'(.*)'|(\S+))`)

// checkSgdisk fails the test unless sgdisk finds the same partitions and no problems.
func (d disk) checkSgdisk() {
	d.t.Helper()
	for _, p := range d.read().Partitions {
		got := map[string]string{}
		for _, m := range sgdiskLine.FindAllStringSubmatch(d.run("", "sgdisk", "-i", strconv.Itoa(p.Number)), -1) {
			got[m[1]] = m[2] + m[3]
		}
		want := map[string]string{
			"Partition GUID code": p.Type, "Partition unique GUID": p.GUID, "Partition name": p.Name,
			"First sector": fmt.Sprint(int64(p.Start) / 512), "Last sector": fmt.Sprint(int64(p.End())/512 - 1),
			"Attribute flags": fmt.Sprintf("%016X", p.Attributes),
		}
		if diff := cmp.Diff(got, want); diff != "" {
			d.t.Errorf("partition %d (-sgdisk +ours):\n%s", p.Number, diff)
		}
	}
	if out := d.run("", "sgdisk", "--verify"); !strings.Contains(out, "No problems found") {
		d.t.Errorf("sgdisk --verify: %s", out)
	}
}

// randomEnds grows random partitions, each to a random possible end.
func randomEnds(t *testing.T, r *rand.Rand, tab *table.Table, newDisk size.Bytes) (changes []table.Change) {
	t.Helper()
	for _, p := range tab.Partitions {
		end, _, err := tab.Room(p.Number, newDisk)
		if err != nil {
			t.Fatal(err)
		}
		if p.Role == table.Extended || r.IntN(4) == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			end = p.End() + (end-p.End())/2/512*512
		}
		changes = append(changes, table.Change{Number: p.Number, End: end})
	}
	return changes
}

const mib = 2048 // in sectors of 512 bytes

// gptScript returns an sfdisk script with partitions at random places, with random
// numbers, types and attributes.
func gptScript(r *rand.Rand, node string, sectors int) string {
	var b strings.Builder
	b.WriteString("label: gpt\n")
	numbers := r.Perm(16)
	types := []string{table.GPTESP, table.GPTMSR, table.GPTBasicData, table.GPTWinRE, table.GPTLinux, table.GPTLinuxLVM}
	attrs := []string{"", `, attrs="RequiredPartition"`, `, attrs="LegacyBIOSBootable GUID:63"`, `, attrs="GUID:48,60,62"`}
	for i, at := 0, mib*(1+r.IntN(3)); i < 6; i++ {
		n := mib*(1+r.IntN(9)) + r.IntN(2)*r.IntN(500)
		if at+n > sectors-100 {
			break
		}
		fmt.Fprintf(&b, "%s%d: start=%d, size=%d, type=%s, name=%q%s\n", node, numbers[i]+1, at, n,
			types[r.IntN(len(types))], fmt.Sprintf("größe-%d🐘", i), attrs[r.IntN(len(attrs))])
		at += n + r.IntN(3)*r.IntN(4*mib)
	}
	return b.String()
}

func TestOracleGPT(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			sectors := mib * (16 + r.IntN(60))
			d := newDisk(t, size.Bytes(sectors*512))
			d.run(gptScript(r, d.Name(), sectors), "sfdisk")
			d.checkSfdisk()
			d.checkSgdisk()
			if r.IntN(2) == 0 { // the disk was enlarged earlier by another program
				d.resize(d.size() + size.Bytes(r.IntN(40*mib)*512))
			}
			bigger := d.size() + size.Bytes(r.IntN(100*mib)*512)
			d.grow(bigger, randomEnds(t, r, d.read(), bigger)...)
			d.checkSfdisk()
			d.checkSgdisk()
		})
	}
}

// TestOracleMoveBackup checks that Grow without changes to partitions writes the same
// bytes as "sgdisk -e".
func TestOracleMoveBackup(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			d := newDisk(t, 40*size.MiB)
			args := []string{"-n", "3:0:+5M", "-t", "3:ef00", "-n", "1:0:+7M", "-A", "1:set:2", "-c", "1:EFI & more", "-n", "128:0:0"}
			d.run("", "sgdisk", args[:2+2*r.IntN(len(args)/2)]...)
			theirs := d.clone()
			bigger := d.size() + size.Bytes(r.IntN(1<<17)*512)
			d.grow(bigger)
			theirs.resize(bigger)
			theirs.run("", "sgdisk", "-e")
			d.eraseOldBackup(40 * size.MiB)
			theirs.eraseOldBackup(40 * size.MiB)
			// sgdisk also rewrites the protective partition's end in CHS.
			d.sameBytes(theirs, 0, 1<<20, 451, 452, 453)
			d.sameBytes(theirs, bigger-size.MiB, 1<<20)
			d.checkSgdisk()
		})
	}
}

// eraseOldBackup erases the old backup, because a tool may keep it or not.
func (d disk) eraseOldBackup(end size.Bytes) {
	d.t.Helper()
	if d.size() < end+33*512 {
		return
	}
	if _, err := d.WriteAt(make([]byte, 33*512), int64(end)-33*512); err != nil {
		d.t.Fatal(err)
	}
}

func TestOracleHybrid(t *testing.T) {
	d := newDisk(t, 64*size.MiB)
	d.run("", "sgdisk", "-n", "1:0:+10M", "-n", "2:0:+10M", "-n", "3:0:+10M", "-t", "2:0700", "-h", "2")
	sector0 := make([]byte, 512)
	_, _ = d.ReadAt(sector0, 0)
	tab := d.read()
	if !tab.Hybrid || tab.Mirrored(1) || !tab.Mirrored(2) {
		t.Errorf("hybrid %v, mirrored %v, %v", tab.Hybrid, tab.Mirrored(1), tab.Mirrored(2))
	}
	d.grow(128*size.MiB, table.Change{Number: 3, End: 100 * size.MiB})
	d.checkSgdisk()
	after := make([]byte, 512)
	_, _ = d.ReadAt(after, 0)
	if diff := cmp.Diff(sector0, after); diff != "" {
		t.Errorf("the hybrid MBR changed:\n%s", diff)
	}
}

// mbrScript returns an sfdisk script with primaries, and an extended partition of
// 40 MiB that has up to five logicals.
func mbrScript(r *rand.Rand, node string, sectors int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "label: dos\nlabel-id: 0x%08x\n", r.Uint32())
	types := []string{"83", "7", "8e", "27", "82"}
	at, extended := mib, r.IntN(4)
	for _, i := range []int{0, 1, 2, 3} {
		typ, n := types[r.IntN(len(types))], mib*(1+r.IntN(9))+r.IntN(2)*r.IntN(500)
		if i == extended {
			typ, n = []string{"5", "f", "85"}[r.IntN(3)], 40*mib
		}
		if at+n > sectors {
			break
		}
		fmt.Fprintf(&b, "%s%d: start=%d, size=%d, type=%s%s\n", node, i+1, at, n, typ, []string{"", ", bootable"}[r.IntN(2)&btoi(i != extended)])
		if i == extended {
			defer logicalLines(&b, r, node, at, n)
		}
		at += n + r.IntN(3)*r.IntN(4*mib)
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func logicalLines(b *strings.Builder, r *rand.Rand, node string, start, count int) {
	for i, at := 0, start; i < r.IntN(6); i++ {
		at += mib + r.IntN(2)*r.IntN(mib)
		n := mib * (1 + r.IntN(8))
		if at+n > start+count {
			break
		}
		fmt.Fprintf(b, "%s%d: start=%d, size=%d, type=83\n", node, 5+i, at, n)
		at += n
	}
}

func TestOracleMBR(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 3))
			sectors := mib * (60 + r.IntN(60))
			d := newDisk(t, size.Bytes(sectors*512))
			script := mbrScript(r, d.Name(), sectors)
			d.run(script, "sfdisk")
			d.checkSfdisk()
			bigger := d.size() + size.Bytes(r.IntN(9000*mib)*512) // across cylinder 1023
			d.grow(bigger, randomEnds(t, r, d.read(), bigger)...)
			d.checkSfdisk()
		})
	}
}

// TestOracleResizeMBR checks that Grow writes the same bytes, CHS addresses included, as
// sfdisk when one partition is resized.
func TestOracleResizeMBR(t *testing.T) {
	script := "label: dos\nlabel-id: 0xcafef00d\nstart=2048, size=20480, type=7, bootable\nstart=40960, type=5, size=61440\n" +
		"start=120000, size=10000, type=83\n\nstart=43008, size=8192, type=83\nstart=61440, size=9000, type=82\n" // EBRs at 40960 and 59392
	for _, c := range []table.Change{
		{Number: 1, End: 20 * size.MiB}, {Number: 3, End: 100 * size.MiB}, {Number: 3, End: 9000 * size.MiB},
		{Number: 5, End: 28 * size.MiB}, {Number: 6, End: 48 * size.MiB},
	} {
		t.Run(fmt.Sprintf("partition %d to %s", c.Number, c.End), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, 64*size.MiB)
			d.run(script, "sfdisk")
			theirs := d.clone()
			p, _ := d.read().Partition(c.Number)
			d.grow(10*size.GiB, c)
			theirs.resize(10 * size.GiB)
			theirs.run(fmt.Sprintf("start=%d, size=%d\n", p.Start/512, (c.End-p.Start)/512), "sfdisk", "--no-reread", "-N", strconv.Itoa(c.Number))
			d.checkSfdisk()
			// sfdisk 2.38.1 does not update the size in the link to a resized logical
			// partition.
			const link = 40960*512 + 446 + 16
			var except []int64
			if c.Number == 6 {
				except = []int64{link + 5, link + 6, link + 7, link + 12, link + 13}
			}
			for _, sector := range []size.Bytes{0, 40960, 59392} {
				d.sameBytes(theirs, sector*512, 512, except...)
			}
		})
	}
}

// TestOracle4K uses fdisk, the only tool with an option for sectors of 4096 bytes in a
// file.
func TestOracle4K(t *testing.T) {
	d := newDisk(t, 64*size.MiB)
	d.run("g\nn\n1\n\n+8M\nn\n2\n\n+8M\nw\n", "fdisk", "-b", "4096", "-w", "never")
	if got := table.SniffSectorSize(d, d.size()); got != 4096 {
		t.Fatalf("sniffed sectors of %d bytes", got)
	}
	tab, err := table.Read(d, d.size(), 4096)
	if err != nil || len(tab.Partitions) != 2 {
		t.Fatalf("%v, %v", tab, err)
	}
	bigger := 128 * size.MiB
	end, _, err := tab.Room(2, bigger)
	if err != nil {
		t.Fatal(err)
	}
	writes := mustGrow(t, tab, bigger, table.Change{Number: 2, End: end})
	d.resize(bigger)
	for _, w := range writes {
		if _, err := d.WriteAt(w.Data, int64(w.Offset)); err != nil {
			t.Fatal(err)
		}
	}
	out := d.run("v\nq\n", "fdisk", "-b", "4096")
	if !strings.Contains(out, "No errors detected") || strings.Contains(out, "corrupt") || strings.Contains(out, "mismatch") {
		t.Errorf("fdisk: %s", out)
	}
	list := d.run("", "fdisk", "-b", "4096", "-l")
	if want := fmt.Sprint(int64(end)/4096 - 1); !strings.Contains(list, want) {
		t.Errorf("fdisk does not show %s as the last sector:\n%s", want, list)
	}
}
