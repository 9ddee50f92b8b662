package cache

import (
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

// shapes caches the results of ShapeOfType.
var shapes sync.Map // of reflect.Type: string

// ShapeOf is [ShapeOfType] for V.
func ShapeOf[V any]() string { return ShapeOfType(reflect.TypeFor[V]()) }

// ShapeOfType returns a name for the structure of a type, of hexadecimal digits: its members with their
// names, tags and types, recursively. Members that JSON leaves out count as well: a value that another
// release stored before its type had such a member would be decoded without an error, and without what
// belongs there. The types of values behind interfaces do not count.
func ShapeOfType(t reflect.Type) string {
	if s, ok := shapes.Load(t); ok {
		return s.(string)
	}
	h := fnv.New32a()
	describe(h, t, map[reflect.Type]int{})
	s := fmt.Sprintf("%08x", h.Sum32())
	shapes.Store(t, s)
	return s
}

// describe writes the structure of a type. before numbers the types that were described: each is described
// once, since models that refer to each other have more paths through them than can be walked.
func describe(w io.Writer, t reflect.Type, before map[reflect.Type]int) {
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // a hash does not fail
	if n, ok := before[t]; ok {
		write("#%d;", n)
		return
	}
	before[t] = len(before)
	write("%v %v ", t.Kind(), t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		describe(w, t.Elem(), before)
	case reflect.Map:
		describe(w, t.Key(), before)
		describe(w, t.Elem(), before)
	case reflect.Struct:
		write("{")
		for i := range t.NumField() {
			f := t.Field(i)
			write("%s %q ", f.Name, f.Tag.Get("json"))
			describe(w, f.Type, before)
		}
		write("}")
	}
}
