package gotype

import (
	"database/sql/driver"
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// Getter reads a scalar inside a Go value by its names in the schema. It is safe for concurrent
// use.
type Getter struct{ steps []*step }

// step reads a field or method of a struct, or an element of a map, by its folded name.
type step struct {
	name   string
	goName string   // what @goField calls a struct's field or method, folded; "" if the schema's name is its name
	at     sync.Map // of access by reflect.Type
}

// access is how values of a type are read; the zero access finds nothing.
type access struct {
	index  []int
	method int // 1 + its index in the method set of a pointer to the type
}

// NewGetter returns the Getter of a path of names; without names it reads the value itself.
func NewGetter(path ...string) *Getter {
	g := &Getter{}
	for _, name := range path {
		g.steps = append(g.steps, &step{name: fold(name)})
	}
	return g
}

// NewFieldGetter returns the Getter of a path in the values of an object type: @goField may give the
// first name another one in Go.
func NewFieldGetter(def *ast.Definition, path ...string) *Getter {
	g := NewGetter(path...)
	if def == nil || len(path) == 0 {
		return g
	}
	if f := def.Fields.ForName(path[0]); f != nil && GoName(f) != f.Name {
		g.steps[0].goName = fold(GoName(f))
	}
	return g
}

// Text returns the text of the scalar in a value, or [cache.Null] if the scalar or a value on the path to it is nil. It
// reports whether there is such a scalar.
func (g *Getter) Text(value any) (string, bool) { return g.scalar(value, true) }

// Column is [Getter.Text] for a comparison with a column: a time keeps its zone.
func (g *Getter) Column(value any) (string, bool) { return g.scalar(value, false) }

func (g *Getter) scalar(value any, utc bool) (string, bool) {
	v := reflect.ValueOf(value)
	for _, s := range g.steps {
		var ok bool
		if v, ok = present(v); !ok {
			return cache.Null, value != nil
		}
		if v, ok = s.read(v); !ok {
			return "", false
		}
	}
	return text(v, utc)
}

// Part returns the value of a struct's field or a map's element, but not of a method. It reports whether there is such
// a part.
func (g *Getter) Part(v reflect.Value) (reflect.Value, bool) {
	for _, s := range g.steps {
		var ok bool
		if v, ok = present(v); !ok {
			return v, false
		}
		if v.Kind() != reflect.Map && s.access(v.Type()).index == nil {
			return v, false
		}
		if v, ok = s.read(v); !ok {
			return v, false
		}
	}
	return v, true
}

// present returns what pointers, interfaces and graphql.Omittable contain. It reports whether they
// contain anything.
func present(v reflect.Value) (reflect.Value, bool) {
	for v.IsValid() {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
			continue
		case reflect.Struct:
			if o, ok := omittable(v); ok {
				v = o
				continue
			}
		}
		return v, true
	}
	return v, false
}

// omittable returns the value in a graphql.Omittable; it is invalid if the value was left out.
func omittable(v reflect.Value) (reflect.Value, bool) {
	if v.Type().PkgPath() != "github.com/99designs/gqlgen/graphql" || !v.CanInterface() {
		return v, false
	}
	m := v.MethodByName("ValueOK")
	if !m.IsValid() {
		return v, false
	}
	out := m.Call(nil)
	if !out[1].Bool() {
		return reflect.Value{}, true
	}
	return out[0], true
}

func (s *step) read(v reflect.Value) (reflect.Value, bool) {
	if v.Kind() == reflect.Map {
		for k, e := range v.Seq2() {
			if k.Kind() == reflect.String && fold(k.String()) == s.name {
				return e, true
			}
		}
		return v, false
	}
	typ := v.Type()
	switch a := s.access(typ); {
	case a.index != nil:
		f, err := v.FieldByIndexErr(a.index)
		return f, err == nil
	case a.method > 0:
		if !v.CanAddr() {
			p := reflect.New(typ)
			p.Elem().Set(v)
			v = p.Elem()
		}
		return v.Addr().Method(a.method - 1).Call(nil)[0], true
	}
	return v, false
}

func (s *step) access(typ reflect.Type) access {
	found, ok := s.at.Load(typ)
	if !ok {
		found, _ = s.at.LoadOrStore(typ, s.find(typ))
	}
	return found.(access)
}

func (s *step) find(typ reflect.Type) access {
	if s.goName != "" {
		if a := find(typ, s.goName); a.index != nil || a.method > 0 {
			return a
		}
	}
	return find(typ, s.name)
}

func find(typ reflect.Type, name string) access {
	if typ.Kind() == reflect.Struct {
		if f, ok := typ.FieldByNameFunc(func(n string) bool { return fold(n) == name }); ok && f.IsExported() {
			if taggedOther(typ, f, name) {
				return access{}
			}
			return access{index: f.Index}
		}
	}
	p := reflect.PointerTo(typ)
	for i := range p.NumMethod() {
		m := p.Method(i)
		if fold(m.Name) == name && m.Type.NumIn() == 1 && m.Type.NumOut() == 1 {
			return access{method: 1 + i}
		}
	}
	return access{}
}

// tags matches the tags of a struct's field, each with its name up to a comma.
var tags = regexp.MustCompile(`([^\s:"]+):"([^",]*)`)

// taggedOther reports whether a tag gives the name of a struct's field to another one. It is not
// known then which of the two gqlgen takes: struct_tag in gqlgen.yml says so.
func taggedOther(typ reflect.Type, named reflect.StructField, name string) bool {
	for _, f := range reflect.VisibleFields(typ) {
		if !f.IsExported() || slices.Equal(f.Index, named.Index) {
			continue
		}
		for _, tag := range tags.FindAllStringSubmatch(string(f.Tag), -1) {
			if fold(tag[2]) != name {
				continue
			}
			own, _, _ := strings.Cut(named.Tag.Get(tag[1]), ",")
			if fold(own) != name {
				return true
			}
		}
	}
	return false
}

// text returns the text of a scalar as the database writes it. With utc, a time is converted to UTC.
func text(v reflect.Value, utc bool) (string, bool) {
	v, ok := present(v)
	if !ok {
		return cache.Null, true
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case time.Time:
			if utc {
				x = x.UTC()
			}
			return x.Format(time.RFC3339Nano), true
		case driver.Valuer: // sql.NullString, uuid.UUID and their like
			value, err := x.Value()
			if err != nil {
				return "", false
			}
			if _, again := value.(driver.Valuer); !again {
				return text(reflect.ValueOf(value), utc)
			}
		}
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10), true
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64), true // as drivers convert a float32
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case encoding.TextMarshaler:
			b, err := x.MarshalText()
			return string(b), err == nil
		case fmt.Stringer:
			return x.String(), true
		}
	}
	return "", false
}
