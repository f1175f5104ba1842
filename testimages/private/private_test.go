package private

import (
	"os"
	"path/filepath"
	"slices"
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
