// Package journaltest has what tests share of packages that store values in a journal or
// another file of the state directory.
package journaltest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// CheckTags fails if an exported field of the values' types, or of types in them, has no
// json tag. Without a tag, renaming the field in the code would lose the values that an
// older version wrote under its old name.
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
		return // the type encodes itself
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

// field checks one field. An embedded struct needs no tag: its fields are encoded as fields
// of the outer struct (encoding/json).
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
