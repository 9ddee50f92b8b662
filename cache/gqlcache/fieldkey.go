package gqlcache

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache/internal/gotype"
)

// maxArgs is the largest size of arguments that a key shows; longer arguments are hashed.
const maxArgs = 128

// fieldKeys writes the cache keys of one coordinate: {product:7}:reviews(first=10) for a parent
// with key fields, query:search(text=tea) for a root field. Appended are [authorID=3] if rows are
// selected by this attribute of the parent, #9f86d081 if the value depends on the whole parent, $
// and a digest if it depends on what is selected of it, ;en if it is that of one variant of requests,
// and @42 if it belongs to one viewer. Different requests never have the same key.
type fieldKeys struct {
	schema *ast.Schema
	field  *ast.FieldDefinition
	object string           // the parent's type
	kind   string           // for the parent's type; "" for a root field
	key    []*gotype.Getter // of the parent's key fields
	names  []string         // of key
	keyOf  func(typeName string) []string
	// also are the attributes of the parent that select rows: the value was read with the attribute's value at that
	// time, which may differ from the parent's value now.
	also []alsoKey
	// content says that the value depends on the whole parent. A digest of the parent is then part of the key: a value
	// that was computed from an old parent must not be used for a new one.
	content bool
	// several says that the type has several @keys. An entity that was asked for by another one than
	// the first may lack the first.
	several bool
}

type alsoKey struct {
	name   string
	getter *gotype.Getter
}

func newFieldKeys(schema *ast.Schema, def *ast.Definition, f *ast.FieldDefinition, keyOf func(typeName string) []string) *fieldKeys {
	k := &fieldKeys{schema: schema, object: def.Name, field: f, keyOf: keyOf}
	if def == schema.Query {
		return k
	}
	k.kind = kindOf(schema, def.Name)
	k.names = keyOf(def.Name)
	k.several = len(def.Directives.ForNames("key")) > 1
	for _, name := range k.names {
		k.key = append(k.key, gotype.NewFieldGetter(def, name))
	}
	return k
}

// kindOf returns the name of a type in keys: its name in lower camel case, unless another type has
// that name.
func kindOf(schema *ast.Schema, name string) string {
	first, size := utf8.DecodeRuneInString(name)
	kind := string(unicode.ToLower(first)) + name[size:]
	if kind != name && schema.Types[kind] != nil || kind == "query" {
		return name
	}
	return kind
}

// append writes the key of a field of a parent. It reports whether there is one: a parent without
// an identity and an argument without a canonical form have none.
func (k *fieldKeys) append(b []byte, parent any, fc *graphql.FieldContext, variables map[string]any) ([]byte, bool) {
	switch {
	case k.kind == "":
		b = append(b, "query:"...)
	case len(k.key) == 0:
		return k.appendPath(b, parent, fc, variables)
	default:
		b = append(b, '{')
		var ok bool
		if b, ok = k.appendParent(b, parent); !ok {
			return b, false
		}
		if k.several && k.lacksKey(parent) && !k.named(parent) {
			return b, false
		}
		b = append(b, "}:"...)
	}
	b = k.appendName(b)
	b, ok := k.appendArgs(b, fc, variables)
	for i, a := range k.also {
		text, known := a.getter.Text(parent)
		if !known {
			return b, false
		}
		b = append(append(append(b, "[,"[min(i, 1)]), a.name...), '=')
		if text == cache.Null {
			b = append(b, "null"...)
		} else {
			b = appendText(b, text)
		}
	}
	if len(k.also) > 0 {
		b = append(b, ']')
	}
	if ok && k.content {
		var digest string
		if digest, ok = gotype.Digest(parent); ok {
			b = append(append(b, '#'), digest...)
		}
	}
	return b, ok
}

// appendPath writes the key of a field of a parent without an identity: its path below the nearest
// object that has one, and a digest of its type and content. The path is for the reader of the key;
// the digest identifies the parent, as another value may take its place.
func (k *fieldKeys) appendPath(b []byte, parent any, fc *graphql.FieldContext, variables map[string]any) ([]byte, bool) {
	digest, ok := gotype.Digest(typed{k.object, parent})
	if !ok {
		return b, false
	}
	if b, ok = k.appendAbove(b, fc, variables); !ok {
		return b, false
	}
	b = k.appendName(b)
	if b, ok = k.appendArgs(b, fc, variables); !ok {
		return b, false
	}
	return append(append(b, '#'), digest...), true
}

// typed is a parent and its type in the schema.
type typed struct {
	object string
	parent any
}

// appendName writes the field's name, but escapes g, the name of fences.
func (k *fieldKeys) appendName(b []byte) []byte {
	if k.field.Name == "g" {
		return append(b, "%67"...)
	}
	return append(b, k.field.Name...)
}

// appendAbove writes the path above a field: {product:7}:variants.0.
func (k *fieldKeys) appendAbove(b []byte, fc *graphql.FieldContext, variables map[string]any) ([]byte, bool) {
	above := above(fc)
	if above == nil {
		return append(b, "query:"...), true
	}
	def := k.schema.Types[above.Object]
	f := def.Fields.ForName(above.Field.Name)
	if f == nil {
		return b, false
	}
	a := newFieldKeys(k.schema, def, f, k.keyOf)
	ok := false
	if len(a.key) > 0 && above.Parent != nil {
		if b, ok = a.appendParent(append(b, '{'), above.Parent.Result); ok {
			b = append(b, "}:"...)
		}
	} else {
		b, ok = k.appendAbove(b, above, variables)
	}
	if !ok {
		return b, false
	}
	if b, ok = a.appendArgs(append(b, f.Name...), above, variables); !ok {
		return b, false
	}
	b = append(b, '.')
	begin := len(b)
	for p := fc.Parent; p != nil && p != above; p = p.Parent {
		if p.Index != nil { // the innermost list first
			b = slices.Insert(b, begin, append(strconv.AppendInt(nil, int64(*p.Index), 10), '.')...)
		}
	}
	return b, true
}

// lacksKey reports whether a key field of the parent is, or may be, not set.
func (k *fieldKeys) lacksKey(parent any) bool {
	return slices.ContainsFunc(k.key, func(g *gotype.Getter) bool { return notSet(g.Text(parent)) })
}

// named reports whether the attributes that select rows tell the parent apart from others: there are
// some, and all of them are set.
func (k *fieldKeys) named(parent any) bool {
	return len(k.also) > 0 && !slices.ContainsFunc(k.also, func(a alsoKey) bool { return notSet(a.getter.Text(parent)) })
}

// notSet reports whether the text of an attribute is unknown, null, or that of a zero value: an empty
// text, 0, or a UUID of zeros.
func notSet(text string, known bool) bool {
	return !known || text == cache.Null || strings.Trim(text, "0-") == ""
}

// appendParent writes product:7, or membership:org=1,user=2.
func (k *fieldKeys) appendParent(b []byte, parent any) ([]byte, bool) {
	b = append(append(b, k.kind...), ':')
	for i, g := range k.key {
		text, ok := g.Text(parent)
		if !ok || text == cache.Null {
			return b, false
		}
		if len(k.key) > 1 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, k.names[i]...), '=')
		}
		b = cache.AppendEscaped(b, text)
	}
	return b, len(k.key) > 0
}
