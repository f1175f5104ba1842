package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
)

// TestOutput checks what each command's file may replace.
func TestOutput(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{
		"notes": "{}", "image": "QFI", "empty": "", "metrics": "# HELP virt_grow_jobs x\n", "others": "# HELP node_x y\n",
		"report.md": "# Change record: x", "page.html": "<!doctype html>", "report.json": `{"schema": "virt-grow/report/v1"}`,
	} {
		if err := os.WriteFile(in(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("image", in("link")); err != nil {
		t.Fatal(err)
	}
	plan := func(name string, force bool) output { return planOutput(in(name), in("image"), force) }
	report := func(name string, force bool) output { return reportOutput(in(name), force, view.Report{}) }
	metrics := func(name string) output { return metricsOutput(in(name)) }
	for name, c := range map[string]struct {
		output
		may bool
	}{
		"no file": {planOutput("", in("image"), false), true}, "standard output": {planOutput("-", in("image"), false), true},
		"new": {plan("new", false), true}, "not a plan": {plan("notes", false), false}, "not a plan, forced": {plan("notes", true), true},
		"the image": {plan("image", true), false}, "a link to the image": {plan("link", true), false}, "a directory": {plan(".", true), false},
		"a batch": {batchOutput(in("notes"), in("image"), false), false}, "the inventory": {batchOutput(in("image"), in("image"), true), false},
		"report.md": {report("report.md", false), true}, "report.json": {report("report.json", false), true},
		"a page": {report("page.html", false), false}, "a page, forced": {report("page.html", true), true}, "another disk": {report("image", false), false},
		"metrics": {metrics("metrics"), true}, "no metrics yet": {metrics("empty"), true}, "others": {metrics("others"), false},
		"a disk": {metrics("image"), false}, "a link to a disk": {metrics("link"), false}, "no file of metrics": {metrics("."), false},
	} {
		if err := c.check(); (err == nil) != c.may || err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
