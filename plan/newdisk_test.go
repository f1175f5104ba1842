package plan

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan/size"
	"github.com/virt-grow/virt-grow/plan/table"
)

// anyNewDisk draws a disk with valid names.
func anyNewDisk(t *rapid.T) NewDisk {
	d := NewDisk{Path: "/img/a", Format: "raw", Prealloc: "off",
		Size:  size.Bytes(rapid.Int64Range(1, 40<<20).Draw(t, "MiB")) * size.MiB,
		FS:    rapid.SampledFrom(NewFSNames).Draw(t, "fs"),
		Table: rapid.SampledFrom([]string{TableNone, TableGPT, TableMBR}).Draw(t, "table"),
		Label: rapid.String().Draw(t, "label"),
	}
	if d.FS != "ntfs" && rapid.Bool().Draw(t, "lvm") {
		d.Group, d.Volume = "vg", "lv"
	}
	return d
}

// TestNewDiskFits checks that each accepted disk has its partition within its bounds,
// aligned and addressable.
func TestNewDiskFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyNewDisk(t)
		if d.Check() != nil {
			return
		}
		start, end := d.Partition()
		room := d.Room()
		switch {
		case start%size.MiB != 0 || end%size.MiB != 0:
			t.Fatalf("from %d to %d", start, end)
		case start < 0 || end > d.Size || room > end-start || room < newFSs[d.FS].least:
			t.Fatalf("%d to %d of %d, %d for the file system", start, end, d.Size, room)
		// The second header and its table: 33 sectors (UEFI 2.10 §5.3.1).
		case d.Table == TableGPT && d.Size-end < 33*512:
			t.Fatalf("ends at %d of %d", end, d.Size)
		case d.Table == TableMBR && end/512 > 1<<32:
			t.Fatalf("ends at sector %d", end/512)
		case d.Group != "" && room%(4*size.MiB) != 0:
			t.Fatalf("a volume of %d", room)
		case d.Table != TableNone && table.TypeName(table.Kind(d.Table), d.PartitionType()) == d.PartitionType():
			t.Fatalf("type %q", d.PartitionType())
		case strings.ContainsAny(d.Label, "\x00\n") || len(d.Label) > 255:
			t.Fatalf("label %q", d.Label)
		}
	})
}

func TestNewDiskTypes(t *testing.T) {
	for _, c := range []struct{ fs, table, group, want string }{
		{"xfs", TableGPT, "", table.GPTLinux}, {"btrfs", TableGPT, "vg", table.GPTLinuxLVM}, {"ntfs", TableGPT, "", table.GPTBasicData},
		{"ext4", TableMBR, "", table.MBRLinux}, {"ext4", TableMBR, "vg", table.MBRLinuxLVM}, {"ntfs", TableMBR, "", table.MBRNTFS},
	} {
		d := NewDisk{FS: c.fs, Table: c.table, Group: c.group}
		if got := d.PartitionType(); got != c.want {
			t.Errorf("%+v: %s, want %s", c, got, c.want)
		}
	}
}

func TestParseVolume(t *testing.T) {
	for text, good := range map[string]bool{
		"vg0/data": true, "a+b_c.d-e/x": true, "vg": false, "/a": false, "a/": false, "-a/b": false, "../b": false, "a/.": false,
		"a/b/c": false, "a b/c": false, "vg/snapshot1": false, "vg/pvmove0": false, "vg/x_tmeta": false, "ü/x": false,
		strings.Repeat("a", 61) + "/b": false, "vg/--json": false, "vg/a\n": false,
	} {
		group, volume, err := ParseVolume(text)
		if (err == nil) != good || good && group+"/"+volume != text {
			t.Errorf("%q: %q, %q, %v", text, group, volume, err)
		}
	}
}

func FuzzParseVolume(f *testing.F) {
	f.Add("vg/lv")
	f.Add("-/..")
	f.Fuzz(func(t *testing.T, text string) {
		group, volume, err := ParseVolume(text)
		if err == nil && (group+"/"+volume != text || strings.HasPrefix(text, "-") || strings.Count(text, "/") != 1) {
			t.Errorf("%q was taken", text)
		}
	})
}
