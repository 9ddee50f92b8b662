package gqlcache

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// planDependencies determines what the field's values depend on: the rows that it declares, or those of its
// parent and all rows of the type that it returns; and the objects in a value.
func (p *FieldPlan) planDependencies(fl *plannedField, def *ast.Definition, f *ast.FieldDefinition, own policy.Truth) {
	fl.held, fl.inside = map[string]heldBy{}, map[string][]part{}
	named := p.schema.Types[f.Type.Name()]
	types := p.reachable(named)
	for _, t := range types {
		if h, ok := p.heldBy(t); ok {
			fl.held[t.Name] = h
		}
	}
	for _, t := range types {
		for _, inner := range t.Fields {
			to := p.schema.Types[inner.Type.Name()]
			if policy.Composite(to) && p.types.Resolver(t.Name+"."+inner.Name) == nil &&
				slices.ContainsFunc(p.reachable(to), func(t *ast.Definition) bool { _, ok := fl.held[t.Name]; return ok }) {
				fl.inside[t.Name] = append(fl.inside[t.Name], part{gotype.NewGetter(gotype.GoName(inner)), to.Name})
			}
		}
	}
	for _, t := range own.Tags {
		fl.tags = append(fl.tags, p.compileText(def, t))
	}
	fl.tags = append(fl.tags, p.names(def)...)
	fl.follows = len(own.Rows) > 0
	fl.alsoKeys(own, p.truths.Key(def.Name))
	// What a field @requires of its parent is in the request of a federation's router, and in no row.
	fl.keys.content = (!fl.follows && len(own.Tags) == 0 || f.Directives.ForName("requires") != nil) && len(fl.keys.key) > 0
	for _, r := range own.Rows {
		fl.dependsOn = append(fl.dependsOn, p.compileRows(fl.coordinate, r, nil))
	}
	if fl.follows {
		return
	}
	parent := p.truths.Type(def.Name)
	for _, r := range parent.Rows {
		fl.dependsOn = append(fl.dependsOn, p.compileRows(def.Name, r, p.truths.Key(def.Name)))
	}
	if policy.Composite(named) && len(own.Tags) == 0 {
		for _, t := range p.schema.GetPossibleTypes(named) {
			for _, r := range p.truths.Type(t.Name).Rows {
				fl.dependsOn = append(fl.dependsOn, p.compileRows(fl.coordinate, policy.Rows{Table: r.Table, Columns: r.Columns}, nil))
			}
		}
	}
}

