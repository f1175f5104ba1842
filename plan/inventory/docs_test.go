package inventory_test

import (
	"os"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/plan/inventory"
)

// TestDocumented checks that the inventory in the manual can be read, and that the manual
// names every key.
func TestDocumented(t *testing.T) {
	manual, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```yaml\n# fleet.yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the manual has no example")
	}
	if _, err := inventory.Parse("fleet.yaml", []byte(example)); err != nil {
		t.Error(err)
	}
	_, err = inventory.Parse("fleet.yaml", []byte("guests: [{unknown: x}]"))
	_, known, _ := strings.Cut(err.Error(), "known are ")
	known, _, _ = strings.Cut(known, "\n")
	for _, key := range strings.Split(known, ", ") {
		if !strings.Contains(string(manual), key) {
			t.Errorf("the manual does not name %s", key)
		}
	}
}
