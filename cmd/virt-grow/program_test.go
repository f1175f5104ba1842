package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/remote"
	"github.com/virt-grow/virt-grow/testimages/private"
)

// quiet returns a console without a user. env is its environment.
func quiet(env map[string]string) console {
	return console{in: strings.NewReader(""), out: new(bytes.Buffer), err: new(bytes.Buffer),
		env: func(name string) string { return env[name] }}
}

// TestMain runs the tests without access to the host's own jobs, domains and caches. As the
// program of another host (TestElsewhere), the test is that program.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{remote.Command}) {
		os.Exit(relay())
	}
	os.Exit(private.Run(m))
}

// ran is the result of a command line.
type ran struct {
	exit     int
	out, err string
}

func try(t *testing.T, state string, words ...string) ran {
	t.Helper()
	c := quiet(map[string]string{"LANG": "C.UTF-8", "XDG_STATE_HOME": state})
	exit := execute(append([]string{"virt-grow", "--state-dir", state}, words...), c)
	r := ran{exit, c.out.(*bytes.Buffer).String(), c.err.(*bytes.Buffer).String()}
	if slices.Contains(words, "--json") && !slices.Contains(words, "cat") {
		checkJSON(t, r.out)
	}
	return r
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	if err := os.WriteFile(image, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		exit int
		says string
	}{
		{"grow dev7 --disk vda:+1G --size +1G --yes", 64, "--disk vda:+1G and --size cannot be used together"},
		{"grow dev7 --disk vda:+1G --disk vdb --yes", 64, "--disk vdb has no size"},
		{"grow dev7 --disk vda --disk vdb --size +1G --yes", 64, "--disk vda has no size"},
		{"plan dev7 --disk vda:+1G --disk vda:+2G", 64, "--disk vda is given twice"},
		{"rehearse dev7 --disk vda:much", 64, "must be DISK or DISK:SIZE"},
		{"plan dev7 --disk vda:60%", 64, "must not be a percentage"},
		{"plan dev7 --disk vda", 64, "--size is missing"},
		{"--launch-timeout 0s inspect a.raw", 64, "--launch-timeout 0s: must be longer than zero"},
		{"disk lits", 64, `unknown command disk lits. Did you mean "list"?`},
		{"disk list", 64, "disk list: DOMAIN is missing"},
		{"disk list A B", 64, "disk list takes one DOMAIN"},
		{"disk attach A", 64, "disk attach: PATH is missing"},
		{"disk attach A b.raw --live --config", 64, "--live and --config cannot be used together"},
		{"disk attach A b.raw --bus floppy", 64, "one of virtio, scsi, sata, ide"},
		{"disk attach A b.raw --target xda1", 64, "must be a target name, for example vdb"},
		{"disk attach A b.raw --mount data", 64, "an absolute path below /"},
		{"disk attach A b.raw --mount /", 64, "an absolute path below /"},
		{"disk attach A b.raw --mount /etc", 64, "/etc belongs to the system"},
		{"disk attach A b.raw --fs-options ro", 64, "--fs-options needs --mount"},
		{"disk attach A b.raw --label x", 64, "--label needs --initialise"},
		{"disk attach A b.raw --initialise ntfs --drive C:", 64, "a letter from D to Z"},
		{"disk add A --size 1G --mount /data", 64, "--mount needs --fs"},
		{"disk detach A vdb --unmount --even-mounted", 64, "cannot be used together"},
		{"disk detach A vdb --timeout 0s", 64, "--timeout"},
		{"media insert A", 64, "media insert: ISO is missing"},
		{"media insert A b.iso --bus virtio", 64, "one of ide, sata, scsi, usb"},
		{"gorw", 64, `unknown command gorw. Did you mean "grow"?`},
		{"grow", 64, "--size is missing"},
		{"grow --size 3 A --yes", 64, "needs a unit"},
		{"grow --size -3G A --yes", 64, "only grows"},
		{"grow --size +1G --yes", 64, "TARGET is missing"},
		{"grow --size +1G --yes A B", 64, "takes one TARGET"},
		{"grow --size +1G A", 64, "the plan cannot be confirmed: use --yes"},
		{"grow --size +1G --yes A --grow =", 64, "--grow"},
		{"grow --size +1G --yes A --grow sda1 --even-unknown", 64, "--even-unknown needs --partition-only"},
		{"grow --size +1G --yes A --partition-only", 64, "--partition-only needs --grow"},
		{"grow --size +1G --yes A --delete sda2", 64, "--delete needs --grow"},
		{"grow --size +1G --yes A --delete sda2 --grow none", 64, "--delete needs --grow"},
		{"grow --size +1G --yes A --ntfs windows", 64, "offline or guest"},
		{"grow --size +1G --yes A --ntfs guest --grow sda1 --partition-only", 64, "cannot be used with"},
		{"grow --size 50% --yes A", 64, "percentages are for --grow"},
		{"grow --size +1G --yes A --grow sda1=60% --grow sda2=41%", 64, "100% is all of the remaining space"},
		{"grow --size +1G --yes A --grow sda1=0%", 64, "is not a percentage"},
		{"grow --size +1G --yes A --sector-size 520", 64, "512 or 4096"},
		{"grow --size +1G --yes A --format vmdk", 64, "qcow2 or raw"},
		{"grow --size +1G --yes A --scratch-dir /nowhere", 64, "is not a directory"},
		{"grow --size +1G --yes A --nonsense", 64, "unknown flag --nonsense"},
		{"grow --size +1G --yes A --key sda1:key:secret", 64, "--insecure-key"},
		{"plan --size 1M A", 3, "only grows"},
		{"plan --size +1G A -o A", 64, "is the image itself"},
		{"plan --size +1G A -o D", 64, "is not a regular file"},
		{"inspect A --accel hvf", 64, "auto, kvm, tcg"},
		{"inspect web1 --connect qemu:///system?socket=/nowhere", 3, "cannot connect to libvirt"},
		{"inspect web1 --connect qemu+tls://other/system", 3, "another host's libvirt"},
		{"inspect web1 --connect qemu+ssh://other", 64, "must end with /system or /session"},
		{"inspect web1 --connect qemu+ssh://other/system?sshauth=none", 64, "the parameter sshauth is not supported"},
		{"jobs x --nonsense --connect qemu+ssh://other/system", 64, "unknown flag --nonsense"},
		{"grow A --size +1G --yes --disk vda", 64, "--disk is only for domains"},
		{"grow web1 --size +1G --yes --format raw", 64, "--format is only for images"},
		{"grow web1 --size +1G --yes --accept maybe", 64, "auto or manual"},
		{"grow web1 --size +1G --yes --no-trial --trial-boot", 64, "cannot be used together"},
		{"grow web1 --size +1G --yes --window-end soon", 64, "time of day"},
		{"inspect ./web1", 3, "there is no image"},
		{"jobs x", 64, "takes no argument"},
		{"status", 64, "JOB is missing"},
		{"status x", 3, "no such job"},
		{"resume x", 3, "no such job"},
		{"rollback x", 3, "no such job"},
		{"accept x", 3, "no such job"},
		{"apply A --yes", 64, "not a plan file"},
		{"df --connect qemu:///system?socket=/nowhere", 3, "cannot connect to libvirt"},
		{"df --above 120%", 64, "not a percentage from 0% to 100%"},
		{"df --sort size", 64, "name, used, free or full"},
		{"df --suggest 30%", 64, "must be a share (+30%)"},
		{"df --suggest +3000%", 64, "from +1%"},
		{"df --suggest 10G", 64, "must be a share"},
		{"df --suggest-days 0", 64, "from 1 to 3650"},
		{"df --suggest +30% --suggest-days 9", 64, "cannot be used together"},
		{"df --suggest +30% --csv", 64, "give a file for the inventory"},
		{"df -o D/new.yaml", 64, "is for the inventory"},
		{"df --mounts", 64, "give a TARGET or --inspect"},
		{"df --format raw", 64, "only for images"},
		{"df A --inspect", 64, "for df without TARGET"},
		{"df A --accel tcg --format vmdk", 64, "qcow2 or raw"},
		{"df ./web1", 3, "there is no image"},
		{"ls A", 64, "not TARGET:PATH"},
		{"cat A:etc/fstab", 64, "not TARGET:PATH"},
		{"ls ./web1:/", 3, "there is no image"},
		{"ls web1:/etc --connect qemu:///system?socket=/nowhere", 3, "cannot connect to libvirt"},
		{"copy-out A:/etc", 64, "DEST is missing"},
		{"copy-out A:/etc B:/etc D", 64, "one TARGET at a time"},
		{"copy-out A:/etc A:/usr D/nothing", 64, "is not a directory, and 2"},
		{"copy-out A:/etc /nowhere/x", 64, "is not a directory"},
		{"copy-in A", 64, "TARGET:DIR is missing"},
		{"copy-in D A:/etc", 64, "is a directory"},
		{"copy-in /nowhere/x A:/etc", 64, "no such file"},
		{"copy-in A A A:/etc", 64, "two files have the name"},
		{"edit A:/etc/fstab", 64, "no editor can be started: use --expr"},
		{"edit A:/etc/fstab -e s/a/b", 64, "s/REGEXP/REPLACEMENT/"},
		{"edit A:/etc/fstab -e s/(/b/", 64, "missing closing"},
		{"completion tcsh", 64, "not bash, zsh or fish"},
	} {
		line := strings.NewReplacer("A", image, "D", dir).Replace(c.line)
		got := try(t, t.TempDir(), strings.Fields(line)...)
		if got.exit != c.exit || !strings.Contains(got.err, c.says) || got.out != "" {
			t.Errorf("%s: exit %d, want %d; says %q", c.line, got.exit, c.exit, got.err+got.out)
		}
		if strings.Contains(got.err, "secret") {
			t.Errorf("%s: a key is repeated: %q", c.line, got.err)
		}
	}
}

