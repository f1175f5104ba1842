// Package poll waits for what sends no notice when it happens, by checking again
// and again. It never starts a goroutine and never interrupts a check.
package poll

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Wait describes one wait.
type Wait struct {
	// For is what is waited for, as it goes into errors: "the guest agent".
	For string
	// Every is the time between the end of one check and the start of the next.
	Every time.Duration
	// Limit is the time after which Until gives up; zero means that only the
	// context ends the wait.
	Limit time.Duration
}

// ErrTimeout is in the error of a wait that has reached its Limit.
var ErrTimeout = errors.New("timed out")

// Until calls check at once, and then every w.Every, until it reports true.
//
// An error of check ends the wait and is returned as it is. When ctx ends first,
// the error wraps the context's cause; at the limit it wraps ErrTimeout. Both say
// what was waited for. The last check begins when the limit is reached, not
// before.
func Until(ctx context.Context, w Wait, check func() (bool, error)) error {
	end := time.Now().Add(w.Limit)
	for ctx.Err() == nil {
		last := w.Limit > 0 && !time.Now().Before(end)
		if done, err := check(); done || err != nil {
			return err
		}
		if last {
			return fmt.Errorf("%w after %s of waiting for %s", ErrTimeout, w.Limit, w.For)
		}
		pause := w.Every
		if w.Limit > 0 {
			pause = min(pause, time.Until(end))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("waiting for %s: %w", w.For, context.Cause(ctx))
}
