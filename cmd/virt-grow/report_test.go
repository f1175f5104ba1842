package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virt-grow/virt-grow/guest/record/recordtest"
	"github.com/virt-grow/virt-grow/plan/journal"
)

var golden = flag.Bool("golden", false, "write the reports of testdata anew")

// made is when the tests' reports are made.
var made = time.Date(2026, 5, 4, 8, 30, 0, 0, time.UTC)

// sampleJobs returns a state directory with the samples.
func sampleJobs(t *testing.T) string {
	t.Helper()
	state := t.TempDir()
	for _, j := range recordtest.Samples() {
		recordtest.Write(t, journal.Store{Dir: state}, j)
	}
	return state
}

// sampleReport returns the report of a sample.
func sampleReport(t *testing.T, state, name, format string) string {
	t.Helper()
	p := &program{console: quiet(nil), state: state}
	r, err := reportCommand{p}.read(name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := reportFormats[format](&out, r, made); err != nil {
		t.Fatal(err)
	}
	// The state directory, and how long a trial has been waiting.
	text := strings.ReplaceAll(out.String(), state, "/state")
	return regexp.MustCompile(`\([0-9hms]+\); its images`).ReplaceAllString(text, "(9h); its images")
}

// TestReportGolden compares the reports of the samples with testdata.
func TestReportGolden(t *testing.T) {
	state := sampleJobs(t)
	for _, c := range []struct{ name, sample string }{
		{"done", recordtest.Done}, {"rolled-back", recordtest.RolledBack}, {"older", recordtest.Older}, {"hostile", recordtest.Hostile},
		{"attached", recordtest.Attached}, {"interrupted", recordtest.Interrupted}, {"waiting", recordtest.Waiting},
	} {
		for format := range reportFormats {
			path := filepath.Join("testdata", "report-"+c.name+"."+format)
			got := sampleReport(t, state, c.sample, format)
			if format == "json" {
				checkJSON(t, got)
			}
			if *golden {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			} else if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (go test ./cmd/virt-grow -run TestReportGolden -golden writes it):\n%s", path, diff)
			}
		}
	}
}
