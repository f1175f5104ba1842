// Imports holds the project's packages to the directions in docs/architecture.md:
//
//	cmd → guest → plan; plan and testimages import nothing else of ours
//
// keeps the packages of guest to their ranks, and keeps the planner pure: no program,
// file, network, clock, chance or C.
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

// below says which trees or packages a tree's packages may import besides their own,
// and which ones only their tests may.
var below = map[string]struct{ always, tests []string }{
	"cmd":        {always: []string{"guest", "plan"}, tests: []string{"testimages"}},
	"guest":      {always: []string{"plan"}, tests: []string{"testimages"}},
	"plan":       {tests: []string{"testimages/level"}},
	"testimages": {},
}

// ranks order the packages of guest: each imports only those of lines above its own,
// so that no circle can grow.
var ranks = [][]string{
	{"guest/poll", "guest/block/qmp"},
	{"guest/block"},
	{"guest/domain", "guest/appliance"},
	{"guest/image"},
	{"guest/inside", "guest/overlay"},
	{"guest/session"},
	{"guest/disk"},
	{"guest/job"},
	{"guest/job/jobtest", "guest/domainjob"},
	{"guest/growth", "guest/online", "guest/create", "guest/files"},
	{"guest/device"},
	{"guest", "guest/doctor"},
}

// Imports that take a package out of pure computing. A name covers what is
// below it as well.
var (
	outside = []string{"os/exec", "net", "C", "log", "math/rand", "libguestfs.org"}
	impure  = append([]string{"os", "syscall", "golang.org/x/sys", "crypto/rand"}, outside...)
)

// forbidden are the imports that a package may not have, its tests may. The
// planner may name times and spans, so time is free to plan alone; keeping the
// journal on disk is what plan/journal is for.
var forbidden = map[string][]string{
	"plan":            impure,
	"plan/size":       append([]string{"time"}, impure...),
	"plan/fstab":      append([]string{"time"}, impure...),
	"plan/memory":     append([]string{"time"}, impure...),
	"plan/lvm":        append([]string{"time"}, impure...),
	"plan/live":       append([]string{"time"}, impure...),
	"plan/superblock": append([]string{"time"}, impure...),
	"plan/table":      append([]string{"time"}, impure...),
	"plan/apply":      append([]string{"os"}, outside...),
	"plan/journal":    outside,
}

// adapters are the only packages, with their tests, that may import a library: the
// others call the adapter.
var adapters = map[string][]string{
	"libvirt.org": {"guest/domain"},
	// The schemas of what the program prints are made and checked by its tests.
	"github.com/invopop/jsonschema":         {"cmd/virt-grow"},
	"github.com/santhosh-tekuri/jsonschema": {"cmd/virt-grow"},
}

// pkg is what is needed of the output of go list -json.
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
				problems = append(problems, fmt.Sprintf("%s is to stay pure and imports %s", name, i))
			}
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for library, only := range adapters {
				if covered([]string{library}, i) && !slices.Contains(only, name) {
					problems = append(problems, fmt.Sprintf("%s imports %s, which is left to %s", name, i, strings.Join(only, ", ")))
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
		return fmt.Sprintf("%s is in a tree that no rule knows", name)
	case test && strings.HasPrefix(to, name+"/"):
		return "" // what a package has for tests may be used by its own
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
