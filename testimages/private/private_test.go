package private

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDifference(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kept", "a")
	write("changed", "a")
	write("gone", "a")
	before := look([]string{dir, filepath.Join(dir, "nowhere")})
	if got := difference(before, look([]string{dir})); len(got) != 0 {
		t.Errorf("nothing was changed: %v", got)
	}
	write("changed", "ab")
	write("new", "")
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	got := difference(before, look([]string{dir}))
	for _, name := range []string{"changed", "new", "gone"} {
		if !slices.Contains(got, filepath.Join(dir, name)) {
			t.Errorf("%s is not in %v", name, got)
		}
	}
	if slices.Contains(got, filepath.Join(dir, "kept")) {
		t.Errorf("a file that is as it was is in %v", got)
	}
}

// TestForbidEngines checks that an engine that is started fails, and that the error
// names it.
func TestForbidEngines(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH"))
	t.Setenv("LIBGUESTFS_HV", "")
	started, err := forbidEngines(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("something was started before")
	}
	if err := exec.Command("libvirtd", "--daemon").Run(); err == nil {
		t.Error("libvirtd was started")
	}
	if names, err := os.ReadFile(started); err != nil || !strings.Contains(string(names), "/libvirtd --daemon\n") {
		t.Errorf("%q, %v", names, err)
	}
}
