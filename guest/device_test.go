package guest

import (
	"testing"

	"github.com/virt-grow/virt-grow/guest/domain"
)

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

// TestNewDisk: of several new disks the one at the right address; without one, the
// only new one.
func TestNewDisk(t *testing.T) {
	live := domain.Device{Disk: domain.Disk{Bus: "virtio"}, PCI: "0000:00:08.0"}
	a, b, c := domain.GuestDisk{Name: "/dev/vda"}, domain.GuestDisk{Name: "/dev/vdb"}, domain.GuestDisk{Name: "/dev/vdc", PCI: "0000:00:08.0"}
	for _, x := range []struct {
		disks []domain.GuestDisk
		want  string
	}{
		{[]domain.GuestDisk{a}, ""},
		{[]domain.GuestDisk{a, b}, "/dev/vdb"},
		{[]domain.GuestDisk{a, b, c}, "/dev/vdc"},
		{[]domain.GuestDisk{a, b, {Name: "/dev/vdd"}}, ""},
	} {
		if got, _ := newDisk(x.disks, []string{"/dev/vda"}, live); got != x.want {
			t.Errorf("%v: %q, want %q", x.disks, got, x.want)
		}
	}
}
