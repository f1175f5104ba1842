package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/testimages/level"
)

// writePages writes the manual pages, and returns their directory.
func writePages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if got := try(t, t.TempDir(), "manual-pages", dir); got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	return dir
}

// TestManualPages checks that every command has a page, with its examples, all its flags
// and the exit codes.
func TestManualPages(t *testing.T) {
	dir := writePages(t)
	found, err := filepath.Glob(filepath.Join(dir, "*.8"))
	if names := allCommands(); err != nil || len(found) != len(names)+1 {
		t.Errorf("%d pages for %d commands, %v", len(found), len(names), err)
	}
	app := newApp(&program{console: quiet(nil)})
	for _, name := range allCommands() {
		text, err := os.ReadFile(filepath.Join(dir, "virt-grow-"+strings.ReplaceAll(name, " ", "-")+".8"))
		if err != nil {
			t.Error(err)
			continue
		}
		page := strings.ReplaceAll(string(text), `\-`, "-")
		words := []string{".SH \"EXIT STATUS\"", ".SH \"EXAMPLES\"\n.EX\n", "130\ninterrupted; everything was restored"}
		for _, f := range find(app, strings.Fields(name)).VisibleFlags() {
			words = append(words, `\fB--`+f.Names()[0]+`\fR`)
		}
		for _, want := range words {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page does not have %q", name, want)
			}
		}
	}
}

// TestManualPageReaders has both readers of manual pages check the pages.
func TestManualPageReaders(t *testing.T) {
	level.Need(t, level.Real)
	pages, _ := filepath.Glob(filepath.Join(writePages(t), "*.8"))
	if out, err := exec.Command("mandoc", append([]string{"-Tlint"}, pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
	for _, page := range pages {
		cmd := exec.Command("man", "--warnings", "-l", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANPAGER=cat")
		var warnings strings.Builder
		cmd.Stderr = &warnings
		text, err := cmd.Output()
		if err != nil || warnings.Len() > 0 || !strings.Contains(string(text), "EXIT STATUS") {
			t.Errorf("man %s: %v, %s", page, err, warnings.String())
		}
	}
}

// TestExitMeanings compares the exit codes of the manual pages with the reference.
func TestExitMeanings(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exitMeanings {
		if row := fmt.Sprintf("| %d | %s |\n", e.code, e.text); !strings.Contains(string(text), row) {
			t.Errorf("docs/reference.md does not have %q", row)
		}
	}
}
