package batch

import "testing"

// given reports which of the places have been given.
func given(all ...chan struct{}) (text string) {
	for i, place := range all {
		select {
		case <-place:
			text += string(rune('a' + i))
		default:
		}
	}
	return text
}

// TestPlaces checks that places are given in the order of the queue, and that one who leaves
// keeps nobody from a place.
func TestPlaces(t *testing.T) {
	p := &places{free: 2}
	join := func() chan struct{} { return p.join(closed()) }
	a, b, c, d, e := join(), join(), join(), join(), join()
	for _, step := range []struct {
		leaves chan struct{}
		want   string
	}{{nil, "ab"}, {a, "abc"}, {d, "abc"}, {c, "abce"}, {b, "abce"}, {e, "abce"}} {
		if step.leaves != nil {
			p.leave(step.leaves)
		}
		if got := given(a, b, c, d, e); got != step.want {
			t.Errorf("given are %s, want %s", got, step.want)
		}
	}
	if p.free != 2 || len(p.queue) != 0 {
		t.Errorf("in the end %d are free, %d wait", p.free, len(p.queue))
	}
}

// TestPlacesTurn checks that a guest that waits for a canary keeps no place from it, although
// it has queued before it.
func TestPlacesTurn(t *testing.T) {
	p := &places{free: 1}
	turn := make(chan struct{})
	a, b := p.join(turn), p.join(turn)
	canary := p.join(closed())
	if got := given(a, b, canary); got != "c" {
		t.Fatalf("given are %q before the canary has ended", got)
	}
	p.begin(turn)
	p.leave(canary)
	if got := given(a, b); got != "a" {
		t.Errorf("given are %q after the canary", got)
	}
}
