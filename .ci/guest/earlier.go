package main

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
)

// samples is the file in which df keeps the samples, as far as it is changed here.
type samples struct {
	Schema string `json:"schema"`
	Series []struct {
		Guest   string   `json:"guest"`
		FS      string   `json:"filesystem"`
		Source  string   `json:"source"`
		Samples []sample `json:"samples"`
	} `json:"series"`
}

type sample struct {
	At     int64 `json:"at"` // seconds since 1970
	Used   int64 `json:"used"`
	Usable int64 `json:"of"`
}

// earlier adds samples of earlier days for the fullest file system.
func earlier(file, days, bytes string) error {
	n, err := strconv.Atoi(days)
	less, other := strconv.ParseInt(bytes, 10, 64)
	text, third := os.ReadFile(file)
	var all samples
	if err := errors.Join(err, other, third, json.Unmarshal(text, &all)); err != nil {
		return err
	}
	fullest := 0
	for i, s := range all.Series {
		if s.Samples[0].Used > all.Series[fullest].Samples[0].Used {
			fullest = i
		}
	}
	series := &all.Series[fullest]
	for range n {
		next := series.Samples[0]
		next.At -= 24 * 60 * 60
		next.Used -= less
		series.Samples = append([]sample{next}, series.Samples...)
	}
	if text, err = json.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
