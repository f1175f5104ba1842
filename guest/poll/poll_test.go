package poll_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/poll"
)

var errBroken = errors.New("broken")

// answers is a check with a list of results. The last result is repeated.
type answers struct {
	list  []error // nil: done; errNotYet: not yet; another error: failed
	calls int
}

var errNotYet = errors.New("not yet")

func (a *answers) check() (bool, error) {
	err := a.list[min(a.calls, len(a.list)-1)]
	a.calls++
	if errors.Is(err, errNotYet) {
		return false, nil
	}
	return err == nil, err
}

func TestUntil(t *testing.T) {
	for name, c := range map[string]struct {
		answers []error
		limit   time.Duration
		want    error
		calls   int // 0: any number
	}{
		"there at once":            {[]error{nil}, 0, nil, 1},
		"there at the third check": {[]error{errNotYet, errNotYet, nil}, 0, nil, 3},
		"there before the limit":   {[]error{errNotYet, nil}, time.Hour, nil, 2},
		"failed":                   {[]error{errNotYet, errBroken, nil}, 0, errBroken, 2},
		"never there":              {[]error{errNotYet}, time.Nanosecond, poll.ErrTimeout, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &answers{list: c.answers}
			w := poll.Wait{For: "the moon", Every: time.Nanosecond, Limit: c.limit}
			err := poll.Until(t.Context(), w, a.check)
			if !errors.Is(err, c.want) || c.calls > 0 && a.calls != c.calls {
				t.Errorf("%v after %d checks, want %v after %d", err, a.calls, c.want, c.calls)
			}
		})
	}
}

// TestLimit checks that the interval may be longer than the limit, and that there is a
// last check at the limit.
func TestLimit(t *testing.T) {
	a := &answers{list: []error{errNotYet, nil}}
	w := poll.Wait{For: "the moon", Every: time.Hour, Limit: time.Millisecond}
	if err := poll.Until(t.Context(), w, a.check); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatWasWaitedFor(t *testing.T) {
	ended, end := context.WithCancelCause(t.Context())
	end(errBroken)
	for name, c := range map[string]struct {
		ctx   context.Context
		limit time.Duration
		want  error
	}{
		"the context had ended": {ended, 0, errBroken},
		"the limit is reached":  {t.Context(), time.Nanosecond, poll.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			a := &answers{list: []error{errNotYet}}
			err := poll.Until(c.ctx, poll.Wait{For: "the moon", Limit: c.limit}, a.check)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "for the moon") {
				t.Errorf("got %q", err)
			}
		})
	}
}

// TestContextEnds checks that a wait with an interval of an hour ends with its context.
func TestContextEnds(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	calls := 0
	err := poll.Until(ctx, poll.Wait{For: "the moon", Every: time.Hour}, func() (bool, error) {
		calls++
		end(errBroken)
		return false, nil
	})
	if !errors.Is(err, errBroken) || calls != 1 {
		t.Errorf("%v after %d checks", err, calls)
	}
}
