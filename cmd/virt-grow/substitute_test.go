package main

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSubstitute(t *testing.T) {
	for _, c := range []struct{ expr, text, want string }{
		{"s/a/b/", "aa\naa\n", "ba\nba\n"},
		{"s/a/b/g", "aa\naa", "bb\nbb"},
		{"s/A/b/gi", "aAx\n", "bbx\n"},
		{"s|^/dev/sd([a-z])|/dev/vd\\1|", "/dev/sda1 /\n/dev/sdb1 /data\n", "/dev/vda1 /\n/dev/vdb1 /data\n"},
		{`s/(b)(c)/[&]\2\1/`, "abcd", "a[bc]cbd"},
		{`s/x/\&$1\\/`, "x", `&$1\`},
		{`s/ /\n/g`, "a b c\n", "a\nb\nc\n"},
		{`s/a\/b/c/`, "a/b", "c"},
		{`s,a\,b,c,`, "a,b", "c"},
		{"s/$/!/", "a\r\nb\n\nc", "a!\r\nb!\n!\nc!"},
		{"s/^#.*$//", "#x\ny\n", "\ny\n"},
		{"s/x/y/", "", ""},
	} {
		s, err := parseSubstitution(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if got := string(s.apply([]byte(c.text))); got != c.want {
			t.Errorf("%s on %q: %q, want %q", c.expr, c.text, got, c.want)
		}
	}
	for expr, says := range map[string]string{
		"": "s/REGEXP", "y/a/b/": "s/REGEXP", "s/a/b": "s/REGEXP", "s/a": "s/REGEXP", "s/a/b/c/": "s/REGEXP",
		"s/a/b/p": "unknown flag p", "s/(/b/": "missing closing", `s/a/\1/`: "0 group", `s\a\b\`: "a separator",
	} {
		if _, err := parseSubstitution(expr); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", expr, err)
		}
	}
}

// TestLikeSed compares the results with those of sed, for syntax that both support.
func TestLikeSed(t *testing.T) {
	text := "root:x:0:0:root:/root:/bin/sh\n\nUUID=1234 / ext4 defaults 0 1\n# a\tb & c $x \\ y\n"
	for _, expr := range []string{
		"s/root/toor/", "s/root/toor/g", "s/ROOT/x/gi", "s/^/> /", "s/$/ </", "s/x*/-/g", "s|/|:|g", `s/(o+)t/<\1>/g`,
		`s/defaults/&,nofail/`, `s/ +/\n/g`, `s/\t/ /`, `s/[$]/\\/`, `s/&/\&\&/`, "s/^#.*$//", `s/\//\//g`,
	} {
		s, err := parseSubstitution(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		cmd := exec.Command("sed", "-E", "-e", expr)
		cmd.Stdin = strings.NewReader(text)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.apply([]byte(text))); got != string(want) {
			t.Errorf("%s: %q, sed has %q", expr, got, want)
		}
	}
}

func FuzzSubstitute(f *testing.F) {
	f.Add("s/a/b/g", "a\nb")
	f.Add(`s|(.)\||\1&|i`, "x|y\r\n")
	f.Fuzz(func(t *testing.T, expr, text string) {
		s, err := parseSubstitution(expr)
		if err != nil {
			return
		}
		got := string(s.apply([]byte(text)))
		if !s.find.MatchString(text) && utf8.ValidString(text) && !strings.ContainsAny(expr, "^$\\") && got != text {
			t.Errorf("%q changed %q to %q without a match", expr, text, got)
		}
	})
}

func TestSplitSpot(t *testing.T) {
	for text, want := range map[string]spot{
		"dev7:/etc/fstab":      {"dev7", "/etc/fstab"},
		"./web.qcow2:/":        {"./web.qcow2", "/"},
		"/img/a:b.qcow2:/x:/y": {"/img/a:b.qcow2", "/x:/y"},
		"win7:C:/Windows":      {"win7", "C:/Windows"},
		`win7:d:\backup\a b`:   {"win7", `d:\backup\a b`},
		"win7:C:":              {"win7", "C:"},
		"/img/win.qcow2:C:/x":  {"/img/win.qcow2", "C:/x"},
		"a:/etc":               {"a", "/etc"},
		"org:team:web:/srv":    {"org:team:web", "/srv"},
		"dev7":                 {}, "dev7:etc": {}, ":/etc": {}, "": {}, "dev7:": {}, "/img/web.qcow2": {}, "win7:C:x": {},
	} {
		if got, ok := splitSpot(text); got != want || ok != (want != spot{}) {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
	}
}
