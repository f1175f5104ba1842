package batch_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virt-grow/virt-grow/guest/batch"
)

// TestSchedule has runs as "lead+turn+tail" in seconds, with * for a canary, and their times
// as "begin-back-end".
func TestSchedule(t *testing.T) {
	for _, test := range []struct {
		runs     string
		parallel int
		want     string
	}{
		{"", 1, ""},
		{"15+40+1", 1, "15-55-56"},
		// The lead of the second run falls into the turn of the first.
		{"15+40+1 15+40+1", 1, "15-55-56 55-95-96"},
		{"15+10+1 15+10+1", 1, "15-25-26 30-40-41"},
		{"15+40+1 15+20+1 15+20+1", 2, "15-55-56 15-35-36 35-55-56"},
		// A canary is alone until its end, wherever it is in the list.
		{"15+40+1 15+20+1*", 2, "36-76-77 15-35-36"},
		{"15+20+1* 15+20+1* 15+40+1 15+40+1", 2, "15-35-36 36-56-57 57-97-98 57-97-98"},
		{"0+0+0 15+10+1", 1, "0-0-0 15-25-26"},
	} {
		var runs []batch.Run
		for _, word := range strings.Fields(test.runs) {
			text, canary := strings.CutSuffix(word, "*")
			var lead, turn, tail time.Duration
			if _, err := fmt.Sscanf(text, "%d+%d+%d", &lead, &turn, &tail); err != nil {
				t.Fatal(err)
			}
			runs = append(runs, batch.Run{Canary: canary, Lead: lead * time.Second, Turn: turn * time.Second, Tail: tail * time.Second})
		}
		var got []string
		for _, at := range batch.Schedule(runs, test.parallel) {
			got = append(got, fmt.Sprintf("%.0f-%.0f-%.0f", at.Begin.Seconds(), at.Back.Seconds(), at.End.Seconds()))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q, %d at a time: got %q, want %q", test.runs, test.parallel, strings.Join(got, " "), test.want)
		}
	}
}

// TestScheduleKeepsTheRules checks random batches: never more turns than places, and nothing
// at the same time as a canary.
func TestScheduleKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Map(rapid.IntRange(0, 100), func(n int) time.Duration { return time.Duration(n) * time.Second })
		runs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) batch.Run {
			return batch.Run{Canary: rapid.IntRange(0, 3).Draw(t, "canary") == 0, Lead: seconds.Draw(t, "lead"), Turn: seconds.Draw(t, "turn"), Tail: seconds.Draw(t, "tail")}
		}), 0, 12).Draw(t, "runs")
		parallel := rapid.IntRange(1, 4).Draw(t, "parallel")
		times := batch.Schedule(runs, parallel)
		for i, at := range times {
			away := 0
			for k, other := range times {
				if other.Begin <= at.Begin && at.Begin < other.Back {
					away++
				}
				if i != k && runs[i].Canary && at.Begin < other.Back && other.Begin < at.End {
					t.Fatalf("run %d is not alone: %v and %v", i, at, other)
				}
			}
			if away > parallel {
				t.Fatalf("%d guests are away at %v", away, at.Begin)
			}
		}
	})
}

func TestExpect(t *testing.T) {
	runs := []batch.Run{{Lead: 15 * time.Second, Turn: 40 * time.Second, Tail: time.Second, Reserve: 30 * time.Second}}
	for _, test := range []struct {
		window time.Duration
		want   batch.Expected
	}{
		{0, batch.Expected{Seconds: 56, Fits: true}},
		{85 * time.Second, batch.Expected{Seconds: 56, Window: 85, Fits: true}},
		{84 * time.Second, batch.Expected{Seconds: 56, Window: 84}},
	} {
		if got := batch.Expect(runs, 1, test.window); got != test.want {
			t.Errorf("a window of %v: got %+v, want %+v", test.window, got, test.want)
		}
	}
}
