package growth

import (
	"errors"
	"os"
	"path/filepath"
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

// TestOpenMoved checks that a move opens all disks in the order of the definition, and that
// the options that are read from its plan open the same disks.
func TestOpenMoved(t *testing.T) {
	dir := t.TempDir()
	var disks string
	for _, name := range []string{"vda", "vdb"} {
		path := filepath.Join(dir, name+".raw")
		if err := os.WriteFile(path, make([]byte, wholeSize), 0o600); err != nil {
			t.Fatal(err)
		}
		disks += diskXML(name, path, "raw", "")
	}
	d := define(t, 0, "", disks+"<controller type='pci' index='0' model='pci-root'/>")
	o := DomainOptions{Disk: "vdb", Bus: "sata", ShutdownTimeout: ShutdownTimeout, BootTimeout: BootTimeout, Settle: Settle}
	opened, err := OpenDomain(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	g := opened.Target.Guest
	want := []plan.BusMove{{Disk: "vdb", Target: "sda", From: "virtio", To: "sata", Notes: []string{"a controller is added: <controller type='sata' index='0'/>"}}}
	if diff := cmp.Diff(want, g.Moves); diff != "" || !g.Trial || g.Disk != "vda" || len(g.Disks) != 2 {
		t.Errorf("%+v %s", g, diff)
	}
	again, err := OpenDomain(t.Context(), d, optionsOf(opened.Target))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(opened.Target, again.Target); diff != "" {
		t.Errorf("with the options of its plan: %s", diff)
	}
	o.Bus = "virtio"
	if same, err := OpenDomain(t.Context(), d, o); err != nil || len(same.Target.Guest.Moves) != 0 || len(same.All()) != 1 {
		t.Errorf("on the bus already: %+v, %v", same, err)
	}
}
