package gqlcache

import (
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// plan is what can be said of an operation's policy before it runs, and where to look while it does. It
// holds for all values of variables.
//
// What is resolved in any case are the root fields. What is below one of them can be left out of account
// where its hints limit nothing that the root field's do not: if it is resolved, so was the root field. The
// rest is watched: it counts if it is resolved, which a null, an empty list, a variable in @skip or the type
// of a value decides.
type plan struct {
	// unkept: the answer may not be kept, whatever it is.
	unkept bool
	// deferred are the @defer of the operation.
	deferred ast.DirectiveList
	// roots are the root fields that are resolved in any case, by alias.
	roots map[string]*coordinate
	// static is what those limit.
	static bound
	// watched are the other fields whose hints may limit more, with what they are in the types that the
	// parent may be of.
	watched map[*ast.Field][]*coordinate
}

// plans keeps the plan of each operation for as long as the parsed operation is kept.
type plans struct {
	of sync.Map // of *plan by weak.Pointer[ast.OperationDefinition]
}

// get answers an operation's plan, and makes it if need be.
func (p *plans) get(op *ast.OperationDefinition, build func() *plan) *plan {
	key := weak.Make(op)
	if kept, ok := p.of.Load(key); ok {
		return kept.(*plan)
	}
	kept, known := p.of.LoadOrStore(key, build())
	if !known {
		runtime.AddCleanup(op, func(key weak.Pointer[ast.OperationDefinition]) { p.of.Delete(key) }, key)
	}
	return kept.(*plan)
}

// planner builds a plan.
type planner struct {
	schema  *ast.Schema
	objects map[string]*object
	plan    *plan
	seen    map[visit]struct{}
}

// visit is a selection, a field's or a fragment's, that was planned. A fragment that is spread in many
// places is planned once for those that are alike.
type visit struct {
	set any // *ast.Field or *ast.FragmentDefinition
	place
}

// place is where a selection stands.
type place struct {
	object   *object // of which it is
	abstract bool    // which is known at run time only
	root     bool    // at the operation's root
	floor    bound   // what the root field above limits already
	certain  bool    // no variable decides whether it is selected: asked at the root only
}

func newPlan(schema *ast.Schema, objects map[string]*object, op *ast.OperationDefinition) *plan {
	p := planner{
		schema: schema, objects: objects, seen: map[visit]struct{}{},
		plan: &plan{roots: map[string]*coordinate{}, static: nothing, watched: map[*ast.Field][]*coordinate{}},
	}
	if op.Operation != ast.Query {
		p.plan.unkept = true
		return p.plan
	}
	p.selection(op.SelectionSet, place{object: objects[schema.Query.Name], root: true, floor: nothing, certain: true})
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
	static, floor := c.static(at.root), at.floor
	if at.root {
		floor = static
		if at.certain {
			p.plan.roots[f.Alias] = c
			p.plan.static = p.plan.static.and(static)
		}
	}
	watch := at.root && !at.certain || static.lowers(floor) || at.abstract && at.object.own.lowers(floor)
	for _, o := range c.below {
		watch = watch || c.item(o).lowers(floor)
		p.selection(f.SelectionSet, place{object: o, abstract: c.abstract, floor: floor})
	}
	if watch && !slices.Contains(p.plan.watched[f], c) {
		p.plan.watched[f] = append(p.plan.watched[f], c)
	}
}

// first reports whether a selection is seen at a place for the first time.
func (p *planner) first(set any, at place) bool {
	v := visit{set, at}
	_, seen := p.seen[v]
	p.seen[v] = struct{}{}
	return !seen
}

// applies reports whether a fragment is for an object type.
func (p *planner) applies(condition string, o *object) bool {
	if condition == "" || condition == o.name {
		return true
	}
	for _, t := range p.schema.PossibleTypes[condition] {
		if t.Name == o.name {
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

// under is the place of a selection that has directives; !ok: it is never selected.
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

// defers reports whether a part of the answer is sent later.
func (p *plan) defers(oc *graphql.OperationContext) bool {
	for _, d := range p.deferred {
		on := d.Arguments.ForName("if")
		if on == nil {
			return true
		}
		if v, err := on.Value.Value(oc.Variables); err != nil || v != false {
			return true
		}
	}
	return false
}
