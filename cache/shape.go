package cache

import (
	"encoding"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"sync"
)

// Shaper is a [Source] whose values may change their form from one release to the next.
type Shaper interface {
	// Shape returns a name for the form of a request's value, of letters and digits. Entries of the shared tier with
	// another shape were stored by another release, and are not served.
	Shape(request Request) string
}

func shapeOf(r Request) string {
	if s, ok := r.Source.(Shaper); ok {
		return s.Shape(r)
	}
	return ""
}

// shapes caches the results of ShapeOf.
var shapes sync.Map // of reflect.Type: string

// ShapeOf describes how encoding/json encodes a type: its members with their names and types,
// recursively.
func ShapeOf[V any]() string {
	t := reflect.TypeFor[V]()
	if s, ok := shapes.Load(t); ok {
		return s.(string)
	}
	h := fnv.New32a()
	describe(h, t, map[reflect.Type]bool{})
	s := fmt.Sprintf("%08x", h.Sum32())
	shapes.Store(t, s)
	return s
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// describe writes the structure of a type. above are the types that contain it.
func describe(w io.Writer, t reflect.Type, above map[reflect.Type]bool) {
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // a hash does not fail
	if above[t] || t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
		write("%v;", t)
		return
	}
	above[t] = true
	defer delete(above, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		write("%v %d of ", t.Kind(), arrayLength(t))
		describe(w, t.Elem(), above)
	case reflect.Map:
		write("map of %v ", t.Key())
		describe(w, t.Elem(), above)
	case reflect.Struct:
		write("{")
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("json")
			if tag == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			write("%s %q ", f.Name, tag)
			describe(w, f.Type, above)
		}
		write("}")
	default:
		write("%v;", t.Kind())
	}
}

func arrayLength(t reflect.Type) int {
	if t.Kind() == reflect.Array {
		return t.Len()
	}
	return 0
}
