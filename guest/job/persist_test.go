package job_test

import (
	"testing"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// TestPersistedFieldsAreTagged covers the header and the files in the state directory.
func TestPersistedFieldsAreTagged(t *testing.T) {
	journaltest.CheckTags(t, job.Header{}, job.Running{}, job.Ending{}, job.Timings{})
}
