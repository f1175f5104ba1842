package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		p    pkg
		want []string
	}{
		{"downwards", pkg{ImportPath: module + "guest/block", Imports: []string{"os/exec", module + "plan/size"}}, nil},
		{"own tree", pkg{ImportPath: module + "cmd/virt-grow", Imports: []string{module + "cmd/virt-grow/view", module + "guest"}}, nil},
		{"upwards", pkg{ImportPath: module + "guest", Imports: []string{module + "cmd/virt-grow/view"}},
			[]string{"guest imports cmd/virt-grow/view, which guest may not"}},
		{"a lower rank", pkg{ImportPath: module + "guest/disk", Imports: []string{module + "guest/image", module + "guest/domain"}}, nil},
		{"a higher rank", pkg{ImportPath: module + "guest/image", Imports: []string{module + "guest/disk"}},
			[]string{"guest/image imports guest/disk, which is not above it in the list of ranks"}},
		{"its own rank", pkg{ImportPath: module + "guest/growth", TestImports: []string{module + "guest/files"}},
			[]string{"guest/growth imports guest/files, which is not above it in the list of ranks"}},
		{"no rank", pkg{ImportPath: module + "guest", Imports: []string{module + "guest/extra"}},
			[]string{"guest imports guest/extra, which is not above it in the list of ranks"}},
		{"its own package", pkg{ImportPath: module + "guest/disk", XTestImports: []string{module + "guest/disk"}}, nil},
		{"an adapter", pkg{ImportPath: module + "guest/domain", Imports: []string{"libvirt.org/go/libvirt"}}, nil},
		{"past the adapter", pkg{ImportPath: module + "guest/disk", TestImports: []string{"libvirt.org/go/libvirt"}},
			[]string{"guest/disk imports libvirt.org/go/libvirt, which only guest/domain may import"}},
		{"plan upwards", pkg{ImportPath: module + "plan/apply", Imports: []string{module + "guest/block"}},
			[]string{"plan/apply imports guest/block, which plan may not"}},
		{"images in a test", pkg{ImportPath: module + "guest", XTestImports: []string{module + "testimages"}}, nil},
		{"images in the product", pkg{ImportPath: module + "guest", Imports: []string{module + "testimages"}},
			[]string{"guest imports testimages, which guest may not"}},
		{"images alone", pkg{ImportPath: module + "testimages", TestImports: []string{module + "plan/table"}},
			[]string{"a test of testimages imports plan/table, which testimages may not"}},
		{"the planner's tests at a level", pkg{ImportPath: module + "plan", TestImports: []string{module + "testimages/level"}}, nil},
		{"images in the planner's tests", pkg{ImportPath: module + "plan", TestImports: []string{module + "testimages"}},
			[]string{"a test of plan imports testimages, which plan may not"}},
		{"its own test help", pkg{ImportPath: module + "guest/job", XTestImports: []string{module + "guest/job/jobtest"}}, nil},
		{"impure", pkg{ImportPath: module + "plan/table", Imports: []string{"net/http", "math/rand/v2", "C", "time", "fmt"}},
			[]string{
				"plan/table must stay pure, but imports C",
				"plan/table must stay pure, but imports math/rand/v2",
				"plan/table must stay pure, but imports net/http",
				"plan/table must stay pure, but imports time",
			}},
		{"a pure package's test", pkg{ImportPath: module + "plan/table", TestImports: []string{"os/exec"}}, nil},
		{"the journal's files", pkg{ImportPath: module + "plan/journal", Imports: []string{"os"}}, nil},
		{"a new tree", pkg{ImportPath: module + "util", Imports: []string{module + "plan"}},
			[]string{"util is in a tree without a rule"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := judge([]pkg{test.p}); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestList shows that a violation is caught on real files, and not only in
// what this test believes go list prints.
func TestList(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module github.com/virt-grow/virt-grow\n\ngo 1.24\n")
	write(t, dir, "plan/plan.go", "package plan\n\nimport (\n\t_ \"os\"\n\t_ \"github.com/virt-grow/virt-grow/guest\"\n)\n")
	write(t, dir, "guest/guest.go", "package guest\n")
	packages, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"plan imports guest, which plan may not", "plan must stay pure, but imports os"}
	if got := judge(packages); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
