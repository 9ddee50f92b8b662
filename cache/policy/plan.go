package policy

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// Plan is what is known about an operation's policy before it runs, and which fields may lower it. It is valid for all
// values of variables, and immutable.
//
// Root fields without a directive that depends on a variable are always resolved. A field below one of them can be
// ignored if its hints limit no more than those of the root field: if it is resolved, so was the root field. The other
// fields are watched: they count if they are resolved, which depends on nulls, empty lists, variables in @skip, or the
// types of values.
type Plan struct {
	// NoStore says that the response must not be stored, whatever it contains.
	NoStore bool
	// Introspects says that the response contains the schema, or a type of it.
	Introspects bool
	// Roots are the root fields that are always resolved, by alias.
	Roots map[string]*Field
	// Static is the limit of Roots.
	Static Limit
	// Watched are the other fields whose hints may limit more, with their Field in each type that the parent may have.
	Watched map[*ast.Field][]*Field

	deferred ast.DirectiveList // the @defer of the operation
}

// planner builds a plan.
type planner struct {
	schema  *ast.Schema
	objects Objects
	plan    *Plan
	seen    map[visit]struct{}
}

// visit is the visit of a selection, which is a field or a fragment. A fragment that is spread in
// many places is planned once for equal places.
type visit struct {
	set any // *ast.Field or *ast.FragmentDefinition
	place
}

// place is the position of a selection.
type place struct {
	object   *Object // the object type that it belongs to
	abstract bool    // the type is known at run time only
	root     bool    // at the operation's root
	floor    Limit   // the limit of the root field above
	certain  bool    // no variable decides whether it is selected; used at the root only
}

// NewPlan plans an operation of a valid document. objects are the object types of the schema.
func NewPlan(schema *ast.Schema, objects Objects, op *ast.OperationDefinition) *Plan {
	p := planner{
		schema: schema, objects: objects, seen: map[visit]struct{}{},
		plan: &Plan{Roots: map[string]*Field{}, Static: Unlimited(), Watched: map[*ast.Field][]*Field{}},
	}
	if op.Operation != ast.Query {
		p.plan.NoStore = true
		return p.plan
	}
	p.selection(op.SelectionSet, place{object: objects[schema.Query.Name], root: true, floor: Unlimited(), certain: true})
	return p.plan
}

func (p *planner) selection(set ast.SelectionSet, at place) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			switch at, ok := at.under(s.Directives); {
			case !ok:
			case meta(s.Name):
				p.plan.Introspects = p.plan.Introspects || s.Name != "__typename"
			case p.first(s, at):
				p.field(s, at)
			}
		case *ast.InlineFragment:
			if at, ok := at.under(s.Directives); ok && p.applies(s.TypeCondition, at.object) {
				p.deferred(s.Directives)
				p.selection(s.SelectionSet, at)
			}
		case *ast.FragmentSpread:
			f := s.Definition
			if at, ok := at.under(s.Directives); ok && p.applies(f.TypeCondition, at.object) {
				p.deferred(s.Directives)
				if p.first(f, at) {
					p.selection(f.SelectionSet, at)
				}
			}
		}
	}
}

func (p *planner) field(f *ast.Field, at place) {
	c := at.object.fields[f.Name]
	static, floor := c.Static(at.root), at.floor
	if at.root {
		floor = static
		if at.certain {
			p.plan.Roots[f.Alias] = c
			p.plan.Static = p.plan.Static.And(static)
		}
	}
	watch := at.root && !at.certain || static.Lowers(floor) || at.abstract && at.object.own.Lowers(floor)
	for _, o := range c.Objects {
		watch = watch || c.Item(o).Lowers(floor)
		p.selection(f.SelectionSet, place{object: o, abstract: c.Abstract, floor: floor})
	}
	if watch && !slices.Contains(p.plan.Watched[f], c) {
		p.plan.Watched[f] = append(p.plan.Watched[f], c)
	}
}

// first reports whether a selection is visited for the first time at a place.
func (p *planner) first(set any, at place) bool {
	v := visit{set, at}
	_, seen := p.seen[v]
	p.seen[v] = struct{}{}
	return !seen
}

// applies reports whether a fragment applies to an object type.
func (p *planner) applies(condition string, o *Object) bool {
	if condition == "" || condition == o.Name {
		return true
	}
	for _, t := range p.schema.PossibleTypes[condition] {
		if t.Name == o.Name {
			return true
		}
	}
	return false
}

func (p *planner) deferred(list ast.DirectiveList) {
	if d := list.ForName("defer"); d != nil {
		p.plan.deferred = append(p.plan.deferred, d)
	}
}

// under returns the place of a selection with directives. ok is false if it is never selected.
func (at place) under(list ast.DirectiveList) (_ place, ok bool) {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		v := d.Arguments.ForName("if").Value
		switch {
		case v.Kind == ast.Variable:
			at.certain = false
		case (v.Raw == "true") == (d.Name == "skip"):
			return at, false
		}
	}
	if !at.root {
		at.certain = false // not used below the root: places that differ only in it are the same
	}
	return at, true
}

// Defers reports whether part of the response is sent later, with these values of variables.
func (p *Plan) Defers(variables map[string]any) bool {
	for _, d := range p.deferred {
		on := d.Arguments.ForName("if")
		if on == nil {
			return true
		}
		if v, err := on.Value.Value(variables); err != nil || v != false {
			return true
		}
	}
	return false
}
