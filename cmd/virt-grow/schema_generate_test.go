package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/virt-grow/virt-grow/cmd/virt-grow/view"
	"github.com/virt-grow/virt-grow/guest/batch"
	"github.com/virt-grow/virt-grow/plan"
	"github.com/virt-grow/virt-grow/plan/journal"
	"github.com/virt-grow/virt-grow/plan/size"
)

const module = "github.com/virt-grow/virt-grow"

// variant is one form of a document or an event. Event is "" for a document.
type variant struct {
	event string
	value any
}

var (
	runEvents  = []variant{{"job", view.JobEvent{}}, {"note", view.NoteEvent{}}, {"steps", view.StepsEvent{}}, {"step", view.StepEvent{}}, {"guest", view.GuestEvent{}}, {"result", view.ResultEvent{}}}
	planEvent  = variant{"plan", view.PlanEvent{}}
	documented = map[string][]variant{
		"batch":     {{value: batch.Batch{}}},
		"copy-out":  {{value: view.CopiedDocument{}}},
		"df":        {{value: view.UsageDocument{}}},
		"disk-list": {{value: view.DiskListDocument{}}},
		"doctor":    {{value: view.DoctorDocument{}}},
		"error":     {{value: view.ErrorDocument{}}},
		"inspect":   {{value: view.InspectDocument{}}},
		"jobs":      {{value: view.JobsDocument{}}},
		"ls":        {{value: view.ListingDocument{}}},
		"plan":      {{value: plan.Plan{}}},
		"report":    {{value: view.ReportDocument{}}},
		"status":    {{value: view.StatusDocument{}}},
		"online":    append([]variant{{"plan", view.OnlineEvent{}}}, runEvents...),
		"rehearse":  append([]variant{planEvent, {"result", view.RehearsalEvent{}}}, runEvents...),
		"events":    append([]variant{planEvent}, runEvents...),
	}
)

// extended are the types that have the values of another type besides their own.
var extended = map[reflect.Type]reflect.Type{
	reflect.TypeFor[view.ErrorReason](): reflect.TypeFor[plan.Reason](),
	reflect.TypeFor[batch.Reason]():     reflect.TypeFor[plan.Reason](),
	reflect.TypeFor[view.State]():       reflect.TypeFor[journal.JobState](),
}

// generator makes JSON Schemas from the Go types, their comments and their constants.
type generator struct {
	reflector jsonschema.Reflector
	constants map[string][]string
	defs      jsonschema.Definitions
	named     map[string]reflect.Type
}

// newGenerator reads the source. Schemas that are strict allow no unknown fields.
func newGenerator(strict bool) (*generator, error) {
	g := &generator{constants: map[string][]string{}}
	g.reflector = jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: !strict, Mapper: g.scalar, Namer: g.name}
	for _, dir := range []string{"view", "../../plan", "../../guest"} {
		if err := g.reflector.AddGoComments(module+"/cmd/virt-grow", dir, jsonschema.WithFullComment()); err != nil {
			return nil, err
		}
	}
	for name, text := range g.reflector.CommentMap {
		g.reflector.CommentMap[name] = strings.Join(strings.Fields(text), " ")
	}
	for _, pattern := range []string{"view/*.go", "../../plan/*.go", "../../plan/*/*.go", "../../guest/*/*.go"} {
		if err := g.readConstants(pattern); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// readConstants collects the string constants that are declared with a type of their
// own package.
func (g *generator) readConstants(pattern string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		pkg := filepath.Join(module, "cmd/virt-grow", filepath.Dir(path))
		for node := range ast.Preorder(file) {
			spec, ok := node.(*ast.ValueSpec)
			if !ok {
				continue
			}
			kind, ok := spec.Type.(*ast.Ident)
			if !ok || len(spec.Values) != 1 {
				continue
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				return err
			}
			g.constants[pkg+"."+kind.Name] = append(g.constants[pkg+"."+kind.Name], text)
		}
	}
	return nil
}

// values returns the possible values of a string type; none for a type without a fixed
// set.
func (g *generator) values(t reflect.Type) []any {
	var all []any
	if base, ok := extended[t]; ok {
		all = g.values(base)
	}
	for _, text := range g.constants[t.PkgPath()+"."+t.Name()] {
		all = append(all, text)
	}
	return all
}

