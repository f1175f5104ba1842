package batch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// sequences are batches, one in each line: the batch as in newStage, and what became of it;
// then an action and what became of it, and so on. The actions are resume (which begins with
// the guests that are left), finish (resume without --yes), accept and rollback.
var sequences = `
a b c > a done, b done, c done > done
a b c parallel=2 > a done, b done, c done > done
a b c canary=1 parallel=2 > a done, b done, c done > done
a b c canary=2 > a done, b done, c done > done

a b c canary=1 a:boots > a restored, b left stopped, c left stopped > waiting: resume close ; resume > a restored, b done, c done > done
a b c canary=2 b:boots > a done, b restored, c left stopped > waiting: resume close
a b c canary=1 a:stale > a refused stale-plan, b left stopped, c left stopped > waiting: resume close ; accept > a refused stale-plan, b left stopped, c left stopped > closed
a b c canary=1 a:refused b:boots > b restored, c left stopped > waiting: resume close
a b c canary=1 a:refused > b done, c done > done
a b c canary=1 a:manual > a waiting, b done, c done > waiting: accept rollback

a b c b:goes_off > a done, b failed shutdown-timeout, c left stopped > waiting: resume close ; resume > a done, b failed shutdown-timeout, c done > done
a b c stop=2 b:goes_off > a done, b failed shutdown-timeout, c done > done
a b c b:boots > a done, b restored, c left stopped > waiting: resume close
a b c stop=2 a:boots b:boots > a restored, b restored, c left stopped > waiting: resume close
a b c b:launch > a done, b failed, c left stopped > waiting: resume close
a b c b:stale > a done, b refused stale-plan, c done > done
a b c b:refused > a done, c done > done
a b a:stale b:stale > a refused stale-plan, b refused stale-plan > rolled-back
a b c b:stuck > a done, b unfinished, c left stopped > waiting: resume rollback ; rollback > a done, b rolled-back, c left stopped > done

a b c end=100s > a done, b done, c left window > waiting: resume close ; resume > a done, b done, c left window > waiting: resume close
a b c end=10s > a left window, b left window, c left window > waiting: resume close
a b canary=1 end=10s > a left window, b left stopped > waiting: resume close

a b c a:manual b:manual > a waiting, b waiting, c done > waiting: accept rollback ; accept > a done, b done, c done > done
a b c a:manual b:manual > a waiting, b waiting, c done > waiting: accept rollback ; rollback > a rolled-back, b rolled-back, c done > done
a b a:manual b:manual > a waiting, b waiting > waiting: accept rollback ; rollback > a rolled-back, b rolled-back > rolled-back
a b c a:manual b:boots > a waiting, b restored, c left stopped > waiting: accept resume rollback ; accept > a done, b restored, c left stopped > waiting: resume close ; resume > a done, b restored, c done > done
a b c a:manual b:boots > a waiting, b restored, c left stopped > waiting: accept resume rollback ; finish > a waiting, b restored, c left stopped > waiting: accept resume rollback ; rollback > a rolled-back, b restored, c left stopped > rolled-back
`

func TestSequences(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(sequences)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var played []string
			var s *stage
			for part := range strings.SplitSeq(line, " ; ") {
				action, _, _ := strings.Cut(part, " > ")
				var err error
				if s == nil {
					s = newStage(t, action)
					err = s.apply(ctx)
				} else {
					err = s.do(ctx, action)
				}
				checkError(t, err)
				played = append(played, action+" > "+s.told(t))
			}
			if got := strings.Join(played, " ; "); got != line {
				t.Errorf("got\n%s", got)
			}
			s.checkBounds(t)
		})
	}
}

// checkBounds fails the test if too many guests were away, or had an appliance. One guest at
// a time is prepared.
func (s *stage) checkBounds(t *testing.T) {
	t.Helper()
	if s.mostAway > s.batch.Parallel || s.mostLaunched > s.batch.Parallel+1 || s.mostBoots > 1 {
		t.Errorf("%d outages, %d appliances and %d boots at a time: %q", s.mostAway, s.mostLaunched, s.mostBoots, s.trace)
	}
}

// checkError fails the test unless an error is that of guests that are not grown.
func checkError(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.As(err, new(*batch.Incomplete)) {
		t.Error(err)
	}
}

