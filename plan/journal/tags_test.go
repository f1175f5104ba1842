package journal_test

import (
	"testing"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

func TestPersistedFieldsAreTagged(t *testing.T) {
	journaltest.CheckTags(t, journal.Entry{}, journal.Proc{}, plan.Plan{})
}
