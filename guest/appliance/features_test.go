package appliance

import (
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// TestFeatures boots the real appliance. The test machine supports all features.
func TestFeatures(t *testing.T) {
	level.Need(t, level.Real)
	f, err := Features(t.Context(), Auto, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Lacking) > 0 || f.NTFSError != nil {
		t.Errorf("lacking %q, NTFS: %v", f.Lacking, f.NTFSError)
	}
	if f.Version == "" || f.Kernel == "" || f.Launch <= 0 {
		t.Errorf("incomplete: %+v", f)
	}
	t.Logf("%+v", *f)
}
