package live

import (
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

// windows is the output of WindowsProbe: a disk as Setup makes it, with the recovery
// partition last, a data disk, an MBR with a logical drive, and one with FAT.
const windows = "disk|0|68719476736|512|GPT|d-0000\r\n" +
	"part|1|1048576|104857600|System|\x00|FAT32\r\n" +
	"part|2|105906176|16777216|Reserved|\x00|\r\n" +
	"part|3|122683392|67000000000|Basic|C|NTFS\r\n" +
	"part|4|68100000000|600000000|Recovery|\x00|NTFS\r\n" +
	"disk|1|10737418240|512|GPT|d-0001\r\n" +
	"part|1|16777216|16777216|Reserved||\r\n" +
	"part|2|33554432|10700000000|Basic|D|NTFS\r\n" +
	"disk|2|10737418240|512|MBR|d-0002\r\n" +
	"part|1|1048576|1073741824|IFS|E|NTFS\r\n" +
	"part|0|1074790400|9000000000|Extended||\r\n" +
	"part|2|1074855936|8000000000|IFS|F|NTFS\r\n" +
	"disk|3|1073741824|512|MBR|\r\n" +
	"part|1|1048576|1000000000|FAT32|G|FAT32\r\n"

func TestWindowsTarget(t *testing.T) {
	disks, err := ReadWindowsProbe(windows)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, where, want string
		disk              int
		to                size.Bytes
		refused           plan.Reason
	}{
		{what: "the recovery partition stands last", disk: 0, want: "partition 4 of disk 0 (Recovery) is behind C:", refused: plan.ImmovableNeighbor},
		{what: "C: is named", disk: 0, where: `c:\`, want: "is behind C:", refused: plan.ImmovableNeighbor},
		{what: "a data disk", disk: 1, want: "D"},
		{what: "another drive is named", disk: 1, where: "C:", want: "no drive C:", refused: plan.NotFound},
		{what: "two drives", disk: 2, want: "E:, F:", refused: plan.AmbiguousTarget},
		{what: "the first of two", disk: 2, where: "E:", want: "(Extended) is behind E:", refused: plan.ImmovableNeighbor},
		{what: "a logical drive", disk: 2, where: "F:", want: "logical", refused: plan.UnsupportedLayout},
		{what: "FAT", disk: 3, want: "nothing on disk 3", refused: plan.UnknownContent},
		{what: "FAT is named", disk: 3, where: "G", want: "FAT32", refused: plan.UnknownContent},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := disks[c.disk].Target(c.where, 3*size.TiB)
			if r, refused := plan.IsRefusal(err); refused && (r.Reason != c.refused || !strings.Contains(r.Text, c.want)) || !refused && (c.refused != "" || p.Letter != c.want) {
				t.Errorf("%+v (%v)", p, err)
			}
		})
	}
	mbr := WindowsDisk{Style: "MBR", Parts: []WindowsPart{{Number: 1, Type: "IFS", Letter: "D", FS: "NTFS"}}}
	if _, err := mbr.Target("", 3*size.TiB); err == nil {
		t.Error("an MBR of 3 TiB")
	}
	if got := WindowsDisks(disks, 10*size.GiB, Disk{Serial: "d-0002"}); len(got) != 1 || got[0].Number != 2 {
		t.Errorf("by its serial number: %+v", got)
	}
	if got := WindowsDisks(disks, 10*size.GiB, Disk{}); len(got) != 2 {
		t.Errorf("by its size: %+v", got)
	}
}

func TestReadWindowsProbeRefuses(t *testing.T) {
	for _, text := range []string{"", "\r\n", "part|1|2|3|Basic|C|NTFS", "disk|0|x|512|GPT|", "disk|0|-1|512|GPT|", "hello",
		"disk|0|1|512|GPT|s\npart|1|2", strings.Repeat("disk|0|1|512|GPT|\n", maxDevices+1)} {
		if disks, err := ReadWindowsProbe(text); err == nil {
			t.Errorf("%.40q is read as %.100v", text, disks)
		}
	}
}

func FuzzReadWindowsProbe(f *testing.F) {
	f.Add(windows)
	f.Fuzz(func(t *testing.T, text string) {
		disks, err := ReadWindowsProbe(text)
		if err != nil {
			return
		}
		for _, d := range disks {
			p, err := d.Target("", d.Size+size.GiB)
			if err != nil {
				continue
			}
			for _, o := range d.Parts {
				if o.Offset > p.Offset {
					t.Errorf("%+v is behind %+v", o, p)
				}
			}
			if p.Letter == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
