package gqlcache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// appendArgs writes (first=10,after=x), in the order of the schema. It leaves out arguments that
// are not given.
func (k *fieldKeys) appendArgs(b []byte, fc *graphql.FieldContext, variables map[string]any) ([]byte, bool) {
	if len(k.field.Arguments) == 0 {
		return b, true
	}
	begin := len(b)
	var raw map[string]any
	next := byte('(')
	for _, a := range k.field.Arguments {
		at := len(b)
		b = append(append(append(b, next), a.Name...), '=')
		v, given := fc.Args[a.Name]
		if given && v != nil {
			simple := a.Type.Elem == nil && standard(k.schema.Types[a.Type.Name()])
			if simple {
				b, given, simple = appendSimple(b, v)
			}
			if simple {
				if !given && a.DefaultValue == nil {
					b = b[:at]
					continue
				}
				if !given {
					b = append(b, "null"...)
				}
				next = ','
				continue
			}
			if raw == nil {
				raw = fc.Field.ArgumentMap(variables)
			}
			if raw[a.Name] == nil && a.DefaultValue == nil {
				b = b[:at]
				continue
			}
			var ok bool
			if b, ok = appendValue(b, k.schema, a.Type, raw[a.Name]); !ok {
				return b, false
			}
			next = ','
			continue
		}
		if a.DefaultValue == nil {
			b = b[:at]
			continue
		}
		b, next = append(b, "null"...), ','
	}
	if next == '(' {
		return b, true
	}
	b = append(b, ')')
	if len(b)-begin > maxArgs {
		sum := sha256.Sum256(b[begin:])
		b = append(hex.AppendEncode(append(b[:begin], "(#"...), sum[:]), ')')
	}
	return b, true
}

// appendSimple writes an argument whose Go value is sufficient. It reports whether the value is
// given and whether it is of that kind.
func appendSimple(b []byte, v any) (_ []byte, given, simple bool) {
	switch v := v.(type) {
	case string:
		return appendText(b, v), true, true
	case int:
		return strconv.AppendInt(b, int64(v), 10), true, true
	case bool:
		return strconv.AppendBool(b, v), true, true
	case *string:
		if v == nil {
			return b, false, true
		}
		return appendText(b, *v), true, true
	case *int:
		if v == nil {
			return b, false, true
		}
		return strconv.AppendInt(b, int64(*v), 10), true, true
	case *bool:
		if v == nil {
			return b, false, true
		}
		return strconv.AppendBool(b, *v), true, true
	}
	return b, true, false
}

// appendValue writes the value of an argument from a variable or a document, with defaults filled
// in. Objects are (a=1,b=2) in the order of their type, lists are [1,2]. Two apostrophes are a
// list's empty text.
func appendValue(b []byte, schema *ast.Schema, typ *ast.Type, v any) ([]byte, bool) {
	if v == nil {
		return append(b, "null"...), true
	}
	if typ.Elem != nil {
		next, ok := byte('['), true
		for _, e := range elements(v) {
			b = append(b, next)
			at := len(b)
			if b, ok = appendValue(b, schema, typ.Elem, e); !ok {
				return b, false
			}
			if len(b) == at {
				b = append(b, "''"...)
			}
			next = ','
		}
		if next == '[' {
			b = append(b, '[')
		}
		return append(b, ']'), true
	}
	def := schema.Types[typ.Name()]
	switch {
	case def == nil:
		return b, false
	case def.Kind == ast.InputObject:
		return appendObject(b, schema, def, v)
	case standard(def):
		return appendScalar(b, v, def.Name == "Float")
	}
	return appendAny(b, v)
}

// elements returns the elements of a list. A single value stands for a list of one; for a
// variable's, gqlparser makes a slice of the value's own type.
func elements(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice {
		return []any{v}
	}
	all := make([]any, list.Len())
	for i := range all {
		all[i] = list.Index(i).Interface()
	}
	return all
}

// standard reports whether a type is an enum or one of GraphQL's own scalars.
func standard(def *ast.Definition) bool {
	if def == nil {
		return false
	}
	switch def.Name {
	case "String", "ID", "Int", "Boolean", "Float":
		return true
	}
	return def.Kind == ast.Enum
}

func appendObject(b []byte, schema *ast.Schema, def *ast.Definition, v any) ([]byte, bool) {
	object, ok := v.(map[string]any)
	if !ok {
		return b, false
	}
	next := byte('(')
	for _, f := range def.Fields {
		e, given := object[f.Name]
		if !given {
			if f.DefaultValue == nil {
				continue
			}
			var err error
			if e, err = f.DefaultValue.Value(nil); err != nil {
				return b, false
			}
		}
		b = append(append(append(b, next), f.Name...), '=')
		if b, ok = appendValue(b, schema, f.Type, e); !ok {
			return b, false
		}
		next = ','
	}
	if next == '(' {
		b = append(b, '(')
	}
	return append(b, ')'), true
}

// appendScalar writes a value of one of GraphQL's own scalars, or of an enum.
func appendScalar(b []byte, v any, float bool) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		return appendText(b, v), true
	case bool:
		return strconv.AppendBool(b, v), true
	case json.Number:
		return appendNumber(b, v, float)
	case int:
		return appendNumber(b, json.Number(strconv.Itoa(v)), float)
	case int64:
		return appendNumber(b, json.Number(strconv.FormatInt(v, 10)), float)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64), true
	}
	return b, false
}

func appendNumber(b []byte, v json.Number, float bool) ([]byte, bool) {
	if !float {
		return cache.AppendEscaped(b, string(v)), true
	}
	f, err := v.Float64()
	return strconv.AppendFloat(b, f, 'g', -1, 64), err == nil
}

// appendAny writes a value of a custom scalar, which may be any JSON. Strings begin with an
// apostrophe, which distinguishes them from other values.
func appendAny(b []byte, v any) ([]byte, bool) {
	ok := true
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case string:
		return cache.AppendEscaped(append(b, '\''), v), true
	case map[string]any:
		next := byte('(')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b = append(cache.AppendEscaped(append(b, next), name), '=')
			if b, ok = appendAny(b, v[name]); !ok {
				return b, false
			}
			next = ','
		}
		if next == '(' {
			b = append(b, '(')
		}
		return append(b, ')'), true
	case []any:
		next := byte('[')
		for _, e := range v {
			if b, ok = appendAny(append(b, next), e); !ok {
				return b, false
			}
			next = ','
		}
		if next == '[' {
			b = append(b, '[')
		}
		return append(b, ']'), true
	}
	return appendScalar(b, v, false)
}

// appendText writes a text. A text that reads like null is encoded differently.
func appendText(b []byte, s string) []byte {
	if s == "null" {
		return append(b, "%6Eull"...)
	}
	return cache.AppendEscaped(b, s)
}