// TestOverlap checks that the next guest is prepared while a guest is away, that as
// many guests are away as there are places, and that a canary is alone.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		name, line string
		hold       map[string]string
		away       int
	}{
		{"one place", "a b c", map[string]string{"a goes off": "b is ready", "b boots": "c is ready"}, 1},
		{"the canary", "a b canary=1", map[string]string{"a goes off": "b is ready"}, 1},
		{"the canary, three places", "a b c canary=1 parallel=3", map[string]string{"a boots": "c is ready", "b goes off": "c goes off", "c goes off": "b goes off"}, 2},
		{"two canaries", "a b c canary=2 parallel=2", map[string]string{"a boots": "b is ready", "b boots": "c is ready"}, 1},
		{"two places", "a b c d parallel=2", map[string]string{"a goes off": "b goes off", "b goes off": "a goes off", "a boots": "c is ready", "b boots": "d is ready"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := newStage(t, c.line)
			s.hold = c.hold
			if err := s.apply(ctx); err != nil {
				t.Fatal(err)
			}
			s.checkBounds(t)
			if s.mostAway != c.away {
				t.Errorf("%d outages at a time: %q", s.mostAway, s.trace)
			}
			if s.batch.Canary != nil && slices.Index(s.trace, "a commits") > slices.Index(s.trace, "b goes off") {
				t.Errorf("the canary was not alone: %q", s.trace)
			}
		})
	}
}

// TestCapacityBounds checks that there are no more appliances than the host has memory for, and no
// more boots than it has processors for.
func TestCapacityBounds(t *testing.T) {
	for _, c := range []batch.Capacity{{Boots: 1, Appliances: 1}, {Boots: 4, Appliances: 2}, {Boots: 2, Appliances: 8}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := newStage(t, "a b c d e f canary=1 parallel=4")
		o := s.options(batch.Options{Capacity: c})
		if _, err := batch.Apply(ctx, s.batch, "/batch.json", o); err != nil {
			t.Fatal(err)
		}
		if s.mostLaunched > c.Appliances || s.mostBoots > c.Boots || !s.grown() {
			t.Errorf("%+v: %d appliances and %d boots at a time", c, s.mostLaunched, s.mostBoots)
		}
	}
}

// TestSlowCanary checks that guests that are ready before their canary wait for it.
func TestSlowCanary(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := newStage(t, "a b c canary=1")
	s.hold = map[string]string{"a is ready": "c is ready"}
	o := s.options(batch.Options{Capacity: batch.Capacity{Boots: 3, Appliances: 8}})
	if _, err := batch.Apply(ctx, s.batch, "/batch.json", o); err != nil {
		t.Fatalf("%v: %q", err, s.trace)
	}
	if slices.Index(s.trace, "a commits") > slices.Index(s.trace, "b goes off") || !s.grown() {
		t.Errorf("the canary was not alone: %q", s.trace)
	}
}

// TestStop checks that a failure ends guests whose outage has not begun, and none whose
// outage has.
func TestStop(t *testing.T) {
	s := newStage(t, "a b c parallel=2 a:boots")
	s.hold = map[string]string{"a goes off": "b goes off", "b goes off": "a goes off",
		"a boots": "c prepares", "c is ready": "never", "b boots": "c gives up"}
	checkError(t, s.apply(t.Context()))
	if got, want := s.told(t), "a restored, b done, c left stopped > waiting: resume close"; got != want {
		t.Errorf("%s, want %s: %q", got, want, s.trace)
	}
}

// TestInterrupt checks that an interrupt undoes the guests that are away, and begins with no
// other.
func TestInterrupt(t *testing.T) {
	interrupt := errors.New("interrupted")
	for _, c := range []struct{ at, want string }{
		{"a prepares", "a left interrupted, b left interrupted, c left interrupted > waiting: resume close"},
		{"a goes off", "a interrupted, b left interrupted, c left interrupted > waiting: resume close"},
		{"a commits", "a done, b left interrupted, c left interrupted > waiting: resume close"},
		{"b boots", "a done, b interrupted, c left interrupted > waiting: resume close"},
	} {
		t.Run(c.at, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "a b c canary=1")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				for !slices.Contains(s.trace, c.at) {
					s.changed.Wait()
				}
				cancel(interrupt)
			}()
			s.hold = map[string]string{c.at: "never"}
			if c.at == "a commits" {
				s.hold = map[string]string{"b prepares": "never"}
			}
			err := s.apply(ctx)
			if got := s.told(t); got != c.want || !errors.Is(err, interrupt) {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
			s.hold = nil
			if err := errors.Join(s.do(t.Context(), "resume"), s.check()); err != nil || !s.grown() {
				t.Errorf("%v: %s", err, s.told(t))
			}
		})
	}
}

func (s *stage) happened(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.trace, what)
}

func (s *stage) grown() bool {
	for _, m := range s.guests {
		if !m.grown {
			return false
		}
	}
	return true
}

