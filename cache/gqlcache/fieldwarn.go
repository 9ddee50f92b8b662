package gqlcache

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/policy"
)

// warnOfTypes warns of ages and declarations without effect on types and their fields, except on
// fields that could be cached, which [FieldPlan.plan] checks.
func (p *FieldPlan) warnOfTypes() {
	for _, def := range p.schema.Types {
		switch {
		case !policy.Composite(def) || strings.HasPrefix(def.Name, "_"):
		case def == p.schema.Mutation, def == p.schema.Subscription:
			for _, f := range def.Fields {
				if hasArgument(f.Directives, "maxAge") {
					p.warn("%s.%s: the age has no effect: the result of %s is not cached", def.Name, f.Name, map[bool]string{true: "a mutation", false: "a subscription"}[def == p.schema.Mutation])
				}
			}
		case def.Kind == ast.Interface:
			for _, f := range def.Fields {
				if hasArgument(f.Directives, "maxAge") {
					p.warn("%s.%s: the age has no effect: it is a field of an interface; declare it on the types that implement the interface", def.Name, f.Name)
				}
			}
		case def.Kind == ast.Object && p.positive(def.Name) && !p.returned(def):
			p.warn("%s: the age has no effect in the field cache: no cached field returns this type", def.Name)
		}
	}
}

// positive reports whether a type has its own positive age.
func (p *FieldPlan) positive(typeName string) bool {
	rule, err := p.policies.Of(typeName)
	return err == nil && rule.MaxAge > 0 && hasArgument(p.schema.Types[typeName].Directives, "maxAge")
}

// returned reports whether a cached field may return an object of the type.
func (p *FieldPlan) returned(def *ast.Definition) bool {
	if p.stored[def.Name] {
		return true
	}
	for _, of := range p.schema.Types {
		for _, f := range of.Fields {
			if p.stored[of.Name+"."+f.Name] && slices.Contains(p.schema.GetPossibleTypes(p.schema.Types[f.Type.Name()]), def) {
				return true // a kind stores it
			}
		}
	}
	for _, fields := range p.fields {
		for _, fl := range fields {
			if slices.Contains(p.schema.GetPossibleTypes(p.schema.Types[fl.def.Type.Name()]), def) {
				return true
			}
		}
	}
	return false
}

// warnOfField warns of directives without effect on a field that is not cached, because it has no
// age or no resolver that can be called.
func (p *FieldPlan) warnOfField(coordinate string, f *ast.FieldDefinition, own policy.Truth, aged bool) {
	declares := len(own.Rows)+len(own.Tags) > 0
	for _, window := range []string{"staleWhileRevalidate", "staleIfError"} {
		if !aged && hasArgument(f.Directives, window) {
			p.warn("%s: %s has no effect: the field has no age", coordinate, window)
		}
	}
	switch {
	case !aged && declares:
		p.warn("%s: it declares rows or tags and has no age, so it is not cached", coordinate)
	case !aged:
	case p.types.Refused(coordinate):
		p.warn("%s: the age has no effect in the field cache: its resolver does not have the form func(ctx, parent, arguments) (value, error)", coordinate)
	case ownAge(f):
		p.warn("%s: the age has no effect in the field cache: the field has no resolver, so its value is a part of its parent", coordinate)
	}
	if aged && declares && !p.types.Refused(coordinate) {
		p.warn("%s: its rows or tags have no effect: the field has no resolver; declare them on its type", coordinate)
	}
}

// hasArgument reports whether @cacheControl has an argument.
func hasArgument(list ast.DirectiveList, argument string) bool {
	d := list.ForName(policy.CacheControl)
	if d == nil {
		return false
	}
	a := d.Arguments.ForName(argument)
	return a != nil && a.Value.Kind != ast.NullValue
}
