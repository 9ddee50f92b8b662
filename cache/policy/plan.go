package policy

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// Plan is what can be said of an operation's policy before it runs, and where to look while it does. It
// holds for all values of variables, and does not change.
//
// What is resolved in any case are the root fields. What is below one of them can be left out of account
// where its hints limit nothing that the root field's do not: if it is resolved, so was the root field. The
// rest is watched: it counts if it is resolved, which a null, an empty list, a variable in @skip or the type
// of a value decides.
type Plan struct {
	// NoStore: the answer may not be kept, whatever it is.
	NoStore bool
	// Roots are the root fields that are resolved in any case, by alias.
	Roots map[string]*Field
	// Static is what those limit.
	Static Limit
	// Watched are the other fields whose hints may limit more, with what they are in the types that the
	// parent may be of.
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

// visit is a selection, of a field or a fragment, that was planned. A fragment that is spread in
// many places is planned once for equal places.
type visit struct {
	set any // *ast.Field or *ast.FragmentDefinition
	place
}

// place is where a selection is.
type place struct {
	object   *Object // of which it is
	abstract bool    // which is known at run time only
	root     bool    // at the operation's root
	floor    Limit   // what the root field above limits already
	certain  bool    // no variable decides whether it is selected: asked at the root only
}

// NewPlan plans an operation of a valid document. objects are those of the schema.
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
			if at, ok := at.under(s.Directives); ok && !meta(s.Name) && p.first(s, at) {
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

// under returns the place of a selection that has directives; !ok: it is never selected.
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
		at.certain = false // it is not asked: two places that differ in it alone are one
	}
	return at, true
}

// Defers reports whether a part of the answer is sent later, with these values of variables.
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
