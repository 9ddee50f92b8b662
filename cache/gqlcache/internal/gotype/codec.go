package gotype

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// Codec encodes the values of one field as JSON and decodes them with the Go type that they had. It
// is safe for concurrent use.
type Codec struct {
	types *Types
	typ   reflect.Type
	shape string
	// abstract says that the innermost type is a Go interface; possible are the object types of its values.
	abstract bool
	possible []string
	learned  sync.Map // of reflect.Type by the name of an object type
}

// NewCodec returns the Codec of a field whose values have a Go type.
func (t *Types) NewCodec(f *ast.FieldDefinition, typ reflect.Type) *Codec {
	c := &Codec{types: t, typ: typ, shape: cache.ShapeOfType(typ)}
	inner := typ
	for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	named := t.schema.Types[f.Type.Name()]
	if inner.Kind() == reflect.Interface && named != nil && named.IsAbstractType() {
		c.abstract = true
		for _, p := range t.schema.GetPossibleTypes(named) {
			c.possible = append(c.possible, p.Name)
		}
	}
	return c
}

// Shape returns the [cache.ShapeOfType] of the Go type. Values behind an interface carry the shapes of their own types.
func (c *Codec) Shape() string { return c.shape }

// Box is a value of a field as the engine stores it. A nil list in a Box is a value, and not an
// absent row. A Box must not be changed.
type Box struct {
	Value any
	codec *Codec
}

// Box puts a value of the field's Go type into a box.
func (c *Codec) Box(v any) *Box { return &Box{v, c} }

// options read and write what encoding/json does, but reject what it accepts silently: invalid
// UTF-8, names in another case and duplicates.
var options = json.JoinOptions(json.FormatNilSliceAsNull(true), json.FormatNilMapAsNull(true), json.Deterministic(true))

// MarshalJSON implements [encoding/json.Marshaler].
func (b *Box) MarshalJSON() ([]byte, error) {
	value := b.Value
	if b.codec.abstract {
		var err error
		if value, err = b.codec.tag(reflect.ValueOf(value)); err != nil {
			return nil, err
		}
	}
	return json.Marshal(struct {
		V any `json:"v"`
	}{value}, options)
}

// tagged is a value behind an interface.
type tagged struct {
	Type     string `json:"t"`
	Pointers int    `json:"p,omitzero"`
	Shape    string `json:"s"`
	Value    any    `json:"v"`
}

