package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// realTests names, for every command, a test in make test or make test-all that runs the
// command in the built program on the real engines. The CI runs both.
var realTests = map[string]string{
	"inspect": "TestTerminal", "plan": "TestTerminal", "apply": "TestTerminal", "doctor": "TestTerminal",
	"rehearse": "TestRehearsal", "grow": "TestDomain", "online": "TestOnline", "bus": "TestBus",
	"batch apply": "TestBatch", "batch status": "TestBatch", "batch resume": "TestBatch", "batch accept": "TestBatch", "batch rollback": "TestBatch",
	"jobs": "TestKilled", "report": "TestKilled", "status": "TestKilled", "resume": "TestKilled", "rollback": "TestKilled", "accept": "TestDomainManual",
	"batch plan":  "TestBatchPlan",
	"disk create": "TestDiskCreateKilled", "disk convert": "TestDiskConvert", "disk list": "TestDiskList",
	"disk attach": "TestDiskAttach", "disk detach": "TestDiskAttach", "disk add": "TestDiskLVM",
	"media insert": "TestMedia", "media eject": "TestMedia",
	"df": "TestTerminal", "ls": "TestTerminal", "cat": "TestTerminal", "copy-out": "TestTerminal", "copy-in": "TestTerminal", "edit": "TestEdit",
}

// withoutEngine are the commands that use no engine.
var withoutEngine = []string{"completion"}

// TestEveryCommandIsRun compares the list with the program's commands and with the
// sources of the tests: each test exists, in a file that runs the command, and at a
// level that the CI runs.
func TestEveryCommandIsRun(t *testing.T) {
	commands := commandNames(newApp(&program{console: quiet(nil)}).VisibleCommands(), "")
	known := slices.Concat(slices.Collect(maps.Keys(realTests)), withoutEngine)
	for _, name := range known {
		if !slices.Contains(commands, name) {
			t.Errorf("there is no command %s", name)
		}
	}
	for _, name := range commands {
		if !slices.Contains(known, name) {
			t.Errorf("no test on the real engines is named for %s", name)
		}
	}
	sources, tests := testFunctions(t)
	for name, test := range realTests {
		f, ok := tests[test]
		if !ok {
			t.Errorf("%s: there is no %s", name, test)
			continue
		}
		// A command line is one string, or one string for each word.
		line := regexp.MustCompile(`"` + strings.ReplaceAll(regexp.QuoteMeta(name), " ", `(", "| )`) + `["\s]`)
		if !line.MatchString(sources[f.file]) {
			t.Errorf("%s: %s does not run it", name, f.file)
		}
		if strings.Contains(f.first, "level.Need(t, level.All)") || strings.Contains(f.first, "level.Debian") {
			t.Errorf("%s: %s is not in what the CI runs", name, test)
		}
	}
}

// commandNames returns the names of the commands that are no groups: "grow", "disk add".
func commandNames(commands []*cli.Command, group string) []string {
	var names []string
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			names = append(names, commandNames(c.VisibleCommands(), c.Name+" ")...)
			continue
		}
		names = append(names, group+c.Name)
	}
	return names
}

// testFunction is the file of a test, and the text of its first statement, in which a
// test requires a level.
type testFunction struct{ file, first string }

// testFunctions reads the package's tests: the text of each file, and each test
// function.
func testFunctions(t *testing.T) (sources map[string]string, functions map[string]testFunction) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	sources, functions = map[string]string{}, map[string]testFunction{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources[file] = string(text)
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && len(f.Body.List) > 0 {
				s := f.Body.List[0]
				functions[f.Name.Name] = testFunction{file, string(text[set.Position(s.Pos()).Offset:set.Position(s.End()).Offset])}
			}
		}
	}
	return sources, functions
}
