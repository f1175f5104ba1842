package appliance

import "testing"

func TestNames(t *testing.T) {
	for i, want := range map[int]string{0: "sda", 1: "sdb", 25: "sdz", 26: "sdaa", 27: "sdab", 51: "sdaz", 52: "sdba", 701: "sdzz", 702: "sdaaa"} {
		if got := diskName(i); got != want {
			t.Errorf("disk %d is %s, want %s", i, got, want)
		}
	}
	a := &Appliance{drives: []drive{{Drive: Drive{Name: "vda"}}, {Drive: Drive{Name: "sda"}}, {Drive: Drive{Name: "nvme0n1"}}}}
	for path, want := range map[string]string{
		"/dev/sda": "vda", "/dev/sda1": "vda1", "/dev/sdb12": "sda12", "/dev/sdc": "nvme0n1", "/dev/sdc3": "nvme0n1p3",
		"/dev/mapper/luks-sda3": "luks-sda3", "/dev/vg/sda1": "vg/sda1", "/dev/sdd1": "sdd1", "/dev/md0": "md0",
	} {
		if got := a.nameOf(path); got != want {
			t.Errorf("%s is called %s, want %s", path, got, want)
		}
		if got := a.path(want); got != path {
			t.Errorf("%s is at %s, want %s", want, got, path)
		}
	}
	for mountable, want := range map[string]string{"/dev/sda1": "vda1", "btrfsvol:/dev/sdb2/root": "sda2", "/dev/vg/root": "vg/root"} {
		if got := a.deviceOf(mountable); got != want {
			t.Errorf("%s is on %s, want %s", mountable, got, want)
		}
	}
}
