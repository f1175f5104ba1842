package appliance

import "testing"

func TestSplitDrive(t *testing.T) {
	for path, want := range map[string][2]string{
		`C:\a\b`: {"C", "/a/b"}, "d:/x": {"D", "/x"}, "E:": {"E", "/"}, "/a": {"", "/a"}, "1:/a": {"", "1:/a"}, "": {"", ""}, ":": {"", ":"},
	} {
		if letter, rest := SplitDrive(path); letter != want[0] || rest != want[1] {
			t.Errorf("%q: %q %q", path, letter, rest)
		}
	}
}
