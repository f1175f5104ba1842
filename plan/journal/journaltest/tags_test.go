package journaltest_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/journal/journaltest"
)

// recorder is a test that only notes its failures.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()           {}
func (r *recorder) Error(args ...any) { r.errors = append(r.errors, args[0].(string)) }

type inner struct {
	Bare string
	Next *inner `json:"next"`
}

type untagged struct{ Deep int }

func TestCheckTags(t *testing.T) {
	for name, c := range map[string]struct {
		value any
		want  []string
	}{
		"tagged": {struct {
			A int             `json:"a"`
			B json.RawMessage `json:"b"`
			C time.Time       `json:"c"`
			D struct{ E int } `json:"-"`
			f int
		}{}, nil},
		"a pointer":     {&inner{}, []string{"journaltest_test.inner.Bare has no json tag"}},
		"in containers": {map[string][][2]inner{}, []string{"journaltest_test.inner.Bare has no json tag"}},
		"embedded":      {struct{ untagged }{}, []string{"journaltest_test.untagged.Deep has no json tag"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			journaltest.CheckTags(r, c.value)
			if !slices.Equal(r.errors, c.want) {
				t.Errorf("%q, want %q", r.errors, c.want)
			}
		})
	}
}
