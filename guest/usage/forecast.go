package usage

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/virt-grow/virt-grow/plan/size"
)

// Sample is how full a file system was at one moment.
type Sample struct {
	// At is in seconds since 1970, and is later in each sample of a series.
	At int64 `json:"at"`
	// Used and Usable are in bytes: what was in use, and what was in use or free.
	Used   size.Bytes `json:"used"`
	Usable size.Bytes `json:"of"`
}

// day returns the number of the sample's day, in UTC.
func (s Sample) day() int64 { return int64(math.Floor(float64(s.At) / daySeconds)) }

const daySeconds = 24 * 60 * 60

// Outlook is what the samples of a file system say about it.
type Outlook string

// The outlooks.
const (
	// Full: there is no space left.
	Full Outlook = "full"
	// Filling: it will be full within ten years at the rate seen.
	Filling Outlook = "filling"
	// Flat: it grows so slowly that it will not be full within ten years.
	Flat Outlook = "flat"
	// Shrinking: it becomes emptier.
	Shrinking Outlook = "shrinking"
	// Unknown: there are too few samples.
	Unknown Outlook = "unknown"
)

// Forecast says when a file system will be full.
type Forecast struct {
	Outlook Outlook `json:"outlook"`
	// Days is how many days it takes until the file system is full, at the rate seen.
	Days float64 `json:"days,omitempty"`
	// PerDay is how many bytes a day it grows; negative if it becomes emptier.
	PerDay size.Bytes `json:"bytes_per_day"`
	// Samples is the number of samples that the forecast is made from: those since the file
	// system was last resized.
	Samples int `json:"samples"`
	// Span is how many days lie between the first and the last of them.
	Span float64 `json:"span_days"`
	// Resized reports that older samples were left out, because the file system had another
	// size then.
	Resized bool `json:"resized,omitempty"`
}

const (
	// fewest is the smallest number of samples for a forecast. Two samples always lie on a
	// line, and so say nothing about how steady the growth is.
	fewest = 3
	// shortest is the time in days that the samples must cover.
	shortest = 1.5
	// farthest is the number of days up to which a file system counts as filling.
	farthest = 3650
	// sameSize is by which share the size of a file system may change without a resize:
	// btrfs reports a little more or less as it allocates.
	sameSize = 0.02
	// apart is how far apart in days two samples must be, so that their difference says
	// something about a day.
	apart = 0.5
)

// Predict extrapolates the samples of one file system, the oldest first. The rate is the
// median of the rates between any two samples (Theil-Sen estimator): a single day on which
// much was written and deleted again does not change it.
func Predict(samples []Sample) Forecast {
	f := Forecast{Outlook: Unknown}
	if len(samples) == 0 {
		return f
	}
	since := sinceResize(samples)
	last := since[len(since)-1]
	f.Samples, f.Resized = len(since), len(since) < len(samples)
	f.Span = float64(last.At-since[0].At) / daySeconds
	rate, known := medianRate(since)
	if known = known && f.Samples >= fewest && f.Span >= shortest; known {
		f.PerDay = size.Bytes(rate)
	}
	free := last.Usable - last.Used
	switch {
	case free <= 0:
		f.Outlook = Full
	case !known:
	case f.PerDay < 0:
		f.Outlook = Shrinking
	case float64(free) > rate*farthest:
		f.Outlook = Flat
	default:
		f.Outlook, f.Days = Filling, float64(free)/rate
	}
	return f
}

// sinceResize returns the samples since the file system has its present size.
func sinceResize(samples []Sample) []Sample {
	last := samples[len(samples)-1]
	for i := len(samples) - 1; i > 0; i-- {
		if math.Abs(float64(samples[i-1].Usable-last.Usable)) > sameSize*float64(last.Usable) {
			return samples[i:]
		}
	}
	return samples
}

// medianRate returns the median of the rates between the samples, in bytes a day.
func medianRate(samples []Sample) (float64, bool) {
	var rates []float64
	for i, a := range samples {
		for _, b := range samples[i+1:] {
			if days := float64(b.At-a.At) / daySeconds; days >= apart {
				rates = append(rates, float64(b.Used-a.Used)/days)
			}
		}
	}
	if len(rates) == 0 {
		return 0, false
	}
	slices.Sort(rates)
	middle := len(rates) / 2
	if len(rates)%2 == 0 {
		return (rates[middle-1] + rates[middle]) / 2, true
	}
	return rates[middle], true
}

// String returns the forecast for people: "full in 11 days; 3 samples".
func (f Forecast) String() string {
	count := fmt.Sprintf("%d samples", f.Samples)
	if f.Samples == 1 {
		count = "1 sample"
	}
	if f.Resized {
		count += " since it was resized"
	}
	switch f.Outlook {
	case Full:
		return "full now"
	case Filling:
		return "full in " + days(f.Days) + "; " + count
	case Flat:
		return "not full within ten years; " + count
	case Shrinking:
		return "becomes emptier; " + count
	}
	return "too few samples: " + count
}

// days returns a time in words. It is rounded down: a forecast of 11.9 days says 11.
func days(n float64) string {
	switch {
	case n < 1:
		return "less than a day"
	case n < 2:
		return "a day"
	case n < 730:
		return fmt.Sprintf("%d days", int(n))
	}
	return fmt.Sprintf("%d years", int(n/365))
}

// Fills reports whether the file system is full, or will be full within ten years.
func (f Forecast) Fills() bool { return f.Outlook == Full || f.Outlook == Filling }

// FullAt returns when the file system will be full; false if the forecast does not say.
func (f Forecast) FullAt(now time.Time) (time.Time, bool) {
	switch f.Outlook {
	case Full:
		return now, true
	case Filling:
		return now.Add(time.Duration(f.Days * float64(24*time.Hour))), true
	}
	return time.Time{}, false
}
