package growth

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// TestPersistedFieldsAreTagged covers what this package keeps in journals.
func TestPersistedFieldsAreTagged(t *testing.T) { journaltest.CheckTags(t, growthData{}) }
