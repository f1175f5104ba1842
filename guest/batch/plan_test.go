package batch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/inventory"
)

// host is a fake libvirt with its guests. A guest's value is what becomes of it: "runs",
// "off", "full" (nothing to do), "refused" or "broken".
type host struct {
	guests map[string]string
	// gate, if not nil, lets each look end only when a value arrives.
	gate chan struct{}

	mu           sync.Mutex
	looked       []string
	active, most int
}

func (h *host) Find(_ context.Context, g inventory.Guest) (batch.Identity, error) {
	name := strings.TrimPrefix(g.Name, "uuid-")
	if _, ok := h.guests[name]; !ok {
		return batch.Identity{}, plan.Refuse(plan.NotFound, name, "there is no domain %s", name)
	}
	return batch.Identity{Name: name, UUID: "uuid-" + name}, nil
}

func (h *host) Look(ctx context.Context, _ inventory.Guest, id batch.Identity) (batch.Looked, error) {
	h.mu.Lock()
	h.looked = append(h.looked, id.Name)
	h.active++
	h.most = max(h.most, h.active)
	h.mu.Unlock()
	defer func() { h.mu.Lock(); h.active--; h.mu.Unlock() }()
	if h.gate != nil {
		select {
		case <-h.gate:
		case <-ctx.Done():
			return batch.Looked{}, ctx.Err()
		}
	}
	switch h.guests[id.Name] {
	case "refused":
		return batch.Looked{}, plan.Refuse(plan.LUKSLocked, "sda3", "sda3 is locked")
	case "broken":
		return batch.Looked{}, errors.New("the appliance did not start")
	}
	return batch.Looked{Plan: planOf(id, h.guests[id.Name]), Rehearsed: 3 * time.Second}, nil
}

// planOf returns a plan whose outage is a shutdown of 10 s and a start of 20 s, and whose
// commit takes 1 s.
func planOf(id batch.Identity, state string) *plan.Plan {
	p := aBatch().Guests[0].Plan
	p.Target.Guest = &plan.Guest{Name: id.Name, UUID: id.UUID, Disk: "vda", Running: state == "runs", Trial: state == "runs"}
	switch state {
	case "runs":
		p.Steps = []plan.Step{{Kind: plan.StepShutdown, Seconds: 10}, {Kind: plan.StepStart, Seconds: 20}, {Kind: plan.StepPivot, Seconds: 1}}
	case "off":
		p.Steps = []plan.Step{{Kind: plan.StepTable, Seconds: 2}, {Kind: plan.StepCommit, Seconds: 1}}
	}
	return p
}

// inventoryOf returns an inventory of guests with the names; those with * are canaries.
func inventoryOf(names ...string) *inventory.Inventory {
	inv := &inventory.Inventory{Parallel: 2, StopAfter: 1}
	for _, name := range names {
		name, canary := strings.CutSuffix(name, "*")
		if canary {
			inv.Canary.Names = append(inv.Canary.Names, name)
		}
		inv.Guests = append(inv.Guests, inventory.Guest{Name: name, Treatment: inventory.DefaultTreatment()})
	}
	return inv
}

func refuse(a batch.Answer) *batch.Refusal {
	r, ok := plan.IsRefusal(a.Err)
	if !ok {
		return &batch.Refusal{Reason: batch.Failed, Message: a.Err.Error()}
	}
	return &batch.Refusal{Reason: batch.Reason(r.Reason), Message: r.Text, Hint: "do this about " + a.Name}
}

var noon = time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)

