package device

import "testing"

func TestFreeTarget(t *testing.T) {
	taken := map[string]string{"vda": "", "vdc": "", "sda": ""}
	for bus, want := range map[string]string{"virtio": "vdb", "scsi": "sdb", "sata": "sdb", "ide": "hda"} {
		if got := freeTarget(bus, taken); got != want {
			t.Errorf("%s: %s, want %s", bus, got, want)
		}
	}
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 27: "ab", 701: "zz"} {
		if got := letters(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
