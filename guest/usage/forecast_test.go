package usage

import (
	"math/rand"
	"testing"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// daily returns a sample a day with what was used in GiB, of 100 GiB.
func daily(used ...float64) []Sample {
	var all []Sample
	for i, u := range used {
		all = append(all, Sample{At: noon.AddDate(0, 0, i).Unix(), Used: size.Bytes(u * float64(size.GiB)), Usable: 100 * size.GiB})
	}
	return all
}

// of changes the size of the samples to GiB, from the number from on.
func of(samples []Sample, from int, gib size.Bytes) []Sample {
	for i := range samples[from:] {
		samples[from+i].Usable = gib * size.GiB
	}
	return samples
}

func TestPredict(t *testing.T) {
	hours := daily(10, 20, 30)
	for i := range hours {
		hours[i].At = noon.Unix() + int64(i)*3600
	}
	for _, c := range []struct {
		what    string
		samples []Sample
		want    string
	}{
		{"none", nil, "too few samples: 0 samples"},
		{"one", daily(50), "too few samples: 1 sample"},
		{"two", daily(50, 60), "too few samples: 2 samples"},
		{"three within three hours", hours, "too few samples: 3 samples"},
		{"steady", daily(50, 60, 70), "full in 3 days; 3 samples"},
		{"slower", daily(74, 76, 78), "full in 11 days; 3 samples"},
		{"years", daily(10, 10.05, 10.1), "full in 4 years; 3 samples"},
		{"hardly", daily(10, 10.001, 10.002), "not full within ten years; 3 samples"},
		{"constant", daily(50, 50, 50, 50), "not full within ten years; 4 samples"},
		{"emptier", daily(60, 55, 50), "becomes emptier; 3 samples"},
		{"full", daily(80, 90, 100), "full now"},
		{"full at once", daily(100), "full now"},
		{"today", daily(60, 79, 98), "full in less than a day; 3 samples"},
		{"tomorrow", daily(70, 80, 88), "full in a day; 3 samples"},
		{"one day with a large temporary file", daily(50, 51, 90, 53, 54, 55), "full in 45 days; 6 samples"},
		{"one day on which it was emptied for a while", daily(50, 51, 2, 53, 54, 55), "full in 45 days; 6 samples"},
		{"just resized", of(daily(90, 92, 94, 96), 3, 200), "too few samples: 1 sample since it was resized"},
		{"resized", of(daily(90, 92, 94, 96, 98), 2, 200), "full in 51 days; 3 samples since it was resized"},
		{"shrunk", of(daily(40, 41, 42, 43), 1, 60), "full in 17 days; 3 samples since it was resized"},
		{"a size that varies a little", of(daily(50, 60, 70), 1, 101), "full in 3 days; 3 samples"},
	} {
		if got := Predict(c.samples).String(); got != c.want {
			t.Errorf("%s: %s; want %s", c.what, got, c.want)
		}
	}
}

// TestPredictLines checks that the rate of a line is found, whatever the gaps between samples.
func TestPredictLines(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		rate := size.Bytes(r.Int63n(int64(size.GiB))) + 1
		usable := 1000 * size.GiB
		var samples []Sample
		day := int64(0)
		for range 3 + r.Intn(20) {
			samples = append(samples, Sample{At: noon.Unix() + day*daySeconds, Used: rate * size.Bytes(day), Usable: usable})
			day += 1 + r.Int63n(4)
		}
		f := Predict(samples)
		last := samples[len(samples)-1]
		want := float64(usable-last.Used) / float64(rate)
		if f.PerDay != rate || want <= farthest && (f.Outlook != Filling || f.Days < want*0.999 || f.Days > want*1.001) || want > farthest && f.Outlook != Flat {
			t.Errorf("seed %d: %+v, want %f days at %d", seed, f, want, rate)
		}
	}
}

func TestFullAt(t *testing.T) {
	for _, c := range []struct {
		f    Forecast
		want time.Duration
		ok   bool
	}{
		{Forecast{Outlook: Full}, 0, true},
		{Forecast{Outlook: Filling, Days: 1.5}, 36 * time.Hour, true},
		{Forecast{Outlook: Filling, Days: farthest}, farthest * 24 * time.Hour, true},
		{Forecast{Outlook: Flat}, 0, false},
		{Forecast{}, 0, false},
	} {
		if at, ok := c.f.FullAt(noon); ok != c.ok || ok && at.Sub(noon) != c.want {
			t.Errorf("%+v: %v %v", c.f, at, ok)
		}
	}
}
