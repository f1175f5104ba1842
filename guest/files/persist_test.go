package files

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// TestPersistedFieldsAreTagged covers the types that this package stores in journals.
func TestPersistedFieldsAreTagged(t *testing.T) {
	journaltest.CheckTags(t, Change{})
}
