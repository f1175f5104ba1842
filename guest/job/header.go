package job

import (
	"encoding/json"
	"errors"

	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Header is the first journal entry of every job. It holds no key. A later entry of the
// same kind replaces it, when the data or the steps have changed. Its schema is the
// journal's.
type Header struct {
	// Kind names the kind in the engine's Kinds.
	Kind   string      `json:"kind"`
	Target plan.Target `json:"target"`
	// Locks has every disk and domain that the job works on.
	Locks []string `json:"locks"`
	// Steps are known from the start, or since the plan was confirmed.
	Steps []plan.Step `json:"steps,omitempty"`
	// Agreed reports that no confirmation is needed any more.
	Agreed bool `json:"agreed"`
	// Data is what the kind needs after a crash.
	Data json.RawMessage `json:"data,omitempty"`
}

// errNoHeader reports that a job ended before its first entry was on disk.
var errNoHeader = errors.New("the journal does not say what the job is for")

// headerOf reads the header in a journal's record.
func headerOf(r journal.Record) (Header, error) {
	var h Header
	if len(r.Facts) == 0 {
		return h, errNoHeader
	}
	err := json.Unmarshal(r.Facts, &h)
	return h, err
}

// locksOf returns the locks in a journal, even if the journal has another schema or is damaged:
// such a job also locks its disks.
func locksOf(r journal.Record) []string {
	var h struct {
		Locks []string `json:"locks"`
	}
	if json.Unmarshal(r.Facts, &h) != nil {
		return nil
	}
	return h.Locks
}