// numbersForNames refuses enums that are numbers in Go and are compared with a text column: the
// database then holds their names, or another text that a resolver derives from the number, and no
// row would match.
func (p *FieldPlan) numbersForNames(tables map[string]outbox.TableInfo) (faults []error) {
	for object, fields := range p.fields {
		for _, fl := range fields {
			for _, rows := range p.truths.Field(fl.coordinate).Rows {
				for _, term := range rows.Match {
					ref := term.Value
					if len(ref.Path) != 1 || tables[rows.Table].Columns[term.Column] != outbox.Text {
						continue
					}
					var of *ast.Type
					var typ reflect.Type
					switch name := ref.Path[0]; ref.Origin {
					case policy.Args:
						if a := fl.def.Arguments.ForName(name); a != nil {
							of, typ = a.Type, fl.resolver.Arg(name)
						}
					case policy.Parent:
						if f := p.schema.Types[object].Fields.ForName(name); f != nil {
							of, typ = f.Type, p.types.Field(object, name)
						}
					}
					if of != nil && p.schema.Types[of.Name()].Kind == ast.Enum && gotype.Number(typ) {
						faults = append(faults, fmt.Errorf("%s: %v is a number in Go, a %v, and the column %s.%s holds text: give the type a method Value, as database/sql/driver.Valuer has it, that returns what the column holds",
							fl.coordinate, ref, typ, rows.Table, term.Column))
					}
				}
			}
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}

// alsoKeys adds to the key the parent's attributes that select the field's own rows and tags.
func (fl *plannedField) alsoKeys(own policy.Truth, key []string) {
	add := func(r policy.Ref) {
		name := strings.Join(r.Path, ".")
		if r.Origin != policy.Parent || len(fl.keys.key) == 0 || slices.Contains(key, name) ||
			slices.ContainsFunc(fl.keys.also, func(a alsoKey) bool { return a.name == name }) {
			return
		}
		fl.keys.also = append(fl.keys.also, alsoKey{name, gotype.NewFieldGetter(fl.plan.schema.Types[fl.object], r.Path...)})
	}
	for _, r := range own.Rows {
		for _, t := range r.Match {
			add(t.Value)
		}
	}
	for _, t := range own.Tags {
		for _, r := range t.Refs {
			add(r)
		}
	}
}

// reachable returns the object types that a value may contain, without a resolver in between.
func (p *FieldPlan) reachable(named *ast.Definition) []*ast.Definition {
	var found []*ast.Definition
	var visit func(*ast.Definition)
	visit = func(def *ast.Definition) {
		if !policy.Composite(def) {
			return
		}
		for _, t := range p.schema.GetPossibleTypes(def) {
			if slices.Contains(found, t) {
				continue
			}
			found = append(found, t)
			for _, f := range t.Fields {
				if p.types.Resolver(t.Name+"."+f.Name) == nil && !strings.HasPrefix(f.Name, "__") {
					visit(p.schema.Types[f.Type.Name()])
				}
			}
		}
	}
	visit(named)
	return found
}

// heldBy returns what an object type declares about its objects. It reports whether it declares
// anything.
func (p *FieldPlan) heldBy(def *ast.Definition) (h heldBy, ok bool) {
	truth := p.truths.Type(def.Name)
	for _, r := range truth.Rows {
		h.dependsOn = append(h.dependsOn, p.compileRows(def.Name, r, p.truths.Key(def.Name)))
		whole := outbox.Rows{Of: def.Name, Table: r.Table, Columns: r.Columns}
		h.whole = append(h.whole, whole)
		p.addRows(whole)
	}
	for _, t := range truth.Tags {
		h.tags = append(h.tags, p.compileText(def, t))
	}
	h.tags = append(h.tags, p.names(def)...)
	return h, len(h.dependsOn)+len(h.tags) > 0
}

// names returns the tags by which mutations evict an object, and all of its type, by name.
func (p *FieldPlan) names(def *ast.Definition) (tags []compiledText) {
	of := append([]*ast.Definition{def}, p.schema.GetImplements(def)...)
	for _, t := range of {
		if !p.named[t.Name] {
			continue
		}
		tags = append(tags, compiledText{texts: []string{t.Name}})
		var id []reference
		for _, name := range p.truths.Key(def.Name) {
			id = append(id, reference{policy.Key, gotype.NewFieldGetter(def, name)})
		}
		if len(id) == 1 {
			tags = append(tags, objectText(t.Name, id...))
		}
	}
	return tags
}

// compileRows compiles rows. key are the key fields of a type whose rows have no match: then the
// primary key has their order.
func (p *FieldPlan) compileRows(coordinate string, r policy.Rows, key []string) dependency {
	m := dependency{}
	object, _, _ := strings.Cut(coordinate, ".")
	def := p.schema.Types[object]
	m.rows, m.fewer = chosenRows(coordinate, r)
	for _, t := range r.Match {
		m.values, m.optional = append(m.values, compileRef(def, t.Value)), append(m.optional, t.Optional)
	}
	if m.fewer != nil {
		// A resolver may still select rows by the columns that are not conditions: by those of the other arguments, or
		// by NULL.
		for _, t := range r.Match {
			if t.Optional && m.fewer.Columns != nil && !slices.Contains(m.fewer.Columns, t.Column) {
				m.fewer.Columns = append(slices.Clip(m.fewer.Columns), t.Column)
			}
		}
		p.addRows(*m.fewer)
	}
	if r.Match == nil && len(key) > 0 {
		m.rows.Own = true
		for _, name := range key {
			m.values = append(m.values, reference{policy.Key, gotype.NewFieldGetter(def, name)})
		}
	}
	p.addRows(m.rows)
	return m
}

func (p *FieldPlan) addRows(r outbox.Rows) {
	same := func(o outbox.Rows) bool { return reflect.DeepEqual(o, r) }
	if !slices.ContainsFunc(p.rows, same) {
		p.rows = append(p.rows, r)
	}
}

// compileRef compiles a reference to an argument, the viewer, or an object of a type.
func compileRef(def *ast.Definition, r policy.Ref) reference {
	if r.Origin == policy.Args || r.Origin == policy.Viewer {
		def = nil
	}
	return reference{r.Origin, gotype.NewFieldGetter(def, r.Path...)}
}

func (p *FieldPlan) compileText(def *ast.Definition, t policy.Template) compiledText {
	c := compiledText{texts: t.Texts}
	for _, r := range t.Refs {
		c.refs = append(c.refs, compileRef(def, r))
	}
	return c
}

// objectName returns the object type of a Go value of a type of the schema, or "" if it is unknown.
func (fl *plannedField) objectName(typ reflect.Type, typeName string) string {
	def := fl.plan.schema.Types[typeName]
	if def == nil || def.Kind == ast.Object {
		return typeName
	}
	if name := fl.plan.types.Name(typ); name != "" {
		return name
	}
	for _, p := range fl.plan.schema.GetPossibleTypes(def) {
		if gotype.SameName(p.Name, typ.Name()) {
			return p.Name
		}
	}
	return ""
}
