package main

import (
	"bytes"
	"encoding/binary"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
)

// sshTo returns a URI of a host on which ssh runs the shell script there, instead of the
// program's command line if there is one.
func sshTo(t *testing.T, there string) string {
	t.Helper()
	ssh := filepath.Join(t.TempDir(), "ssh")
	if there == "" {
		there = `exec sh -c "$*"`
	}
	script := "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n" + there + "\n"
	if err := os.WriteFile(ssh, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return "qemu+ssh://root@web/system?" + url.Values{"command": {ssh}, "program": {os.Args[0]}}.Encode()
}

// tryElsewhere is try on another host, with that standard input.
func tryElsewhere(t *testing.T, uri, in string, words ...string) ran {
	t.Helper()
	c := quiet(map[string]string{"LANG": "C.UTF-8"})
	c.in = strings.NewReader(in)
	exit := execute(append([]string{"virt-grow", "--connect", uri}, words...), c)
	return ran{exit, c.out.(*bytes.Buffer).String(), c.err.(*bytes.Buffer).String()}
}

// TestElsewhere checks that a command does the same on another host as here.
func TestElsewhere(t *testing.T) {
	uri, state := sshTo(t, ""), t.TempDir()
	for line, in := range map[string]string{
		"jobs":                               "",
		"jobs --json":                        "",
		"inspect ./nix":                      "",
		"inspect ./nix --json":               "",
		"apply - --yes":                      "no plan",
		"apply - --yes --json":               "no plan",
		"batch plan -":                       "guests: [\x1b[2J]",
		"grow ./nix --size +1G":              "",
		"grow /n --size 1G --yes":            "",
		"grow ./nix --size +1G --yes --json": "",
		"df ./nix":                           "", "cat ./nix:/etc/fstab": "", "report nix": "", "disk list web1": "",
	} {
		words := append(strings.Fields(line), "--state-dir", state)
		c := quiet(map[string]string{"LANG": "C.UTF-8"})
		c.in = strings.NewReader(in)
		exit := execute(append([]string{"virt-grow", "--connect", "qemu:///system"}, words...), c)
		got := tryElsewhere(t, uri, in, words...)
		out, err := c.out.(*bytes.Buffer).String(), c.err.(*bytes.Buffer).String()
		// The hints name the host, and the times of events differ.
		plain := strings.NewReplacer("--connect '"+uri+"' ", "").Replace
		if !strings.Contains(line, "--json") && (plain(got.out) != out || plain(got.err) != err) || got.exit != exit || len(got.out) == 0 != (len(out) == 0) {
			t.Errorf("%s: exit %d, want %d\n%s%s\nwant\n%s%s", line, got.exit, exit, got.out, got.err, out, err)
		}
		if strings.Contains(line, "--json") {
			checkJSON(t, got.out)
		}
	}
}

// TestElsewhereNames checks that the commands in hints reach the host from here.
func TestElsewhereNames(t *testing.T) {
	uri := sshTo(t, "")
	if got := tryElsewhere(t, uri, "", "--state-dir", "/s", "status", "nix"); !strings.Contains(got.err, "virt-grow --connect '"+uri+"' --state-dir /s jobs lists the jobs") {
		t.Errorf("%+v", got)
	}
}

// TestElsewhereByEnvironment checks that LIBVIRT_DEFAULT_URI chooses the host as --connect
// does, and that commands about this program itself run here.
func TestElsewhereByEnvironment(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", sshTo(t, "echo gone >&2; exit 255"))
	if got := try(t, t.TempDir(), "jobs"); got.exit != exitRefused || !strings.Contains(got.err, "ssh cannot connect to root@web: gone\n") {
		t.Errorf("%+v", got)
	}
	for _, line := range []string{"completion bash", "grow --help", "--version", "disk"} {
		if got := try(t, t.TempDir(), strings.Fields(line)...); got.exit != 0 || got.out == "" {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// TestUnusableHost checks what is said of a host on which the program cannot be run.
func TestUnusableHost(t *testing.T) {
	for name, c := range map[string]struct{ there, says, hint string }{
		"ssh fails":        {"echo 'root@web: Permission denied (publickey).' >&2; exit 255", "ssh cannot connect to root@web: root@web: Permission denied (publickey).", "ssh must work without virt-grow first"},
		"no program":       {"echo 'sh: 1: virt-grow: not found' >&2; exit 127", "has no program", "install virt-grow there"},
		"older program":    {"echo 'virt-grow: unknown command __relay' >&2; exit 64", "is older than virt-grow dev here", "install the same version"},
		"other protocol":   {"echo virt-grow relay 99 9.1; cat", "virt-grow 9.1 on root@web does not fit virt-grow dev here: it speaks protocol 99, and this one protocol " + strconv.Itoa(remote.Protocol), "install the same version"},
		"another program":  {"echo hello; exit 5", "does not answer as virt-grow does (exit code 5, EOF)", "begins with \"virt-grow relay\""},
		"hostile messages": {`printf '\033]0;x\007\233' >&2; exit 255`, "root@web: ?]0;x?�\n", ""},
		"killed":           {"kill -9 $$", "does not answer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			uri := sshTo(t, c.there)
			got := tryElsewhere(t, uri, "", "grow", "web1", "--size", "+1G", "--yes")
			if got.exit != exitRefused || got.out != "" || !strings.Contains(got.err, c.says) || !strings.Contains(got.err, c.hint) {
				t.Errorf("%+v", got)
			}
			got = tryElsewhere(t, uri, "", "grow", "web1", "--size", "+1G", "--yes", "--json")
			checkJSON(t, got.out)
			if !strings.Contains(got.out, `"reason":"remote-host"`) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// sends returns a script of a host that greets and sends frames: each is a kind and text.
func sends(frames ...string) string {
	script := "echo virt-grow relay " + strconv.Itoa(remote.Protocol) + " 1.0; printf '"
	for _, f := range frames {
		text := append([]byte{f[0]}, binary.BigEndian.AppendUint32(nil, uint32(len(f)-1))...)
		for _, b := range append(text, f[1:]...) {
			script += `\` + strconv.FormatInt(int64(b)+01000, 8)[1:]
		}
	}
	return script + "'"
}

// TestHostileOutput checks what is shown here of what a host sends.
func TestHostileOutput(t *testing.T) {
	for name, c := range map[string]struct {
		line, there string
		exit        int
		out, err    string
	}{
		"escapes":         {"jobs", sends("o\x1b]0;x\a\x9b2Ja\n", "m\x1b[2Jb\n", "x\x00"), 0, "?]0;x??2Ja\n", "?[2Jb\n"},
		"no JSON":         {"jobs --json", sends("o{}\n\x1b[2J", "x\x00"), exitFailed, "{}\n{", "the output there is not JSON"},
		"half a document": {"jobs --json", sends("o{", "x\x00"), exitFailed, "{\n", "its end is missing"},
		"file":            {"cat a:/b", sends("o\x1b\x00\xff", "x\x00"), 0, "\x1b\x00\xff", ""},
		"plan":            {"plan a --size 1G -o -", sends("o{\"a\":\"\u202e\"}", "x\x00"), 0, `{"a":"\u202e"}` + "\n", ""},
		"report":          {"report a --format md --json", sends("o# a\x1b\n", "x\x00"), 0, "# a?\n", ""},
		"exit code 2":     {"jobs", sends("x\x02"), exitFailed, "", "exit code 2, which has no meaning"},
		"no exit code":    {"jobs", sends("oa\n"), exitFailed, "a\n", "the connection to root@web was lost"},
		"lost run":        {"grow a --size 1G --yes", sends("jj1"), exitUnrestored, "", "status j1 shows how it ends"},
		"lost early":      {"grow a --size 1G --yes", sends("oa"), exitUnrestored, "a", " jobs shows how it ends"},
		"lost run, JSON":  {"grow a --size 1G --yes --json", sends("jj1"), exitUnrestored, `"job":"j1","changed":true,"outcome":"unrestored"`, "its job goes on there"},
		"hostile job":     {"grow a --size 1G --yes", sends("j\x1b[2J"), exitUnrestored, "", "status '?[2J'"},
		"question":        {"jobs", sends("r", "x\x00"), 0, "", ""},
		"key":             {"jobs", sends("qsda3", "x\x00"), 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := tryElsewhere(t, sshTo(t, c.there), "", strings.Fields(c.line)...)
			if got.exit != c.exit || !strings.Contains(got.out, c.out) || !strings.Contains(got.err, c.err) {
				t.Errorf("%+v", got)
			}
			if c.exit == 0 && (got.out != c.out || got.err != c.err) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestElsewhereEdits checks that no editor is started on another host.
func TestElsewhereEdits(t *testing.T) {
	if got := tryElsewhere(t, sshTo(t, ""), "", "edit", "a:/etc/fstab"); got.exit != exitUsage || !strings.Contains(got.err, "no editor can be started on another host: use --expr") {
		t.Errorf("%+v", got)
	}
}

// TestCompleteElsewhere checks that the jobs of this host are not completed for another one.
func TestCompleteElsewhere(t *testing.T) {
	c := quiet(map[string]string{"LIBVIRT_DEFAULT_URI": "qemu+ssh://web/system"})
	execute([]string{"virt-grow", "__complete", "status", ""}, c)
	if out := c.out.(*bytes.Buffer).String(); out != "" {
		t.Error(out)
	}
}
