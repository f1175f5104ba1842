package appliance

import "testing"

// TestDeviceHere checks that names of subvolumes contain the kernel's name of the disk.
func TestDeviceHere(t *testing.T) {
	one, two := &Appliance{drives: make([]drive, 1)}, &Appliance{drives: make([]drive, 2)}
	for _, c := range []struct {
		a               *Appliance
		mountable, want string
	}{
		{one, "/dev/sda1", "sda1"},
		{one, "btrfsvol:/dev/sda1/@/root", "sda1"},
		{one, "btrfsvol:/dev/sdb1/@/.snapshots/1/snapshot", "sda1"},
		{one, "btrfsvol:/dev/sdb/@", "sda"},
		{two, "btrfsvol:/dev/sdb1/@", "sdb1"},
	} {
		if got := c.a.deviceHere(c.mountable); got != c.want {
			t.Errorf("%s: %s, want %s", c.mountable, got, c.want)
		}
	}
	if got := pathOfSubvolume("btrfsvol:/dev/sdb1/@/.snapshots/1/snapshot"); got != "@/.snapshots/1/snapshot" {
		t.Error(got)
	}
}
