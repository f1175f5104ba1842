package growth

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/size"
)

// TestSeen checks that a growth keeps what the guest's agent listed in the health check, and
// nothing of a guest that failed it.
func TestSeen(t *testing.T) {
	listed := []job.FileSystem{{MountPoint: "/", Type: "xfs", Total: 2 * size.GiB}}
	for script, after := range map[string][]job.FileSystem{"run": listed, "run health/before=error": nil} {
		s := newStageOf(t, treatments("libvirt agent"), false)
		s.Command(script)
		status, err := s.Engine.Status(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(after, status.Details.SeenAfter); diff != "" {
			t.Errorf("%s:\n%s", script, diff)
		}
	}
}