// tag puts the name of its type next to each value behind an interface.
func (c *Codec) tag(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Invalid:
		return nil, nil
	case reflect.Slice:
		if v.IsNil() {
			return nil, nil
		}
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = c.tag(v.Index(i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Interface:
		return c.tag(v.Elem())
	}
	typ, pointers := v.Type(), 0
	for ; typ.Kind() == reflect.Pointer; typ = typ.Elem() {
		pointers++
	}
	name := c.nameOf(typ)
	if name == "" {
		return nil, fmt.Errorf("the object type of a %v is unknown", typ)
	}
	return tagged{name, pointers, cache.ShapeOfType(typ), v.Interface()}, nil
}

// nameOf returns the object type of a Go type. A type that no resolver names is identified by its
// own name, once a value of it was seen.
func (c *Codec) nameOf(typ reflect.Type) string {
	if name := c.types.Name(typ); name != "" {
		return name
	}
	for _, name := range c.possible {
		if fold(name) == fold(typ.Name()) && c.types.Object(name) == nil {
			if known, _ := c.learned.LoadOrStore(name, typ); known == typ {
				return name
			}
		}
	}
	return ""
}

func (c *Codec) typeOf(name string) reflect.Type {
	if t := c.types.Object(name); t != nil {
		return t
	}
	t, _ := c.learned.Load(name)
	typ, _ := t.(reflect.Type)
	return typ
}

// Decode decodes the output of [Box.MarshalJSON]. Anything else is an error.
func (c *Codec) Decode(data []byte) (*Box, error) {
	var raw struct {
		V jsontext.Value `json:"v"`
	}
	if err := json.Unmarshal(data, &raw, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if raw.V == nil {
		return nil, errors.New("gotype: the value is missing")
	}
	v := reflect.New(c.typ).Elem()
	if err := c.read(raw.V, v); err != nil {
		return nil, err
	}
	return &Box{v.Interface(), c}, nil
}

var readOptions = json.JoinOptions(json.RejectUnknownMembers(true))

func (c *Codec) read(data jsontext.Value, into reflect.Value) error {
	if !c.abstract {
		return json.Unmarshal(data, into.Addr().Interface(), readOptions)
	}
	if string(data) == "null" {
		return nil
	}
	if into.Kind() == reflect.Slice {
		var raw []jsontext.Value
		if err := json.Unmarshal(data, &raw); err != nil {
			return err
		}
		into.Set(reflect.MakeSlice(into.Type(), len(raw), len(raw)))
		for i, r := range raw {
			if err := c.read(r, into.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	var raw struct {
		Type     string         `json:"t"`
		Pointers int            `json:"p"`
		Shape    string         `json:"s"`
		Value    jsontext.Value `json:"v"`
	}
	if err := json.Unmarshal(data, &raw, readOptions); err != nil {
		return err
	}
	typ := c.typeOf(raw.Type)
	if typ == nil {
		return fmt.Errorf("gotype: the Go type of %q is not known", raw.Type)
	}
	if raw.Shape != cache.ShapeOfType(typ) {
		return fmt.Errorf("gotype: %q has another shape in this release", raw.Type)
	}
	for range raw.Pointers {
		typ = reflect.PointerTo(typ)
	}
	if !typ.AssignableTo(into.Type()) {
		return fmt.Errorf("gotype: a %v is not a %v", typ, into.Type())
	}
	v := reflect.New(typ)
	if err := json.Unmarshal(raw.Value, v.Interface(), readOptions); err != nil {
		return err
	}
	into.Set(v.Elem())
	return nil
}

// Survives returns an error if decoding the JSON of a value does not give an equal value.
func (c *Codec) Survives(b *Box) error {
	if !c.abstract && plain(c.typ) {
		return nil
	}
	data, err := b.MarshalJSON()
	if err != nil {
		return err
	}
	back, err := c.Decode(data)
	if err != nil {
		return err
	}
	return same(reflect.ValueOf(b.Value), reflect.ValueOf(back.Value), "its value")
}

// plain reports whether every value of a type survives.
func plain(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return typ.PkgPath() == "" // a named type may have methods that write it
	}
	return false
}

var timeType = reflect.TypeFor[time.Time]()

// same returns where two values differ, or nil if they are equal. It is stricter than a client
// could notice, except that it compares times by instant and offset, not by the name of the zone.
func same(a, b reflect.Value, at string) error {
	differ := func() error { return fmt.Errorf("%s does not survive JSON", at) }
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return differ()
	}
	if !a.IsValid() {
		return nil
	}
	if a.Type() == timeType && a.CanInterface() {
		x, y := a.Interface().(time.Time), b.Interface().(time.Time)
		if !x.Equal(y) || x.Format(time.RFC3339Nano) != y.Format(time.RFC3339Nano) {
			return differ()
		}
		return nil
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return differ()
			}
			return nil
		}
		return same(a.Elem(), b.Elem(), at)
	case reflect.Slice, reflect.Array:
		if a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return differ()
		}
		for i := range a.Len() {
			if err := same(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Struct:
		for i := range a.NumField() {
			if err := same(a.Field(i), b.Field(i), at+"."+a.Type().Field(i).Name); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return differ()
		}
		for k, v := range a.Seq2() {
			if err := same(v, b.MapIndex(k), fmt.Sprintf("%s[%v]", at, k)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		if a.IsZero() && b.IsZero() {
			return nil
		}
		return differ()
	}
	if !a.Equal(b) {
		return differ()
	}
	return nil
}
