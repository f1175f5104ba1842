package guest

import (
	"testing"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// TestPersistedFieldsAreTagged covers what this package keeps in journals and in the
// state directory.
func TestPersistedFieldsAreTagged(t *testing.T) {
	journaltest.CheckTags(t, growthData{}, job.Timings{})
}
