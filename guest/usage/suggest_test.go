package usage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// on changes a file system.
func on(f FileSystem, change func(*FileSystem)) FileSystem {
	change(&f)
	return f
}

func growing10(f *FileSystem) {
	f.Forecast = &Forecast{Outlook: Filling, PerDay: size.GiB, Samples: 3}
}

func TestSuggest(t *testing.T) {
	guests := func() []Guest {
		return []Guest{
			guestWith("dev7", fileSystem("/", 90, 100), on(fileSystem("/data", 19, 20), func(f *FileSystem) { f.Disks = []string{"vdb"} })),
			guestWith("dev8", on(fileSystem("/", 9, 10), growing10), fileSystem("/srv", 1, 2)),
			guestWith("dev9", on(fileSystem("/a", 9, 10), func(f *FileSystem) { f.Disks = []string{"vda", "vdb"} }),
				on(fileSystem("/b", 9, 10), func(f *FileSystem) { f.Disks, f.NoDisks = nil, "no address" }),
				on(fileSystem("/boot/efi", 9, 10), func(f *FileSystem) { f.Type = "vfat" }),
				fileSystem("/x=1G", 9, 10), fileSystem("/"+hostile, 9, 10),
				on(fileSystem("/c", 9, 10), func(f *FileSystem) { f.Mounted = nil }),
				on(fileSystem("/locked", 9, 10), func(f *FileSystem) { f.Problem = plan.Refuse(plan.LUKSLocked, "vda1", "there is no key") }),
				on(fileSystem("/d", 9, 10), func(f *FileSystem) { f.Mounted, f.UUID = nil, "1234-abcd" })),
			{Name: "/a.raw", Source: ByAppliance, FileSystems: []FileSystem{fileSystem("/", 1, 2)}},
			{Name: "off", UUID: "uuid-off", Unread: Off, Why: "it is off"},
		}
	}
	for _, c := range []struct {
		by   string
		want []string
		left int
	}{
		{"+30%", []string{"dev7 vda +30G [/]", "dev7 vdb +6G [/data]", "dev8 vda +3687M [/=+3G /srv=+615M]", "dev9 vda +3G [UUID=1234-abcd]"}, 9},
		{"+512M", []string{"dev7 vda +512M [/]", "dev7 vdb +512M [/data]", "dev8 vda +1G [/=+512M /srv=+512M]", "dev9 vda +512M [UUID=1234-abcd]"}, 9},
		{"30 days", []string{"dev8 vda +29G [/]"}, 13}, // with too few samples for all others
	} {
		by, err := ParseIncrease(c.by)
		if c.by == "30 days" {
			by, err = Increase{Days: 30}, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		s := Suggest(guests(), by)
		text, err := s.Text()
		if err != nil {
			t.Fatal(err)
		}
		inv, err := inventory.Parse("suggested", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(s.Inventory.Guests, inv.Guests); diff != "" {
			t.Errorf("it is not read as it was written:\n%s", diff)
		}
		var got []string
		for _, g := range inv.Guests {
			if _, err := g.Request(); err != nil {
				t.Error(err)
			}
			for _, d := range g.Disks {
				got = append(got, fmt.Sprintf("%s %s %s %v", g.Name, d.Disk, d.Size, d.Grow))
			}
		}
		if !slices.Equal(got, c.want) || len(s.LeftOut) != c.left {
			t.Errorf("%s: %q, %d left out\nwant %q\n%s", c.by, got, len(s.LeftOut), c.want, text)
		}
		if inv.Canary.Count != 1 || inv.Parallel != 1 || inv.StopAfter != 1 {
			t.Errorf("%+v", inv)
		}
		if strings.ContainsAny(string(text), "\x1b\u202e") || strings.Contains(string(text), "\n# x") {
			t.Errorf("harmful: %q", text)
		}
	}
}

// TestSuggestWhy checks the comments.
func TestSuggestWhy(t *testing.T) {
	s := Suggest([]Guest{guestWith("dev7", on(fileSystem("/", 90, 100), growing10), on(fileSystem("/data", 1, 2), func(f *FileSystem) { f.Disks = []string{"vda", "vdb"} }))}, Increase{Percent: 30})
	text, err := s.Text()
	want := "\n# Why:\n#   dev7 /: 90% of 100 GiB are used; full in less than a day; 3 samples\n\n# Left out:\n#   dev7 /data: it lies on several disks, vda and vdb: choose the one that grows\n"
	if err != nil || !strings.HasSuffix(string(text), want) {
		t.Errorf("%s\n%v", text, err)
	}
	text, err = Suggest([]Guest{{Name: "off", Why: "it is off"}}, Increase{Days: 5}).Text()
	if err != nil || string(text) != "# Nothing has to grow, as far as it is known.\n\n# Left out:\n#   off: it is off\n" {
		t.Errorf("%s\n%v", text, err)
	}
}

func TestParseIncrease(t *testing.T) {
	for text, want := range map[string]string{"+30%": "{30 0 B 0}", "+10G": "{0 10 GiB 0}", "+2.5%": "{2.5 0 B 0}",
		"30%": "", "10G": "", "+0%": "", "+2000%": "", "+NaN%": "", "fill": "", "": "", "-5G": "", "+x": ""} {
		got, err := ParseIncrease(text)
		if (err == nil) != (want != "") || err == nil && fmt.Sprint(got) != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestSort(t *testing.T) {
	at := func(mount string, used, usable size.Bytes, f *Forecast) FileSystem {
		return on(fileSystem(mount, used, usable), func(fs *FileSystem) { fs.Forecast = f })
	}
	guests := []Guest{
		guestWith("b", at("/2", 90, 100, &Forecast{Outlook: Filling, Days: 9}), at("/1", 1, 2, nil)),
		guestWith("a", at("/4", 3, 3, &Forecast{Outlook: Full}), on(at("/3", 0, 0, nil), func(f *FileSystem) { f.Problem = plan.Refuse(plan.NoAgent, "", "") }), at("/5", 10, 200, &Forecast{Outlook: Flat})),
	}
	for by, want := range map[Order]string{ByName: "/3 /4 /5 /1 /2", ByUsed: "/4 /2 /1 /5 /3", ByFree: "/4 /1 /2 /5 /3", ByFull: "/4 /2 /3 /5 /1"} {
		rows := Rows(guests)
		SortRows(rows, by)
		var got []string
		for _, r := range rows {
			got = append(got, r.FS.Where())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", by, got, want)
		}
	}
	for by, want := range map[Order]string{ByName: "a b off", ByUsed: "a b off", ByFull: "a b off"} {
		sorted := append([]Guest{{Name: "off"}}, guests...)
		Sort(sorted, by)
		var got []string
		for _, g := range sorted {
			got = append(got, g.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", by, got, want)
		}
	}
	Above(guests, 50)
	if rows := Rows(guests); len(rows) != 2 {
		t.Errorf("%v", rows)
	}
}

func TestParseShare(t *testing.T) {
	for text, want := range map[string]float64{"80%": 80, "80": 80, "99.5%": 99.5, "0": 0, "100%": 100, "101": -1, "-1": -1, "": -1, "NaN": -1, "x%": -1} {
		got, err := ParseShare(text)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestInspected(t *testing.T) {
	var all []appliance.FileSystem
	for _, device := range []string{"vda", "vda2", "vdab1", "nvme0n1p2", "vg/root", "vdax"} {
		all = append(all, appliance.FileSystem{Device: device})
	}
	var got []string
	for _, f := range Inspected(all, []string{"vda", "vdab", "nvme0n1", ""}) {
		got = append(got, strings.Join(f.Disks, "+"))
		if (f.NoDisks == "") != (len(f.Disks) == 1) {
			t.Errorf("%+v", f)
		}
	}
	if want := []string{"vda", "vda", "vdab", "nvme0n1", "", ""}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
