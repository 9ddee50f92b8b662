package gqlcache

import (
	"reflect"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/cache/policy"
)

const (
	// maxHeld is how many objects of a type in a value are named one by one. With more, the value depends on every row
	// of their table.
	maxHeld = 1000
	// maxValueDepth limits the depth of a value; a deeper one is a cycle.
	maxValueDepth = 64
)

// appendTags adds the tags that are known before a field is resolved. It reports whether all of
// them could be determined.
func (c *cachedField) appendTags(tags []cache.Tag, parent any, args map[string]any, viewer string) ([]cache.Tag, bool) {
	from := func(r reference, text func(*gotype.Getter, any) (string, bool)) (string, bool) {
		switch r.origin {
		case policy.Args:
			return text(r.getter, args)
		case policy.Viewer:
			return viewer, true
		}
		value, known := text(r.getter, parent)
		if c.keys.several && r.origin == policy.Key && notSet(value, known) {
			return "", false // no row has such a key
		}
		return value, known
	}
	column := func(r reference) (string, bool) { return from(r, (*gotype.Getter).Column) }
	name := func(r reference) (string, bool) { return from(r, (*gotype.Getter).Text) }
	ok := true
	tags = append(tags, c.tag)
	for _, m := range c.rows {
		if tags, ok = m.append(tags, column); !ok {
			return tags, false
		}
	}
	for _, t := range c.tags {
		tag, ok := t.tag(name)
		if !ok {
			return tags, false
		}
		tags = append(tags, tag)
	}
	return tags, true
}

// append adds the tags of rows.
func (m boundRows) append(tags []cache.Tag, from func(reference) (string, bool)) ([]cache.Tag, bool) {
	values := make([]string, len(m.values))
	fewer := false
	for i, r := range m.values {
		var ok bool
		if values[i], ok = from(r); !ok {
			return tags, false
		}
		fewer = fewer || values[i] == cache.Null && m.fewer != nil && m.optional[i]
	}
	if !fewer {
		return m.tag.Append(tags, values...)
	}
	left := values[:0]
	for i, v := range values {
		if !m.optional[i] {
			left = append(left, v)
		}
	}
	return m.fewer.Append(tags, left...)
}

// tag returns the tag of a format.
func (t compiledText) tag(from func(reference) (string, bool)) (cache.Tag, bool) {
	name := []byte(t.texts[0])
	for i, r := range t.refs {
		text, ok := from(r)
		if !ok {
			return "", false
		}
		if text == cache.Null {
			name = append(name, "null"...)
		} else {
			name = appendText(name, text)
		}
		name = append(name, t.texts[i+1]...)
	}
	return cache.Named(string(name)), true
}

// appendHeld adds the tags of the objects in a value. It reports whether all of them could be
// determined.
func (c *cachedField) appendHeld(tags []cache.Tag, v reflect.Value) ([]cache.Tag, bool) {
	if len(c.objects) == 0 {
		return tags, true
	}
	h := holder{c: c, tags: tags, named: true, count: map[string]int{}}
	h.look(v, c.def.Type.Name(), 0)
	return h.tags, h.named
}

// holder collects the tags of the objects in a value.
type holder struct {
	c     *cachedField
	tags  []cache.Tag
	named bool
	count map[string]int // of objects, by type
}

// look visits a value of a type of the schema.
func (h *holder) look(v reflect.Value, typeName string, depth int) {
	if depth > maxValueDepth {
		h.named = false
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			h.look(v.Elem(), typeName, depth+1)
		}
		return
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			h.look(v.Index(i), typeName, depth+1)
		}
		return
	case reflect.Invalid:
		return
	}
	name := h.c.objectName(v.Type(), typeName)
	if name == "" {
		h.named = false
		return
	}
	h.object(v, name)
	for _, p := range h.c.inside[name] {
		if inner, ok := p.getter.Part(v); ok {
			h.look(inner, p.typeName, depth+1)
		}
	}
}

// object adds the tags of one object.
func (h *holder) object(v reflect.Value, name string) {
	held, ok := h.c.objects[name]
	if !ok {
		return
	}
	h.count[name]++
	switch n := h.count[name]; {
	case n == maxHeld+1:
		for _, w := range held.whole {
			h.tags, _ = w.Append(h.tags) // there is nothing to match
		}
		return
	case n > maxHeld:
		return
	}
	if v.CanAddr() {
		v = v.Addr()
	}
	value := v.Interface()
	column := func(r reference) (string, bool) { return r.getter.Column(value) }
	text := func(r reference) (string, bool) { return r.getter.Text(value) }
	for _, m := range held.dependsOn {
		var ok bool
		if h.tags, ok = m.append(h.tags, column); !ok {
			h.named = false
		}
	}
	for _, t := range held.tags {
		tag, ok := t.tag(text)
		if !ok {
			h.named = false
		}
		h.tags = append(h.tags, tag)
	}
}
