package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	markdown "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"

	"github.com/virt-grow/virt-grow/guest/job"
	"github.com/virt-grow/virt-grow/guest/record/recordtest"
	"github.com/virt-grow/virt-grow/plan"
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
		{"attached", recordtest.Attached}, {"interrupted", recordtest.Interrupted}, {"waiting", recordtest.Waiting}, {"batch", recordtest.Batch},
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

// markdownElements are all that a report in Markdown may become.
var markdownElements = strings.Fields("html head body h1 h2 p strong table thead tbody tr th td pre code ul li hr")

// TestReportMarkdown renders a report with hostile names as GitHub does: the names are text.
func TestReportMarkdown(t *testing.T) {
	text := sampleReport(t, sampleJobs(t), recordtest.Hostile, "md")
	if strings.ContainsAny(text, "\x1b\u202e") {
		t.Error("the report has characters that act on a terminal")
	}
	var out bytes.Buffer
	render := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(markdown.WithUnsafe()))
	if err := render.Convert([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	strong := 0
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && !slices.Contains(markdownElements, n.Data) {
			t.Errorf("there is an element <%s>", n.Data)
		}
		if n.Type == html.ElementNode && n.Data == "strong" {
			strong++
		}
	}
	if strong != 1 {
		t.Errorf("%d texts are bold, not only the result", strong)
	}
}

func TestReportOutput(t *testing.T) {
	state := sampleJobs(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(path("old.html"), []byte("# Change record: old"), 0o640),
		os.WriteFile(path("other.html"), []byte("<!doctype html>"), 0o600), os.Mkdir(path("dir.md"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		exit int
		says string // on an output, or in the file
		file string
	}{
		{[]string{}, 0, "# Change record", ""},
		{[]string{"-o", "-"}, 0, "# Change record", ""},
		{[]string{"--json"}, 0, `"schema": "virt-grow/report/v1"`, ""},
		{[]string{"--format", "html"}, 0, "<!doctype html>", ""},
		{[]string{"-o", path("new.html")}, 0, "<!doctype html>", "new.html"},
		{[]string{"-o", path("new.MD")}, 0, "# Change record", "new.MD"},
		{[]string{"-o", path("new.txt"), "--format", "json"}, 0, `"virt-grow/report/v1"`, "new.txt"},
		{[]string{"-o", path("old.html")}, 0, "<!doctype html>", "old.html"},
		{[]string{"-o", path("other.html")}, 64, "exists and is not a report; --force replaces it", ""},
		{[]string{"-o", path("other.html"), "--force"}, 0, "<title>Change record", "other.html"},
		{[]string{"-o", path("dir.md")}, 64, "is not a regular file", ""},
		{[]string{"-o", path("new.pdf")}, 64, "choose the format with --format", ""},
		{[]string{"--format", "pdf"}, 64, "must be html, md or json", ""},
	} {
		got := try(t, state, append([]string{"report", recordtest.Done}, c.args...)...)
		text := got.out + got.err
		if c.file != "" {
			data, err := os.ReadFile(path(c.file))
			if text = string(data); err != nil || got.out != "" {
				t.Errorf("%s: %v, and on standard output:\n%s", c.args, err, got.out)
			}
		}
		if got.exit != c.exit || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit %d\n%.300s", c.args, got.exit, text)
		}
	}
	if info, err := os.Stat(path("old.html")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file that was replaced has the mode %v, %v", info.Mode(), err)
	}
	if got := try(t, state, "report", "nothing"); got.exit != exitRefused {
		t.Errorf("no such job: exit %d\n%s", got.exit, got.err)
	}
}

// TestReportImage checks that a report never replaces an image of its job.
func TestReportImage(t *testing.T) {
	state := t.TempDir()
	image := filepath.Join(state, "disk.md")
	if err := os.WriteFile(image, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := recordtest.Job{ID: recordtest.Done, Header: job.Header{Kind: "growth", Target: plan.Target{Path: image, Format: "raw"}, Data: []byte("{}")}}
	recordtest.Write(t, journal.Store{Dir: state}, j)
	if got := try(t, state, "report", j.ID, "-o", image); got.exit != exitUsage || !strings.Contains(got.err, "is an image of the job") {
		t.Errorf("exit %d\n%s", got.exit, got.err)
	}
}

// TestReportCut shows a job whose journal ends after each of its entries, as when it is killed
// there.
func TestReportCut(t *testing.T) {
	for _, j := range recordtest.Samples() {
		if j.ID != recordtest.Done && j.ID != recordtest.RolledBack {
			continue
		}
		lines := strings.Split(strings.TrimSpace(j.Log), "\n")
		for n := range lines {
			j.Log = strings.Join(lines[:n], "\n")
			state := t.TempDir()
			recordtest.Write(t, journal.Store{Dir: state}, j)
			for format, begin := range map[string]string{"md": "# Change record", "html": "<!doctype html>", "json": "{"} {
				if text := sampleReport(t, state, j.ID, format); !strings.HasPrefix(text, begin) || strings.Contains(text, "%!") || strings.Contains(text, "NaN") {
					t.Errorf("after %d entries, as %s:\n%s", n, format, text)
				}
			}
		}
	}
}

// TestReportUnreadable checks that the report of a damaged job says what the user can do.
func TestReportUnreadable(t *testing.T) {
	state := sampleJobs(t)
	path := filepath.Join(state, "jobs", recordtest.Done, "journal")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("shutdown"), []byte("shutdowm"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	got := try(t, state, "report", recordtest.Done)
	for _, says := range []string{"Cannot be read", "The job's journal is damaged", "--as-is", "/var/lib/libvirt/images/web3.qcow2"} {
		if got.exit != 0 || !strings.Contains(got.out, says) {
			t.Errorf("exit %d, without %q:\n%s", got.exit, says, got.out)
		}
	}
}
