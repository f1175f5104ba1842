package batch

import (
	"context"
	"slices"
	"sync"
)

// places are for the guests that may be away at the same time. They are given in the order in
// which the guests queue. A semaphore has that order only among those that wait already: a
// guest that lets the next one be prepared, and waits then, can be overtaken by it.
type places struct {
	mu    sync.Mutex
	free  int
	queue []waiting
}

// waiting is a guest that queues for a place.
type waiting struct {
	// place is closed when the guest has its place.
	place chan struct{}
	// turn is closed when the guest may have one. Until then it takes none from others: a
	// canary that is ready after the guests that wait for it needs it.
	turn <-chan struct{}
}

// join queues for a place. The channel is closed when the place is given, not before turn is
// closed: whoever closes that calls begin.
func (p *places) join(turn <-chan struct{}) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	place := make(chan struct{})
	p.queue = append(p.queue, waiting{place, turn})
	p.give()
	return place
}

// begin closes a turn.
func (p *places) begin(turn chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(turn)
	p.give()
}

// leave gives a place back, or ends the wait for it.
func (p *places) leave(place chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.queue, func(w waiting) bool { return w.place == place }); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return
	}
	p.free++
	p.give()
}

// give gives the free places to those that have queued first. The caller holds the mutex.
func (p *places) give() {
	for p.free > 0 {
		i := slices.IndexFunc(p.queue, func(w waiting) bool { return isClosed(w.turn) })
		if i < 0 {
			return
		}
		close(p.queue[i].place)
		p.queue = slices.Delete(p.queue, i, i+1)
		p.free--
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// await waits for a channel to be closed.
func await(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
