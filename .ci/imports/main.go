// Imports checks the import directions of docs/architecture.md:
//
//	cmd → guest → plan; plan and testimages import no other tree
//
// It also checks the ranks of the packages of guest, and that the planner is pure: without
// programs, files, network, clock, random numbers or C.
//
//	go run ./.ci/imports
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/virt-grow/virt-grow/"

// below has the trees and packages that a tree's packages may import besides their own, and
// those that only their tests may import.
var below = map[string]struct{ always, tests []string }{
	"cmd":        {always: []string{"guest", "plan"}, tests: []string{"testimages"}},
	"guest":      {always: []string{"plan"}, tests: []string{"testimages"}},
	"plan":       {tests: []string{"testimages/level"}},
	"testimages": {},
}

// ranks order the packages of guest: each imports only those of lines above its own,
// so that no circle can grow.
var ranks = [][]string{
	{"guest/poll", "guest/inhibit", "guest/block/qmp"},
	{"guest/block"},
	{"guest/domain", "guest/appliance"},
	{"guest/image"},
	{"guest/inside", "guest/overlay", "guest/usage"},
	{"guest/session"},
	{"guest/disk"},
	{"guest/job"},
	{"guest/job/jobtest", "guest/domainjob"},
	{"guest/growth", "guest/online", "guest/create", "guest/files"},
	{"guest/device"},
	{"guest/batch"},
	{"guest", "guest/doctor"},
	{"guest/record"},
	{"guest/record/recordtest"},
}

// Imports that make a package impure. A name includes all packages below it.
var (
	outside = []string{"os/exec", "net", "C", "log", "math/rand", "libguestfs.org"}
	impure  = append([]string{"os", "syscall", "golang.org/x/sys", "crypto/rand"}, outside...)
)

// forbidden has the imports that a package may not have; its tests may. Only plan and
// plan/inventory may import time, for durations and for times that they are given. plan/journal writes the journal to disk.
var forbidden = map[string][]string{
	"plan":            impure,
	"plan/size":       append([]string{"time"}, impure...),
	"plan/bus":        append([]string{"time"}, impure...),
	"plan/fstab":      append([]string{"time"}, impure...),
	"plan/memory":     append([]string{"time"}, impure...),
	"plan/lvm":        append([]string{"time"}, impure...),
	"plan/initramfs":  append([]string{"time"}, impure...),
	"plan/inventory":  impure,
	"plan/live":       append([]string{"time"}, impure...),
	"plan/superblock": append([]string{"time"}, impure...),
	"plan/table":      append([]string{"time"}, impure...),
	"plan/apply":      append([]string{"os"}, outside...),
	"plan/journal":    outside,
}

// adapters has the only packages, with their tests, that may import a library; all others
// call the adapter.
var adapters = map[string][]string{
	"libvirt.org":              {"guest/domain"},
	"github.com/godbus/dbus":   {"guest/inhibit"},
	"github.com/goccy/go-yaml": {"plan/inventory"},
	// Tests generate and check the schemas of the program's output.
	"github.com/invopop/jsonschema":         {"cmd/virt-grow"},
	"github.com/santhosh-tekuri/jsonschema": {"cmd/virt-grow"},
	// Tests check the metrics with promtool's linter.
	"github.com/prometheus": {"guest/usage"},
}

// pkg has the fields of go list -json that are used here.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func main() {
	packages, err := list(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "imports:", err)
		os.Exit(1)
	}
	if problems := judge(packages); len(problems) > 0 {
		fmt.Fprintln(os.Stderr, strings.Join(problems, "\n"))
		os.Exit(1)
	}
	fmt.Printf("imports: %d packages keep to the directions\n", len(packages))
}

// list reads the packages of the module in dir.
func list(dir string) ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, errors.New("go list found no packages")
	}
	return packages, nil
}

// judge returns one sentence for each violation.
func judge(packages []pkg) []string {
	var problems []string
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			if problem := direction(name, i, false); problem != "" {
				problems = append(problems, problem)
			}
			if covered(forbidden[name], i) {
				problems = append(problems, fmt.Sprintf("%s must stay pure, but imports %s", name, i))
			}
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for library, only := range adapters {
				if covered([]string{library}, i) && !slices.Contains(only, name) {
					problems = append(problems, fmt.Sprintf("%s imports %s, which only %s may import", name, i, strings.Join(only, ", ")))
				}
			}
		}
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
			if problem := direction(name, i, true); problem != "" {
				problems = append(problems, problem)
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

func direction(name, imported string, test bool) string {
	to, ours := strings.CutPrefix(imported, module)
	if !ours {
		return ""
	}
	tree := top(name)
	rule, known := below[tree]
	switch {
	case !known:
		return fmt.Sprintf("%s is in a tree without a rule", name)
	case test && strings.HasPrefix(to, name+"/"):
		return "" // a package's tests may import the package's own test helpers
	case tree == "guest" && top(to) == "guest" && name != to && rank(to) >= rank(name):
		return fmt.Sprintf("%s imports %s, which is not above it in the list of ranks", name, to)
	case top(to) == tree, covered(rule.always, to), test && covered(rule.tests, to):
		return ""
	case test:
		return fmt.Sprintf("a test of %s imports %s, which %s may not", name, to, tree)
	}
	return fmt.Sprintf("%s imports %s, which %s may not", name, to, tree)
}

// rank returns the line of ranks that has the package. A package without a rank may
// import all others, and no other may import it.
func rank(name string) int {
	i := slices.IndexFunc(ranks, func(line []string) bool { return slices.Contains(line, name) })
	if i < 0 {
		return len(ranks)
	}
	return i
}

func top(name string) string {
	tree, _, _ := strings.Cut(name, "/")
	return tree
}

func covered(names []string, imported string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return imported == n || strings.HasPrefix(imported, n+"/")
	})
}