// TestPlan has an inventory a line, and what becomes of each guest.
func TestPlan(t *testing.T) {
	guests := map[string]string{"a": "runs", "b": "runs", "off": "off", "full": "full", "locked": "refused", "bad": "broken"}
	for _, test := range []struct{ names, want string }{
		{"a b", "a: 30 s; b: 30 s; 46 s"},
		{"a* b off", "a*: 30 s; b: 30 s; off: 0 s; 77 s"},
		{"full", "full: 0 s; 0 s"},
		// One guest's trouble does not hide the others.
		{"locked a", "locked: luks-locked; a: 30 s; 46 s"},
		{"bad a", "bad: failed; a: 30 s; 46 s"},
		{"none* a", "none*: not-found; a: 30 s; 46 s"},
		{"none bad", "none: not-found; bad: failed; 0 s"},
		// One domain by two names is refused by both.
		{"a uuid-a b", "a: listed-twice; uuid-a: listed-twice; b: 30 s; 46 s"},
		// The batch has the domain's name, also for a canary.
		{"uuid-a* b", "a*: 30 s; b: 30 s; 77 s"},
	} {
		inv := inventoryOf(strings.Fields(test.names)...)
		answers, err := batch.Ask(context.Background(), inv, &host{guests: guests}, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := batch.New(inv, batch.Source{}, "test:///default", noon, answers, refuse)
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := b.Write(&file); err != nil {
			t.Fatal(err)
		}
		if _, err := batch.Read(&file); err != nil {
			t.Errorf("%s: written, but not read: %v", test.names, err)
		}
		var got []string
		for _, g := range b.Guests {
			name := g.Name
			if slices.Contains(b.Canary, g.Name) {
				name += "*"
			}
			if g.Refusal != nil {
				got = append(got, fmt.Sprintf("%s: %s", name, g.Refusal.Reason))
			} else {
				got = append(got, fmt.Sprintf("%s: %.0f s", name, g.Outage))
			}
		}
		got = append(got, fmt.Sprintf("%.0f s", b.Expected.Seconds))
		if strings.Join(got, "; ") != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.names, strings.Join(got, "; "), test.want)
		}
	}
}

// TestPlanAtATime checks how many guests are looked at together.
func TestPlanAtATime(t *testing.T) {
	for _, atATime := range []int{0, 1, 3} {
		h := &host{guests: map[string]string{}, gate: make(chan struct{})}
		var names []string
		for i := range 8 {
			name := fmt.Sprint("vm", i)
			names, h.guests[name] = append(names, name), "runs"
		}
		go func() {
			for range names {
				h.gate <- struct{}{}
			}
		}()
		var mu sync.Mutex
		var shown []string
		answers, err := batch.Ask(context.Background(), inventoryOf(names...), h, atATime, func(name string, i, of int) {
			mu.Lock()
			defer mu.Unlock()
			shown = append(shown, fmt.Sprintf("%s %d/%d", name, i, of))
		})
		if err != nil {
			t.Fatal(err)
		}
		if h.most > max(atATime, 1) {
			t.Errorf("%d at a time: %d were looked at together", atATime, h.most)
		}
		if len(answers) != 8 || len(shown) != 8 || !slices.Contains(shown, "vm7 8/8") {
			t.Errorf("%d at a time: got %d answers, shown %v", atATime, len(answers), shown)
		}
	}
}

// TestPlanInterrupted checks that no look begins after an interrupt, and that those that
// have begun are waited for.
func TestPlanInterrupted(t *testing.T) {
	stopped := errors.New("interrupted")
	h := &host{guests: map[string]string{"a": "runs", "b": "runs"}, gate: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := batch.Ask(ctx, inventoryOf("a", "b"), h, 1, func(string, int, int) { cancel(stopped) })
	if !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"a"}, h.looked); diff != "" || h.active != 0 {
		t.Errorf("looked at %v, %d are still active", h.looked, h.active)
	}
}

func TestPlanWindow(t *testing.T) {
	for _, test := range []struct {
		window inventory.Window
		want   batch.Expected
		reason plan.Reason
	}{
		{inventory.Window{}, batch.Expected{Seconds: 46, Fits: true}, ""},
		{inventory.Window{Start: "02:00", End: "04:00"}, batch.Expected{Seconds: 46, Window: 7200, Fits: true}, ""},
		{inventory.Window{Start: "11:00", End: "12:01"}, batch.Expected{Seconds: 46, Window: 60}, ""},
		{inventory.Window{End: "2026-01-30T12:00:00Z"}, batch.Expected{}, plan.Window},
	} {
		inv := inventoryOf("a")
		inv.Window = test.window
		answers, err := batch.Ask(context.Background(), inv, &host{guests: map[string]string{"a": "runs"}}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := batch.New(inv, batch.Source{}, "", noon, answers, refuse)
		if test.reason != "" {
			if r, ok := plan.IsRefusal(err); !ok || r.Reason != test.reason {
				t.Errorf("%+v: got %v", test.window, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Expected != test.want {
			t.Errorf("%+v: got %+v, want %+v", test.window, b.Expected, test.want)
		}
	}
}