// TestTroubleJSON checks that a refusal with --json is one document, or the result event
// of a run.
func TestTroubleJSON(t *testing.T) {
	for line, schema := range map[string]string{
		"inspect web1 --json --connect qemu:///system?socket=/nowhere": "virt-grow/error/v1",
		"status nix --json": "virt-grow/error/v1",
		"grow web1 --size +1G --yes --json --connect qemu:///system?socket=/nowhere": "virt-grow/grow/v1",
		"grow web1 --size +1 --json":            "virt-grow/grow/v1",
		"resume --json nix":                     "virt-grow/resume/v1",
		"apply --json /nowhere/plan.json --yes": "virt-grow/apply/v1",
		"grow --nonsense --json":                "virt-grow/grow/v1",
		"edit ./nix:/a -e s/a/b/ --json":        "virt-grow/edit/v1",
		"df ./nix --json":                       "virt-grow/error/v1",
		"df --csv --json":                       "virt-grow/error/v1",
	} {
		got := try(t, t.TempDir(), strings.Fields(line)...)
		var doc struct {
			Schema, Event, Outcome, Reason, Error, Hint string
			Job                                         *string
			Changed                                     *bool
			Exit                                        int
		}
		if err := json.Unmarshal([]byte(got.out), &doc); err != nil {
			t.Errorf("%s: %v in %q", line, err, got.out)
			continue
		}
		if doc.Schema != schema || doc.Reason == "" || doc.Error == "" || doc.Hint == "" || doc.Exit != got.exit {
			t.Errorf("%s: %+v, exit %d", line, doc, got.exit)
		}
		if strings.HasSuffix(schema, "/error/v1") {
			continue
		}
		if doc.Event != "result" || doc.Outcome != "refused" || doc.Changed == nil || *doc.Changed || doc.Job == nil {
			t.Errorf("%s: no result event: %s", line, got.out)
		}
	}
}

