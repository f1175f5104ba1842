package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEditor checks that an editor gets a copy that only its user can read. The copy has
// the name of the guest's file, which is never interpreted by a shell.
func TestEditor(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := editCommand{&program{console: quiet(map[string]string{"EDITOR": "ed"})}}
	for _, c := range []struct{ editor, path, want string }{
		{"sed -i s/one/two/", "/etc/fstab", "two\n"},
		{"sed -i s/one/two/", `C:\Windows\a; touch $(pwned) 'x'.ini`, "two\n"},
		{"stat -c %a >>", "/etc/shadow", "one\n600\n"},
		{"true", "/etc/fstab", "one\n"},
	} {
		got, err := p.inEditor(context.Background(), strings.TrimSuffix(c.editor, ">>")+map[bool]string{true: ` "$1" >>`}[strings.HasSuffix(c.editor, ">>")], c.path, []byte("one\n"))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %s: %q, %v", c.editor, c.path, got, err)
		}
	}
	if _, err := p.inEditor(context.Background(), "false", "/etc/fstab", []byte("one\n")); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("an editor that fails: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if editor, err := p.editor(); editor != "ed" || err != nil {
		t.Errorf("%q, %v", editor, err)
	}
}
