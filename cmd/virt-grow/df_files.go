package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"github.com/virt-grow/virt-grow/guest/record"
	guestusage "github.com/virt-grow/virt-grow/guest/usage"
	"github.com/virt-grow/virt-grow/plan/journal"
)

// writeMetrics replaces the file of the metrics, for Prometheus's textfile collector, which may
// read it at any time.
func (p dfCommand) writeMetrics(path string, at time.Time, guests []guestusage.Guest) error {
	if err := metricsOutput(path).check(); err != nil {
		return err
	}
	jobs, err := p.jobFigures()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := guestusage.WriteMetrics(&text, at, guests, jobs); err != nil {
		return err
	}
	return renameio.WriteFile(path, text.Bytes(), 0o644)
}

// jobFigures returns what the metrics show of the jobs.
func (p dfCommand) jobFigures() ([]guestusage.JobFigures, error) {
	engine := p.engine()
	all, err := engine.List()
	if err != nil {
		return nil, err
	}
	var jobs []guestusage.JobFigures
	for _, j := range all {
		figures := guestusage.JobFigures{ID: j.ID, State: string(j.Record.State)}
		if j.Err != nil {
			figures.State = string(unreadable(j.Err))
			jobs = append(jobs, figures)
			continue
		}
		if g := j.Header.Target.Guest; g != nil {
			figures.Domain = g.Name
			if j.Record.State == journal.Waiting {
				figures.Waiting = j.Record.Changed
			}
			if r := record.Of(engine, j); r.Outage != nil && !r.Outage.Ended.IsZero() {
				figures.Outage, figures.Back = r.Outage.Ended.Sub(r.Outage.Began), r.Outage.Ended
			}
		}
		jobs = append(jobs, figures)
	}
	return jobs, nil
}

// writeNew writes a file that does not exist yet: people edit an inventory.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("--output %s: the file exists, and may have been edited; give another name", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
