// Package journaltest holds what tests of packages share that keep values in a
// journal, or in another file of the state directory.
package journaltest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// CheckTags fails for every exported field of the values' types, and of the types
// in them, that has no json tag. Without one, renaming a field in the code loses
// what an older version wrote under its former name.
func CheckTags(t testing.TB, values ...any) {
	t.Helper()
	w := walk{seen: map[reflect.Type]bool{}}
	for _, v := range values {
		w.visit(reflect.TypeOf(v))
	}
	for _, problem := range w.problems {
		t.Error(problem)
	}
}

type walk struct {
	seen     map[reflect.Type]bool
	problems []string
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func (w *walk) visit(t reflect.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	if own := reflect.PointerTo(t); own.Implements(marshaler) || own.Implements(textMarshaler) {
		return // the type chooses its own form
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		w.visit(t.Elem())
	case reflect.Map:
		w.visit(t.Key())
		w.visit(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			w.field(t, t.Field(i))
		}
	}
}

// field looks at one field. An embedded struct without a tag has none of its own:
// its fields are kept as those of the outer one (encoding/json).
func (w *walk) field(of reflect.Type, f reflect.StructField) {
	tag, tagged := f.Tag.Lookup("json")
	switch {
	case tag == "-", !f.IsExported() && !f.Anonymous:
		return
	case !tagged && !f.Anonymous:
		w.problems = append(w.problems, fmt.Sprintf("%s.%s has no json tag", of, f.Name))
	}
	w.visit(f.Type)
}
