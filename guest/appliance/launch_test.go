package appliance

import (
	"strings"
	"testing"

	"libguestfs.org/guestfs"
)

// TestProgramName checks the program's name: RHEL's libguestfs allows NTFS only to
// programs whose name begins with virt-.
func TestProgramName(t *testing.T) {
	if !strings.HasPrefix(programName, "virt-") {
		t.Errorf("%s does not begin with virt-", programName)
	}
}

func TestLUKSKey(t *testing.T) {
	for _, c := range []struct {
		major, minor int64
		key, want    string
	}{
		{1, 48, "secret", "secret"},
		{1, 54, "base64:c2VjcmV0", "base64:c2VjcmV0"},
		{1, 59, "text:secret", "text:secret"},
		{1, 60, "secret", "text:secret"},
		{1, 60, "text:secret", "text:text:secret"},
		{1, 61, "base64:c2VjcmV0", "text:base64:c2VjcmV0"},
		{2, 0, "", "text:"},
	} {
		if got := luksKey(guestfs.Version{Major: c.major, Minor: c.minor}, c.key); got != c.want {
			t.Errorf("%d.%d, %q: %q, want %q", c.major, c.minor, c.key, got, c.want)
		}
	}
}
