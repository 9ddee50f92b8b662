package gqlcache

import (
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// object is an object type, with what its own hint limits.
type object struct {
	name   string
	own    bound
	fields map[string]*coordinate // by their names
}

// coordinate is a field of an object type, with all that the schema says of it.
type coordinate struct {
	of   *object
	hint hint
	// below are the object types that a value may be of; nil for a scalar.
	below []*object
	// abstract: which of them, is known at run time only.
	abstract bool
	// entities: the field is the one by which a federated graph's router asks for objects of any type.
	entities bool

	root, inner bound // what the hints limit, at the operation's root and elsewhere
}

// readObjects reads the object types of a schema, by name.
func readObjects(schema *ast.Schema, all hints) map[string]*object {
	objects := map[string]*object{}
	for name, def := range schema.Types {
		if composite(def) && def.Kind == ast.Object {
			objects[name] = &object{name: name, own: boundOf(all[name].Hint), fields: map[string]*coordinate{}}
		}
	}
	for name, o := range objects {
		for _, f := range schema.Types[name].Fields {
			c := &coordinate{of: o, hint: all.of(name, f)}
			if to := schema.Types[f.Type.Name()]; composite(to) {
				c.abstract = to.Kind != ast.Object
				for _, t := range schema.GetPossibleTypes(to) {
					c.below = append(c.below, objects[t.Name])
				}
				c.entities = schema.Types[name] == schema.Query && f.Name == "_entities" && to.Name == "_Entity"
			}
			c.root, c.inner = c.bound(true, c.hint.Hint), c.bound(false, c.hint.Hint)
			o.fields[f.Name] = c
		}
	}
	return objects
}

// bound is what a hint limits that stands for the field's own. Where it gives no age, an object or what is
// at the operation's root may not be kept, and a scalar may be as long as its parent.
func (c *coordinate) bound(root bool, h Hint) bound {
	b := boundOf(h)
	if h.MaxAge == nil && !c.entities && (root || c.below != nil && !c.hint.inherit) {
		b.age = 0
	}
	return b
}

// static is what the schema's hints limit.
func (c *coordinate) static(root bool) bound {
	if root {
		return c.root
	}
	return c.inner
}

// item is what it limits that a value is of a type, where the field's type leaves that open. A field that
// asks for entities says nothing of their ages, so that one without a hint may not be kept.
func (c *coordinate) item(o *object) bound {
	switch {
	case !c.abstract:
		return nothing
	case c.entities && o.own.age == unbounded && c.hint.MaxAge == nil:
		return bound{0, o.own.scope}
	}
	return o.own
}

// meta reports whether a field is one of GraphQL's own, which have no policy.
func meta(name string) bool { return strings.HasPrefix(name, "__") }

// above is the field that a field's object is of; nil at the operation's root.
func above(fc *graphql.FieldContext) *graphql.FieldContext {
	for p := fc.Parent; p != nil; p = p.Parent {
		if p.Field.Field != nil { // else it is an item of a list, or the root
			return p
		}
	}
	return nil
}
