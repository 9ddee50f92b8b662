package policy

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Objects are the object types of a schema, by name, with the limits of their fields' hints. They are immutable.
type Objects map[string]*Object

// Object is an object type.
type Object struct {
	Name   string
	own    Limit // of its own hint
	fields map[string]*Field
}

// Field is a field of an object type, with what the schema says about how long it may be cached, and for whom.
type Field struct {
	Of   *Object
	Hint Hint // the field's own hint over that of the type that it returns
	// Objects are the possible types of the objects in a value; nil for a scalar.
	Objects []*Object
	// Abstract says that the type of an object is known at run time only.
	Abstract bool

	inherit  bool // the parent's age counts
	entities bool // it is the field by which the router of a federated graph requests objects of any type

	root, inner Limit // the limits of the hint, at the operation's root and elsewhere
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

// Field returns a field by its name, or nil if the type does not have it.
func (o *Object) Field(name string) *Field { return o.fields[name] }

// Limit returns the limits of h, which replaces the field's own hint. If h has no age, an object, or a field at the
// operation's root, may not be cached, and a scalar may be cached as long as its parent.
func (f *Field) Limit(root bool, h Hint) Limit {
	l := h.Limit()
	if h.MaxAge == nil && !f.entities && (root || f.Objects != nil && !f.inherit) {
		l.Age = 0
	}
	return l
}

// Static returns the limits of the schema's hints, at the operation's root or elsewhere.
func (f *Field) Static(root bool) Limit {
	if root {
		return f.root
	}
	return f.inner
}

// Item returns the additional limits of a value whose type is o, if the field's type is abstract. The field that
// returns entities sets no age for them, so that an entity without a hint may not be cached.
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
