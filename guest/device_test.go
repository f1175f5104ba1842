package guest

import (
	"os"
	"path/filepath"
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

func TestIsISO(t *testing.T) {
	for name, c := range map[string]struct {
		at   int
		text string
		want bool
	}{
		"iso9660": {16*2048 + 1, "CD001", true}, "udf": {17*2048 + 1, "NSR02", true},
		"disk": {0, "QFI\xfb", false}, "elsewhere": {1, "CD001", false},
	} {
		text := make([]byte, 64<<10)
		copy(text[c.at:], c.text)
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := isISO(path); err != nil || got != c.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
		if got, err := isISO(path); err != nil || got {
			t.Errorf("%s, cut off: %v %v", name, got, err)
		}
	}
}
