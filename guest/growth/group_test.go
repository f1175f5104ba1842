package growth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/guest/disk"
	"github.com/virt-grow/virt-grow/guest/session"
	"github.com/virt-grow/virt-grow/plan"
)

// TestWithGroup checks that the domain's other disk is added if PVs are missing. If they
// are not on that disk either, the first refusal is returned.
func TestWithGroup(t *testing.T) {
	dir := t.TempDir()
	var all string
	for target, name := range map[string]string{"vda": "a.raw", "vdb": "b.raw"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, wholeSize), 0o600); err != nil {
			t.Fatal(err)
		}
		all += diskXML(target, path, "raw", "")
	}
	d := define(t, off, "", all)
	lacking := &missingPVs{plan.RefuseMissing(plan.Group{Name: "vg", Missing: 1})}
	for name, c := range map[string]struct {
		refusals int
		tries    string
		reason   plan.Reason
	}{
		"complete":  {0, "vdb", ""},
		"on vda":    {1, "vdb|vdb vda", ""},
		"elsewhere": {9, "vdb|vdb vda", plan.UnsupportedLayout},
	} {
		o := DomainOptions{Disk: "vdb"}
		opened, err := OpenDomain(t.Context(), d, o)
		if err != nil {
			t.Fatal(err)
		}
		var tries []string
		got, err := WithGroup(t.Context(), opened, o, session.Options{}, func(d *disk.Disk) (int, error) {
			var names []string
			for _, each := range d.All() {
				names = append(names, each.Def.Target)
			}
			if len(d.Target.More) != len(d.More) {
				t.Errorf("%s: target %+v", name, d.Target.More)
			}
			tries = append(tries, strings.Join(names, " "))
			if len(tries) <= c.refusals {
				return 0, lacking
			}
			return len(tries), nil
		})
		if strings.Join(tries, "|") != c.tries || reasonOf(err) != c.reason || err == nil && got != len(tries) {
			t.Errorf("%s: %q, %d, %v", name, tries, got, err)
		}
	}
}
