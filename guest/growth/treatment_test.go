package growth

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/plan/inventory"
)

// TestForDomain checks that every option has a source: a field of DomainOptions that a
// treatment cannot set would be missing in an inventory. An inventory moves no disk to another
// bus.
func TestForDomain(t *testing.T) {
	all := inventory.Treatment{
		Accept: "manual", TrialBoot: true, TrialDisks: "target", NoAgent: true, ForceOff: true,
		ShutdownTimeout: inventory.Duration(time.Second), BootTimeout: inventory.Duration(2 * time.Second), Settle: inventory.Duration(3 * time.Second),
		MaxOutage: inventory.Duration(4 * time.Second), CheckTimeout: inventory.Duration(5 * time.Second), HealthCommand: "true",
		Hooks: inventory.Hooks{Pre: "a", Post: "b", OnFailure: "c"}, ScratchDir: "/scratch", SectorSize: 4096,
	}
	got := reflect.ValueOf(ForDomain(all, "vda", "vdb", "vdc"))
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		if got.Field(i).IsZero() && name != "Bus" && name != "Moves" {
			t.Errorf("nothing sets %s", name)
		}
	}
	want := DomainOptions{ShutdownTimeout: ShutdownTimeout, BootTimeout: BootTimeout, Settle: Settle}
	if diff := cmp.Diff(want, ForDomain(inventory.DefaultTreatment())); diff != "" {
		t.Error("defaults:", diff)
	}
	var o Options
	o.Treat(all)
	if o.Hooks != (Hooks{Pre: "a", Post: "b", OnFailure: "c"}) || o.Window.Max != 4*time.Second || o.CheckLimit != 5*time.Second || o.Scratch != "/scratch" {
		t.Errorf("got %+v", o)
	}
}
