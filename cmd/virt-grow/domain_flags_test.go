package main

import (
	"testing"
	"time"
)

func TestWindowEnd(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 5, 4, 23, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"04:00":                "2026-05-05T04:00:00+02:00",
		"23:45":                "2026-05-04T23:45:00+02:00",
		"23:30":                "2026-05-05T23:30:00+02:00",
		"2026-05-06T01:00:00Z": "2026-05-06T01:00:00Z",
		"":                     "0001-01-01T00:00:00Z",
		"4":                    "", "25:00": "", "soon": "",
	} {
		got, err := windowEnd(text, now)
		if (err != nil) != (want == "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
