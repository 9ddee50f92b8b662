package gotype

import (
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
)

// shapeOf returns a name for the structure of a type, of hexadecimal digits: its members with their names, tags and
// types, recursively. Members that JSON leaves out count as well. A value that another release stored before its type
// had such a member would be decoded without an error, and without what the resolver sets there.
func shapeOf(t reflect.Type) string {
	h := fnv.New32a()
	describe(h, t, map[reflect.Type]bool{})
	return fmt.Sprintf("%08x", h.Sum32())
}

// describe writes the structure of a type. above are the types that contain it.
func describe(w io.Writer, t reflect.Type, above map[reflect.Type]bool) {
	_, _ = fmt.Fprintf(w, "%v %v;", t, t.Kind()) // a hash does not fail
	if above[t] {
		return
	}
	above[t] = true
	defer delete(above, t)
	switch t.Kind() {
	case reflect.Map:
		describe(w, t.Key(), above)
		describe(w, t.Elem(), above)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		describe(w, t.Elem(), above)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			_, _ = fmt.Fprintf(w, "%s %q ", f.Name, f.Tag.Get("json"))
			describe(w, f.Type, above)
		}
		_, _ = io.WriteString(w, "}")
	}
}

// shape returns the shape of a type, which is computed once.
func (t *Types) shape(typ reflect.Type) string {
	if s, ok := t.shapes.Load(typ); ok {
		return s.(string)
	}
	s, _ := t.shapes.LoadOrStore(typ, shapeOf(typ))
	return s.(string)
}