// name returns the name of a definition. Of two types with one name, the second one gets
// its package's name, too: "PlanGuest".
func (g *generator) name(t reflect.Type) string {
	name := t.Name()
	if name == "" {
		return ""
	}
	if other, ok := g.named[name]; ok && other != t {
		pkg := path.Base(t.PkgPath())
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	if other, ok := g.named[name]; ok && other != t {
		panic(fmt.Sprintf("%v and %v would be one definition", t, other))
	}
	g.named[name] = t
	return name
}

// scalar moves sizes, types that are written as text, and strings with a fixed set of values, into definitions of their
// own.
func (g *generator) scalar(t reflect.Type) *jsonschema.Schema {
	def := &jsonschema.Schema{Description: g.comment(t)}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		def.Type = "string"
	case t == reflect.TypeFor[size.Bytes]():
		def.Type = "integer"
	case t.Kind() == reflect.String && t.PkgPath() != "":
		def.Type, def.Enum = "string", g.values(t)
	default:
		return nil
	}
	name := g.name(t)
	g.defs[name] = def
	return &jsonschema.Schema{Ref: "#/$defs/" + name}
}

func (g *generator) comment(t reflect.Type) string {
	return g.reflector.CommentMap[t.PkgPath()+"."+t.Name()]
}

// schema makes the schema of a document, or of each line of a command that prints
// events.
func (g *generator) schema(name string) *jsonschema.Schema {
	g.defs, g.named = jsonschema.Definitions{}, map[string]reflect.Type{}
	root := &jsonschema.Schema{}
	for _, v := range documented[name] {
		t := reflect.TypeOf(v.value)
		made := g.reflector.ReflectFromType(t)
		maps.Copy(g.defs, made.Definitions)
		def := g.defs[t.Name()]
		setSchema(def, name)
		if v.event == "" {
			delete(g.defs, t.Name())
			root = def
			continue
		}
		setConst(def, "event", v.event)
		root.AnyOf = append(root.AnyOf, &jsonschema.Schema{Ref: made.Ref})
	}
	for name, t := range g.named {
		if def := g.defs[name]; def != nil && t.Kind() == reflect.Struct {
			relaxEmbedded(def, t)
		}
	}
	if root.AnyOf != nil {
		root.Description = "One line of the output: an event of a run."
	} else {
		relaxEmbedded(root, reflect.TypeOf(documented[name][0].value))
	}
	root.Version, root.Definitions = jsonschema.Version, g.defs
	root.ID = jsonschema.ID("https://" + module + "/raw/main/docs/schema/" + name + "-v1.json")
	root.Title = "virt-grow/" + name + "/v1"
	return root
}

func setConst(def *jsonschema.Schema, property, value string) {
	p, _ := def.Properties.Get(property)
	p.Const = value
}

// setSchema sets the value of the field schema; the events of most commands differ in
// nothing else.
func setSchema(def *jsonschema.Schema, name string) {
	p, ok := def.Properties.Get("schema")
	if name != "events" || !ok {
		p.Const = view.Schema(name)
		return
	}
	for _, command := range slices.Sorted(maps.Keys(runs)) {
		if command = strings.ReplaceAll(command, " ", "-"); documented[command] == nil {
			p.Enum = append(p.Enum, view.Schema(command))
		}
	}
}

// relaxEmbedded makes the fields of embedded pointers optional.
func relaxEmbedded(def *jsonschema.Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous || f.Type.Kind() != reflect.Pointer {
			continue
		}
		together := requiredFields(f.Type.Elem())
		def.Required = slices.DeleteFunc(def.Required, func(name string) bool { return slices.Contains(together, name) })
		def.DependentRequired = map[string][]string{}
		for _, name := range together {
			def.DependentRequired[name] = slices.DeleteFunc(slices.Clone(together), func(other string) bool { return other == name })
		}
	}
}

func requiredFields(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); options == "" {
			names = append(names, name)
		}
	}
	return names
}

// file returns the schema as in docs/schema.
func (g *generator) file(name string) ([]byte, error) {
	data, err := json.MarshalIndent(g.schema(name), "", "  ")
	return append(data, '\n'), err
}