// TestKill copies everything as it is at each entry of the batch's journal, as a crash would
// leave it. Listing the jobs begins nothing. Resume then grows every guest, and rollback
// leaves every guest running.
func TestKill(t *testing.T) {
	for _, line := range []string{"a b c canary=1", "a b c parallel=2", "a b c a:manual"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, line)
			var mu sync.Mutex
			var crashes []*stage
			s.engine.Fault = func(context.Context, string) error {
				mu.Lock()
				defer mu.Unlock()
				crashes = append(crashes, s.copied(t))
				return nil
			}
			if err := s.apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(crashes) < 18 { // three guests: begun, away, ended; before and after each
				t.Fatalf("only %d entries", len(crashes))
			}
			for i, crashed := range crashes {
				back := crashed.copied(t)
				told := crashed.told(t)
				for _, c := range []struct {
					stage  *stage
					action string
				}{{crashed, "resume"}, {back, "rollback"}} {
					before := c.stage.told(t)
					if !strings.Contains(before, c.action) {
						continue // nothing has begun, or everything has ended
					}
					err := c.stage.do(t.Context(), c.action)
					err = errors.Join(err, c.stage.check())
					if err != nil || c.action == "resume" && !c.stage.grown() {
						t.Errorf("entry %d: %s; after %s: %s, %v", i, told, c.action, c.stage.told(t), err)
					}
				}
			}
		})
	}
}

// TestFinish checks that a resume without --yes finishes what had begun, and begins nothing.
func TestFinish(t *testing.T) {
	s := newStage(t, "a b")
	var mu sync.Mutex
	var crash *stage
	s.engine.Fault = func(_ context.Context, point string) error {
		mu.Lock()
		defer mu.Unlock()
		if crash == nil && point == "part:a/before" && s.happened("a is ready") {
			crash = s.copied(t) // a goes away
		}
		return nil
	}
	if err := s.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := crash.do(t.Context(), "finish"); err != nil {
		t.Error(err)
	}
	if got, want := crash.told(t), "a done, b left > waiting: resume close"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestJournalFails checks that no outage begins any more when the batch's journal cannot be
// written.
func TestJournalFails(t *testing.T) {
	s := newStage(t, "a b c")
	broken := errors.New("no space left")
	s.engine.Fault = func(_ context.Context, point string) error {
		if point == "part:b/before" {
			return broken
		}
		return nil
	}
	err := s.apply(t.Context())
	if !errors.Is(err, broken) || slices.Contains(s.trace, "b goes off") || slices.Contains(s.trace, "c goes off") {
		t.Errorf("%v: %q", err, s.trace)
	}
}

// TestByItself checks that a batch knows what people have done with a guest's own job.
func TestByItself(t *testing.T) {
	s := newStage(t, "a b a:manual b:manual")
	if err := s.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.jobs["job-a"].state, s.jobs["job-b"].state = journal.Finished, journal.Closed
	if got, want := s.told(t), "a done, b closed > waiting: close"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestTwice checks that a guest is in one unfinished batch at a time.
func TestTwice(t *testing.T) {
	s := newStage(t, "a b a:boots")
	checkError(t, s.apply(t.Context()))
	if err := s.apply(t.Context()); err == nil || !strings.Contains(err.Error(), "has not ended") {
		t.Error(err)
	}
}

// TestWindowBegins checks that a batch waits for the begin of its window.
func TestWindowBegins(t *testing.T) {
	s := newStage(t, "a")
	s.batch.Window.Start = begun.Add(time.Hour).Format(time.RFC3339)
	if err := s.apply(t.Context()); err != nil || s.now.Sub(begun) != time.Hour+outage {
		t.Errorf("%v, at %s", err, s.now)
	}
}

// TestMeasured checks the time for which a guest was away.
func TestMeasured(t *testing.T) {
	s := newStage(t, "a")
	if err := s.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, err := s.engine.Status(s.id)
	if err != nil {
		t.Fatal(err)
	}
	got := batch.Standings(s.world, status)[0]
	if got.Outage() != outage || got.Expected != outage.Seconds() || got.Job != "job-a" {
		t.Errorf("%+v", got)
	}
}

// TestNewest checks which batch is shown if none is named.
func TestNewest(t *testing.T) {
	s := newStage(t, "a b a:boots")
	if _, err := batch.Newest(s.engine); !errors.Is(err, journal.ErrNoJob) {
		t.Error(err)
	}
	checkError(t, s.apply(t.Context()))
	unfinished := s.id
	other := newStage(t, "c")
	other.engine.Store = s.engine.Store
	if err := other.apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := batch.Newest(s.engine); err != nil || got.ID != unfinished {
		t.Errorf("%s, %v; want the one that has not ended", got.ID, err)
	}
	if _, err := s.engine.Close(unfinished); err != nil {
		t.Fatal(err)
	}
	if got, err := batch.Newest(s.engine); err != nil || got.ID != other.id {
		t.Errorf("%s, %v", got.ID, err)
	}
}
