package growth

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/image"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/bus"
	"github.com/virt-grow/virt-grow/plan/live"
	"github.com/virt-grow/virt-grow/plan/size"
)

// guestDisk is a disk of a definition that can be changed.
func guestDisk(target, source string) domain.Disk {
	return domain.Disk{Target: target, Source: source, Kind: "file", Device: "disk", Format: "raw"}
}

// TestWithOthers checks that all disks that can be changed are opened, in the order of the
// definition.
func TestWithOthers(t *testing.T) {
	cdrom, shared, block := guestDisk("hdc", "/c.iso"), guestDisk("vdc", "/c"), guestDisk("vdd", "/dev/x")
	cdrom.Device, cdrom.Fixed, shared.Shared, block.Kind = "cdrom", true, true, "block"
	all := []domain.Disk{guestDisk("vda", "/a"), cdrom, guestDisk("hda", "/b"), shared, block}
	for scratch, want := range map[string]string{"": "vda hda", "/scratch": "vda hda vdd"} {
		disks, notes := withOthers("old", all, all[2:3], scratch)
		var got []string
		for _, d := range disks {
			got = append(got, d.Target)
		}
		if strings.Join(got, " ") != want || len(notes) != len(all)-1-len(disks) {
			t.Errorf("scratch %q: %q, %q", scratch, got, notes)
		}
	}
	if disks, _ := withOthers("old", all, all[4:], ""); len(disks) != 3 {
		t.Errorf("a block device that moves is left out: %v", disks)
	}
}

// TestForMove checks that each size stays at its disk when the other disks are opened, too.
func TestForMove(t *testing.T) {
	amount := func(n size.Bytes) plan.Amount { return plan.Amount{Mode: plan.Relative, Bytes: n} }
	keep := plan.Amount{Mode: plan.Keep}
	defs := []domain.Disk{guestDisk("vda", "/a"), guestDisk("hda", "/b"), guestDisk("hdb", "/c")}
	var all []*disk.Disk
	for _, def := range defs {
		all = append(all, &disk.Disk{Def: def, Image: &image.Image{}})
	}
	d := all[0]
	d.Domain, d.Status.Disks, d.More = &domain.Domain{Name: "old"}, defs, all[1:]
	for name, c := range map[string]struct {
		names []string
		given plan.Request
		want  plan.Request
	}{
		"nothing grows":        {[]string{"hda"}, plan.Request{Size: keep}, plan.Request{Size: keep}},
		"the first disk grows": {[]string{"vda"}, plan.Request{Size: amount(1)}, plan.Request{Size: amount(1)}},
		"another disk grows":   {[]string{"hda"}, plan.Request{Size: amount(1)}, plan.Request{Size: keep, More: []plan.DiskSize{{Disk: "hda", Size: amount(1)}}}},
		"two disks grow": {[]string{"hdb", "vda"}, plan.Request{Size: amount(1), More: []plan.DiskSize{{Disk: "vda", Size: amount(2)}}},
			plan.Request{Size: amount(2), More: []plan.DiskSize{{Disk: "hdb", Size: amount(1)}}}},
	} {
		got, err := ForMove(c.given, d, c.names)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if _, err := ForMove(plan.Request{}, d, []string{"vdx"}); err == nil {
		t.Error("a disk that is not there was found")
	}
}

// TestJudgeBus checks that nothing moves if it is not known what the guest needs.
func TestJudgeBus(t *testing.T) {
	moves := []plan.BusMove{{Disk: "hda", From: "ide", To: "virtio"}}
	got, err := judgeBus(bus.Findings{Unclear: "two systems are installed"}, moves)
	if err != nil || got.Problem == nil || !strings.Contains(got.Problem.Text, "two systems") && got.Problem.Reason != plan.BusUnclear {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSeesDisk checks where the guest has to see a disk that has moved.
func TestSeesDisk(t *testing.T) {
	at := func(address string) domain.GuestDisk {
		return domain.GuestDisk{Name: "/dev/vda", Identity: live.Identity{Serial: "s", Address: address}}
	}
	moved := domain.Disk{Target: "vda", Serial: "s", Place: live.PCIAddress(0, 0, 4, 0)}
	for name, c := range map[string]struct {
		disk domain.Disk
		seen []domain.GuestDisk
		ok   bool
	}{
		"at its place":                         {moved, []domain.GuestDisk{at(live.PCIAddress(0, 0, 4, 0))}, true},
		"at another place":                     {moved, []domain.GuestDisk{at(live.PCIAddress(0, 0, 5, 0))}, false},
		"on IDE, by its serial number":         {moved, []domain.GuestDisk{at(live.IDEAddress(live.PCIAddress(0, 0, 1, 1), 0, 0))}, false},
		"the guest does not know the place":    {moved, []domain.GuestDisk{at("")}, true},
		"the definition does not have a place": {domain.Disk{Target: "vda"}, []domain.GuestDisk{at(live.PCIAddress(0, 0, 4, 0))}, true},
		"several at its place":                 {moved, []domain.GuestDisk{at(live.PCIAddress(0, 0, 4, 0)), at(live.PCIAddress(0, 0, 4, 0))}, true},
		"no disk at all":                       {moved, nil, false},
	} {
		err := seesDisk(c.disk, c.seen)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !errors.Is(err, live.ErrNoMatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