// allCommands returns all commands, those of one word and those of two.
func allCommands() []string {
	var names []string
	for _, c := range newApp(&program{console: quiet(nil)}).VisibleCommands() {
		names = append(names, c.Name)
		for _, second := range c.Subcommands {
			names = append(names, c.Name+" "+second.Name)
		}
	}
	return names
}

func TestHelp(t *testing.T) {
	for _, name := range allCommands() {
		got := try(t, t.TempDir(), append(strings.Fields(name), "--help")...)
		if got.exit != 0 || !strings.Contains(got.out, "EXAMPLES:") || !strings.Contains(got.out, "USAGE:") {
			t.Errorf("%s --help: exit %d, %q", name, got.exit, got.out)
		}
		for _, line := range strings.Split(got.out, "\n") {
			if strings.Contains(line, "`") {
				t.Errorf("%s --help: %q", name, line)
			}
		}
	}
	if got := try(t, t.TempDir(), "--version"); got.out != "virt-grow version dev\n" {
		t.Errorf("--version: %q", got.out)
	}
}

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"gr":                         "grow",
		"":                           "inspect plan rehearse grow apply online bus jobs status report resume accept rollback batch disk media df ls cat copy-out copy-in edit doctor completion",
		"grow --si":                  "--size",
		"grow x.raw --ver":           "--verbose --version",
		"grow --accel ":              "auto kvm tcg",
		"grow --format q":            "qcow2",
		"plan x.raw --sector-size 4": "4096",
		"grow --scratch-dir ":        "",
		"disk l":                     "list",
		"batch p":                    "plan",
		"batch plan --only":          "--only-possible",
		"batch plan --quiesce ":      "auto no yes",
		"batch plan x":               "",
		"disk convert --to v":        "vmdk vhdx vdi",
		"disk list --ver":            "--verbose --version",
		"completion ":                "bash fish zsh",
		"status ":                    "",
	} {
		c := quiet(map[string]string{"VIRT_GROW_STATE_DIR": "/nowhere"})
		exit := execute(append([]string{"virt-grow", "__complete"}, strings.Split(line, " ")...), c)
		got := strings.Join(strings.Fields(c.out.(*bytes.Buffer).String()), " ")
		if exit != 0 || got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	p := &program{console: quiet(map[string]string{"VIRT_GROW_STATE_DIR": "/x"})}
	p.state = p.defaultState()
	if got := p.line("resume", "a"); got != "virt-grow resume a" {
		t.Error(got)
	}
	p.state = "/my state/it's"
	if got := p.line("resume", "a"); got != `virt-grow --state-dir '/my state/it'\''s' resume a` {
		t.Error(got)
	}
}

// TestLooking checks that the progress line on a terminal ends when the command says so,
// and is erased.
func TestLooking(t *testing.T) {
	for _, live := range []bool{false, true} {
		c := quiet(nil)
		c.errLive = live
		p := &program{console: c}
		stop := p.looking("looking at a disk")
		stop()
		shown := p.err.(*bytes.Buffer).String()
		if strings.Contains(shown, "looking at a disk") != live || live && !strings.HasSuffix(shown, "\x1b[K") {
			t.Errorf("live %t: %q", live, shown)
		}
	}
}
