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
	queue []chan struct{}
}

// join queues for a place. The channel is closed when the place is given.
func (p *places) join() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	place := make(chan struct{})
	p.queue = append(p.queue, place)
	p.give()
	return place
}

// leave gives a place back, or ends the wait for it.
func (p *places) leave(place chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, place); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return
	}
	p.free++
	p.give()
}

// give gives the free places to those that have queued first. The caller holds the mutex.
func (p *places) give() {
	for p.free > 0 && len(p.queue) > 0 {
		close(p.queue[0])
		p.queue = p.queue[1:]
		p.free--
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
