package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestAnsibleAnswers checks that the answers of the fake program, with which the Ansible
// modules are tested, are such as this program prints.
func TestAnsibleAnswers(t *testing.T) {
	paths, err := filepath.Glob("../ansible/tests/unit/fixtures/*.json*")
	if err != nil || len(paths) < 10 {
		t.Fatal(len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(path), func(t *testing.T) { checkJSON(t, string(text)) })
	}
}

// TestAnsibleFlags checks that the options that the Ansible modules pass on are flags of the
// commands that they run.
func TestAnsibleFlags(t *testing.T) {
	list := regexp.MustCompile(`(?s)\n([A-Z]+)_FLAGS = \((.*?)\)`)
	word := regexp.MustCompile(`'([a-z_]+)'`)
	app := newApp(&program{console: quiet(nil)})
	for _, c := range []struct {
		file, list string
		commands   []string
	}{
		{"module_utils/program.py", "GLOBAL", nil},
		{"modules/grow.py", "PLAN", []string{"plan", "grow"}},
		{"modules/grow.py", "DOMAIN", []string{"plan", "grow"}},
		{"modules/grow.py", "RUN", []string{"grow"}},
		{"modules/disk.py", "ADD", []string{"disk add"}},
	} {
		text, err := os.ReadFile(filepath.Join("../ansible/plugins", c.file))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, found := range list.FindAllStringSubmatch(string(text), -1) {
			if found[1] == c.list {
				names = word.FindAllString(found[2], -1)
			}
		}
		if len(names) == 0 {
			t.Errorf("%s has no %s_FLAGS", c.file, c.list)
		}
		sets := [][]cli.Flag{}
		if c.commands == nil {
			sets = append(sets, app.Flags)
		}
		for _, command := range c.commands {
			sets = append(sets, find(app, strings.Fields(command)).Flags)
		}
		for _, name := range names {
			flag := strings.ReplaceAll(strings.Trim(name, "'"), "_", "-")
			for i, set := range sets {
				if !slices.ContainsFunc(set, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
					t.Errorf("%s: --%s is no flag of %v", c.file, flag, append(c.commands, "virt-grow")[i])
				}
			}
		}
	}
}
