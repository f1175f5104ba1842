package appliance

import "testing"

func TestShown(t *testing.T) {
	for i, want := range map[int]string{0: "sda", 1: "sdb", 25: "sdz", 26: "sdaa", 27: "sdab", 51: "sdaz", 52: "sdba", 701: "sdzz", 702: "sdaaa"} {
		if got := diskName(i); got != want {
			t.Errorf("disk %d is %s, want %s", i, got, want)
		}
	}
	a := &Appliance{names: []string{"vda", "sda", "vdb"}}
	for device, want := range map[string]string{
		"sda": "vda", "sda1": "vda1", "sdb12": "sda12", "sdc": "vdb", "luks-sdb3": "luks-sda3", "vg/sda1": "vg/sda1", "sdd1": "sdd1", "md0": "md0",
	} {
		if got := a.shown(device); got != want {
			t.Errorf("%s is shown as %s, want %s", device, got, want)
		}
	}
}

func TestSplitDrive(t *testing.T) {
	for path, want := range map[string][2]string{
		`C:\a\b`: {"C", "/a/b"}, "d:/x": {"D", "/x"}, "E:": {"E", "/"}, "/a": {"", "/a"}, "1:/a": {"", "1:/a"}, "": {"", ""}, ":": {"", ":"},
	} {
		if letter, rest := SplitDrive(path); letter != want[0] || rest != want[1] {
			t.Errorf("%q: %q %q", path, letter, rest)
		}
	}
}
