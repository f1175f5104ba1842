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
	"testing"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the files of docs/schema anew")

// TestSchemaFiles: the published schemas are those of the Go types.
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

// TestSchemaUnits: a reader learns the unit or the meaning of every number.
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

// TestGoldenSchema: the documents and events that the views are tested with are valid.
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

// TestStrictSchema: our own output is held to the fields that the schemas know, and
// readers may meet others.
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

// strictSchemas are compiled once: most tests print several documents.
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

// checkJSON holds every document and every event of a command's output to its schema.
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

// checkLines holds the events among the lines of a command's output to their schema.
func checkLines(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, `{"schema":"virt-grow/`) && strings.HasSuffix(line, "}\n") {
			checkJSON(t, line)
		}
	}
}
