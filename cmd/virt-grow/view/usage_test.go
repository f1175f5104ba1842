package view

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/usage"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/size"
)

func fsOf(device, kind string, used, free size.Bytes, mounted ...string) usage.FileSystem {
	return usage.FileSystem{FileSystem: appliance.FileSystem{Device: device, Type: kind, Size: used + free, Used: used, Free: free, Mounted: mounted}}
}

func TestUsage(t *testing.T) {
	root := fsOf("vda2", "ext4", 19*size.GiB, size.GiB/2, "/")
	root.Size = 20 * size.GiB
	locked := fsOf("vdb1", plan.ContentLUKS, 0, 0)
	locked.Problem = plan.Refuse(plan.LUKSLocked, "vdb1", "vdb1 is encrypted\x1b[31m")
	var out bytes.Buffer
	err := Usage(&out, Style{}, []GuestUsage{
		{Guest: usage.Guest{Name: "dev7", Running: true, FileSystems: []usage.FileSystem{root, locked}}},
		{Guest: usage.Guest{Name: "gone"}, Trouble: &Trouble{}},
		{Guest: usage.Guest{Name: "empty.raw"}},
	})
	want := `dev7 (running: as of this moment, may be inconsistent)
DEVICE  TYPE           SIZE    USED     FREE  USE  MOUNTED
vda2    ext4         20 GiB  19 GiB  512 MiB  98%  /
vdb1    crypto_LUKS
vdb1 is encrypted?[31m

empty.raw
no file system
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, &out, want)
	}
}

// fleet are guests of all kinds, with hostile names.
func fleet() []usage.Guest {
	data := fsOf("vdb1", "xfs", 91*size.GiB, 9*size.GiB, "/srv/data")
	data.Disks, data.Forecast = []string{"vdb"}, &usage.Forecast{Outlook: usage.Filling, Days: 11.6, PerDay: 800 * size.MiB, Samples: 3}
	old := fsOf("vdc1", "ext4", 0, 0, "/old")
	old.Problem = plan.Refuse(plan.NoAgent, "vdc1", "the guest agent reports no sizes")
	evil := fsOf("=cmd|' /C calc'!A0", "ext4\x1b[2J", size.GiB, size.GiB, "/"+strings.Repeat("long/", 20)+"\nnext\u202e")
	evil.Label = "@SUM(1)"
	return []usage.Guest{
		{Name: "db1", UUID: "u1", Running: true, Source: usage.ByAgent, FileSystems: []usage.FileSystem{fsOf("vda1", "ext4", size.GiB, 3*size.GiB, "/"), data, old}},
		{Name: "-evil", UUID: "u2", Running: true, Source: usage.ByAgent, FileSystems: []usage.FileSystem{evil}, Notes: []string{"a note\x1b[1m"}},
		{Name: "db2", UUID: "u3", Unread: usage.Off, Why: "it is off"},
		{Name: "db3", UUID: "u4", Running: true, Unread: usage.NoAnswer, Why: "the guest agent has not answered within 6s"},
		{Name: "db4", UUID: "u5", Err: plan.Refuse(plan.NotFound, "", "there is no image")},
	}
}

func TestFleet(t *testing.T) {
	var out bytes.Buffer
	if err := Fleet(&out, Style{Width: 140}, fleet(), usage.ByUsed, ""); err != nil {
		t.Fatal(err)
	}
	want := `GUEST  FILE SYSTEM                       DEVICE              TYPE         SIZE    USED   FREE  USE  FORECAST
db1    /srv/data                         vdb1                xfs       100 GiB  91 GiB  9 GiB  91%  full in 11 days; 3 samples
-evil  ~long/long/long/long/long/ next?  =cmd|' /C calc'!A0  ext4?[2J    2 GiB   1 GiB  1 GiB  50%
db1    /                                 vda1                ext4        4 GiB   1 GiB  3 GiB  25%
db1    /old                              vdc1                ext4
db1: /old: the guest agent reports no sizes
-evil: a note?[1m

NOT ASKED  WHY
db2        it is off
db3        the guest agent has not answered within 6s
`
	if out.String() != want {
		t.Errorf("\n%s\nwant\n%s", &out, want)
	}
	out.Reset()
	if err := Fleet(&out, Style{}, nil, usage.ByName, "no domain"); err != nil || out.String() != "no domain\n" {
		t.Errorf("%v %q", err, &out)
	}
}

// TestUsageCSV checks that every line has all cells, and that none is a formula.
func TestUsageCSV(t *testing.T) {
	var out bytes.Buffer
	if err := UsageCSV(&out, fleet(), usage.ByUsed); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		for _, c := range row {
			if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r") || strings.ContainsAny(c, "\x1b\n\u202e") {
				t.Errorf("%q", c)
			}
		}
	}
	for i, want := range map[int]string{
		1: "db1,u1,agent,,/srv/data,vdb1,xfs,,107374182400,97710505984,9663676416,91,vdb,filling,11.6,3",
		4: "db1,u1,agent,,/old,vdc1,ext4,,,,,,,,,",
		5: "db2,u3,,off,,,,,,,,,,,,",
		7: "db4,u5,,failed,,,,,,,,,,,,",
	} {
		if got := strings.Join(rows[i], ","); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if row := rows[2]; row[0] != "'-evil" || row[5] != "'=cmd|' /C calc'!A0" || row[7] != "'@SUM(1)" {
		t.Errorf("%q", row)
	}
}

func TestCell(t *testing.T) {
	for text, want := range map[string]string{"": "", "/": "/", "=1": "'=1", "\t=1": "' =1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "＝1": "'＝1", "\xff": "\ufffd", "a\r\nb": "a? b"} {
		if got := sheetCell(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
