package policy

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Objects are the object types of a schema, by their names, with what the hints of their fields limit. They
// do not change.
type Objects map[string]*Object

// Object is an object type.
type Object struct {
	Name   string
	own    Limit // of its own hint
	fields map[string]*Field
}

// Field is a field of an object type, with all that the schema says of how long it may be kept, and by whom.
type Field struct {
	Of   *Object
	Hint Hint // the field's own over that of the type that it returns
	// Objects are the types that the objects in a value may be of; nil for a scalar.
	Objects []*Object
	// Abstract: which of them, is known at run time only.
	Abstract bool

	inherit  bool // the parent's age counts
	entities bool // it is the one by which a federated graph's router asks for objects of any type

	root, inner Limit // what the hint limits, at the operation's root and elsewhere
}

// ReadObjects reads the @cacheControl hints of a schema's object types. Its errors are those of [ReadPolicies].
func ReadObjects(schema *ast.Schema) (Objects, error) {
	all, err := readHints(schema)
	if err != nil {
		return nil, err
	}
	objects := Objects{}
	for name, def := range schema.Types {
		if Composite(def) && def.Kind == ast.Object {
			objects[name] = &Object{Name: name, own: all[name].Limit(), fields: map[string]*Field{}}
		}
	}
	for name, o := range objects {
		for _, f := range schema.Types[name].Fields {
			h := all.of(name, f)
			c := &Field{Of: o, Hint: h.Hint, inherit: h.inherit}
			if to := schema.Types[f.Type.Name()]; Composite(to) {
				c.Abstract = to.Kind != ast.Object
				for _, t := range schema.GetPossibleTypes(to) {
					c.Objects = append(c.Objects, objects[t.Name])
				}
				c.entities = schema.Types[name] == schema.Query && f.Name == "_entities" && to.Name == "_Entity"
			}
			c.root, c.inner = c.Limit(true, c.Hint), c.Limit(false, c.Hint)
			o.fields[f.Name] = c
		}
	}
	return objects, nil
}

// Field returns a field by its name; nil if the type has none.
func (o *Object) Field(name string) *Field { return o.fields[name] }

// Limit returns what a hint limits that stands for the field's own. Where it gives no age, an object or what
// is at the operation's root may not be kept, and a scalar may be as long as its parent.
func (f *Field) Limit(root bool, h Hint) Limit {
	l := h.Limit()
	if h.MaxAge == nil && !f.entities && (root || f.Objects != nil && !f.inherit) {
		l.Age = 0
	}
	return l
}

// Static returns what the schema's hints limit, at the operation's root or elsewhere.
func (f *Field) Static(root bool) Limit {
	if root {
		return f.root
	}
	return f.inner
}

// Item returns what it limits that a value is of a type, where the field's type leaves that open. A field that
// asks for entities says nothing of their ages, so that one without a hint may not be kept.
func (f *Field) Item(o *Object) Limit {
	switch {
	case !f.Abstract:
		return Unlimited()
	case f.entities && o.own.Age == unbounded && f.Hint.MaxAge == nil:
		return Limit{0, o.own.Scope}
	}
	return o.own
}

// meta reports whether a field is one of GraphQL's own, which have no policy.
func meta(name string) bool { return strings.HasPrefix(name, "__") }
