package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/guest/doctor"
	"github.com/virt-grow/virt-grow/guest/domain"
	"github.com/virt-grow/virt-grow/guest/files"
	"github.com/virt-grow/virt-grow/guest/online"
	guestusage "github.com/virt-grow/virt-grow/guest/usage"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/live"
)

var update = flag.Bool("update", false, "write the files of docs/schema anew")

// TestSchemaFiles checks that the published schemas are those of the Go types.
func TestSchemaFiles(t *testing.T) {
	g, err := newGenerator(false)
	if err != nil {
		t.Fatal(err)
	}
	for name := range documented {
		want, err := g.file(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("../../docs/schema", name+"-v1.json")
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(string(have), string(want)); diff != "" {
			t.Errorf("not as in %s (go test ./cmd/virt-grow -run TestSchemaFiles -update writes it):\n%s", path, diff)
		}
	}
	if files, _ := filepath.Glob("../../docs/schema/*"); len(files) != len(documented) {
		t.Errorf("docs/schema has %d files for %d schemas", len(files), len(documented))
	}
}

// TestSchemaUnits checks that every number has a description with its unit or meaning.
func TestSchemaUnits(t *testing.T) {
	g, err := newGenerator(false)
	if err != nil {
		t.Fatal(err)
	}
	for name := range documented {
		root := g.schema(name)
		root.Definitions["document"] = root
		for at, def := range root.Definitions {
			for p := def.Properties.Oldest(); p != nil; p = p.Next() {
				if (p.Value.Type == "number" || p.Value.Type == "integer") && p.Value.Description == "" {
					t.Errorf("%s: %s of %s has no description", name, p.Key, at)
				}
			}
		}
	}
}

// TestGoldenSchema checks that the documents and events that the views are tested with
// are valid.
func TestGoldenSchema(t *testing.T) {
	paths, err := filepath.Glob("view/testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(text), "{") {
			found++
			checkJSON(t, string(text))
		}
	}
	if found < 5 {
		t.Errorf("only %d of the golden files are JSON", found)
	}
}

// TestViewSchema checks that documents and events without a golden file are valid.
func TestViewSchema(t *testing.T) {
	refused := view.Trouble{Reason: view.ErrorReason(plan.NotFound), Error: "there is no image", Exit: exitRefused}
	locked := appliance.FileSystem{Device: "vda2", Type: plan.ContentLUKS, Problem: plan.Refuse(plan.LUKSLocked, "vda2", "there is no key")}
	nothing := &plan.Plan{Schema: plan.Schema, Target: plan.Target{Path: "/a.raw", Format: "raw", SectorSize: 512},
		Request: plan.Request{Size: plan.Amount{Mode: plan.Fill}},
		Before:  &plan.Layout{Devices: []plan.Device{{Name: "sda", Kind: plan.Disk}}}, After: &plan.Layout{Devices: []plan.Device{{Name: "sda", Kind: plan.Disk}}}}
	var out bytes.Buffer
	grown, tried := view.NewEvents(&out, "online", now), view.NewEvents(&out, "rehearse", now)
	err := errors.Join(
		view.UsageJSON(&out, []view.GuestUsage{
			{Guest: guestusage.Guest{Name: "vm1", Source: guestusage.ByAppliance, FileSystems: []guestusage.FileSystem{{FileSystem: locked, Forecast: &guestusage.Forecast{Outlook: guestusage.Full}}}}},
			{Guest: guestusage.Guest{Name: "vm2", Unread: guestusage.Off, Why: "it is off"}},
			{Guest: guestusage.Guest{Name: "vm3"}, Trouble: &refused}}),
		view.ListingJSON(&out, "vm1", "/", []appliance.Entry{{Name: "etc", Mode: syscall.S_IFDIR | 0o755}}),
		view.CopiedJSON(&out, "vm1", []files.Copied{{Path: "/etc", To: "/tmp/etc"}}),
		view.DoctorJSON(&out, []view.Finding{{Name: "KVM", Level: doctor.Warn, Text: "there is no /dev/kvm"}}, true),
		view.StatusJSON(&out, view.Status{Job: view.Job{State: view.StateDamaged}, Steps: []view.StepStatus{{State: view.StepBegun}}}),
		nothing.Write(&out))
	grown.Online(view.Online{Via: domain.ViaQMP, InGuest: online.ByAgent})
	grown.Listed([]plan.Step{{Kind: plan.StepContainer}})
	grown.Result(view.ResultEvent{Outcome: view.Done, Commands: []live.CommandResult{{Line: "true"}}})
	tried.Planned(nothing)
	tried.Rehearsed(view.RehearsalEvent{Outcome: view.Unchanged})
	tried.Result(view.ResultEvent{Outcome: view.Refused, Trouble: &refused})
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, out.String())
}

// TestStrictSchema checks that the tests allow no unknown fields, while the published
// schemas do.
func TestStrictSchema(t *testing.T) {
	newer, err := validator.UnmarshalJSON(strings.NewReader(`{"schema": "virt-grow/jobs/v1", "jobs": [], "more": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{true, false} {
		schemas, err := compileSchemas(strict)
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas["jobs"].Validate(newer); (err != nil) != strict {
			t.Errorf("strict %t: %v", strict, err)
		}
	}
}

// strictSchemas are compiled once, because most tests print several documents.
var strictSchemas = sync.OnceValues(func() (map[string]*validator.Schema, error) { return compileSchemas(true) })

func compileSchemas(strict bool) (map[string]*validator.Schema, error) {
	g, err := newGenerator(strict)
	if err != nil {
		return nil, err
	}
	all := map[string]*validator.Schema{}
	for name := range documented {
		if all[name], err = compileSchema(g, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func compileSchema(g *generator, name string) (*validator.Schema, error) {
	text, err := g.file(name)
	if err != nil {
		return nil, err
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// checkJSON validates every document and every event of a command's output.
func checkJSON(t *testing.T, output string) {
	t.Helper()
	schemas, err := strictSchemas()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(output)); ; {
		var text json.RawMessage
		if err := d.Decode(&text); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("no JSON: %v in\n%s", err, output)
			return
		}
		var head struct{ Schema string }
		doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
		if err = errors.Join(err, json.Unmarshal(text, &head)); err != nil {
			t.Errorf("%v in\n%s", err, text)
			return
		}
		name := strings.TrimSuffix(strings.TrimPrefix(head.Schema, "virt-grow/"), "/v1")
		schema := schemas[name]
		if schema == nil {
			schema = schemas["events"]
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

// checkLines validates the events among the lines of a command's output.
func checkLines(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, `{"schema":"virt-grow/`) && strings.HasSuffix(line, "}\n") {
			checkJSON(t, line)
		}
	}
}
