package batch

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// Standings returns how far the guests of a batch have come; none for a job of another
// kind.
func Standings(jobs StatusReader, s job.Status) []Standing {
	var d data
	if s.Header.Kind != Kind || json.Unmarshal(s.Header.Data, &d) != nil {
		return nil
	}
	return standingsOf(d, s.Record, jobs)
}

// Newest returns the newest batch of the engine's jobs: one that has not ended, if there is
// any.
func Newest(e *job.Engine) (job.Status, error) {
	all, err := e.List()
	if err != nil {
		return job.Status{}, err
	}
	all = slices.DeleteFunc(all, func(s job.Status) bool { return s.Header.Kind != Kind })
	if len(all) == 0 {
		return job.Status{}, fmt.Errorf("%w: there is no batch", journal.ErrNoJob)
	}
	return slices.MaxFunc(all, func(a, b job.Status) int {
		if ended := a.Record.State.Ended(); ended != b.Record.State.Ended() {
			return map[bool]int{true: -1, false: 1}[ended]
		}
		return a.Record.Started.Compare(b.Record.Started)
	}), nil
}
