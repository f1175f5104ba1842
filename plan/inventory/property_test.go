package inventory_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
	"github.com/virt-grow/virt-grow/plan/size"
)

// TestRoundTrip checks that Parse reads what YAML writes, for any inventory.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anInventory(t)
		text, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := inventory.Parse("written.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

// FuzzParse checks that any text can be read without a crash, and that an inventory that is
// accepted can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("guests: [{name: a, disks: [{size: 30G}]}]"))
	f.Add([]byte("canary: [a]\nguests:\n- name: a\n  disks:\n  - size: fill\n    grow: [none]\n  health-command: >\n    a\n    b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		inv, err := inventory.Parse("f", text)
		if err != nil {
			_ = err.Error()
			return
		}
		written, err := inv.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := inventory.Parse("written", written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if diff := cmp.Diff(inv, again); diff != "" {
			t.Fatalf("%s\n%s", diff, written)
		}
	})
}

// anInventory returns a valid inventory with names that YAML may take for something else.
func anInventory(t *rapid.T) *inventory.Inventory {
	inv := &inventory.Inventory{
		Connect:  rapid.SampledFrom([]string{"", "qemu:///system", "test:///default"}).Draw(t, "connect"),
		Parallel: rapid.IntRange(1, 9).Draw(t, "parallel"), StopAfter: rapid.IntRange(1, 9).Draw(t, "stop-after"),
		Defaults: aTreatment(t),
	}
	if rapid.Bool().Draw(t, "window") {
		inv.Window = inventory.Window{Start: "02:00", End: "2026-01-31T04:00:00Z"}
	}
	names := rapid.SliceOfNDistinct(aName(), 1, 4, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		g := inventory.Guest{Name: name, Treatment: aTreatment(t)}
		for i := range rapid.IntRange(1, 3).Draw(t, "disks") {
			g.Disks = append(g.Disks, inventory.Disk{
				Disk: fmt.Sprintf("vd%c", 'a'+i), Size: rapid.SampledFrom([]string{"30G", "+1.5T", "fill", "4096B"}).Draw(t, "size"),
				Grow: rapid.SliceOfN(rapid.SampledFrom([]string{"/", "C:", "/data=20G", "vg/lv=30%", "LABEL=a: b", "# no"}), 0, 2).Draw(t, "grow"),
			})
			if len(g.Disks[i].Grow) == 0 {
				g.Disks[i].Grow = nil
			}
		}
		inv.Guests = append(inv.Guests, g)
	}
	if rapid.Bool().Draw(t, "by name") {
		inv.Canary.Names = slices.Clone(names[:rapid.IntRange(1, len(names)).Draw(t, "canaries")])
	} else {
		inv.Canary.Count = rapid.IntRange(0, 3).Draw(t, "canary")
	}
	return inv
}

// aName returns names with the characters that YAML gives a meaning.
func aName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"007", "0x10", "1e3", "~", "null", "true", "yes", "-", "a: b", "#a", "a #b", "'a", `"a"`, "[a]", "{a", "*a", "&a", "!a", "%a", "@a", "`a", " a ", "a\\b", "ä", "1_000", "02:00", "=", "<<", "?", "|", ">", ",", ".inf", "-.NaN", "2026-01-31"}),
		rapid.StringMatching(`[ -.0-~]{1,8}[a-z]`),
	)
}

// aCommand returns commands, which may have several lines.
func aCommand() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom([]string{"", " ", "\n", "a\nb", "a\nb\n", "a\n\n\n", "  a\n b", "\ta", "a: b\n# c", "a \n b "}), aName())
}

func aTreatment(t *rapid.T) inventory.Treatment {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	seconds := func(name string) inventory.Duration {
		return inventory.Duration(time.Duration(rapid.IntRange(0, 90000).Draw(t, name)) * time.Millisecond)
	}
	tr := inventory.Treatment{
		Accept: "auto", Trial: flag("trial"), NoMove: flag("no-move"), NoAgent: flag("no-agent"), ForceOff: flag("force-off"),
		Check:           rapid.SampledFrom([]plan.CheckMode{plan.CheckAuto, plan.CheckFull, plan.CheckQuick}).Draw(t, "check"),
		NTFS:            rapid.SampledFrom([]plan.NTFSWay{plan.NTFSOffline, plan.NTFSGuest}).Draw(t, "ntfs"),
		TrialDisks:      rapid.SampledFrom([]string{"all", "target"}).Draw(t, "trial-disks"),
		ShutdownTimeout: seconds("shutdown"), BootTimeout: seconds("boot"), Settle: seconds("settle"), MaxOutage: seconds("max"), CheckTimeout: seconds("check"),
		HealthCommand: aCommand().Draw(t, "health"),
		Hooks:         inventory.Hooks{Pre: aCommand().Draw(t, "pre"), Post: aCommand().Draw(t, "post"), OnFailure: aCommand().Draw(t, "on-failure")},
		ScratchDir:    rapid.SampledFrom([]string{"", "/scratch", "/a: b"}).Draw(t, "scratch"),
		SectorSize:    rapid.SampledFrom([]size.Bytes{0, 512, 4096}).Draw(t, "sector"),
	}
	if tr.Trial {
		tr.TrialBoot = flag("trial-boot")
		tr.Accept = rapid.SampledFrom([]string{"auto", "manual"}).Draw(t, "accept")
	}
	for range rapid.IntRange(0, 2).Draw(t, "keys") {
		tr.Keys = append(tr.Keys, inventory.Key{ID: rapid.SampledFrom([]string{"all", "sda3", "-"}).Draw(t, "id"), File: "/etc/keys/a: b"})
	}
	return tr
}
