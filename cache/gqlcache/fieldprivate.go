package gqlcache

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/policy"
)

// isPrivate reports whether each viewer has values of a field of their own: because the field is
// private; because its resolver also makes a private part of its value, which then depends on the
// viewer; or because its parent is a part of a private value and has no identity by which two
// viewers' parents would differ.
func (p *FieldPlan) isPrivate(def *ast.Definition, f *ast.FieldDefinition) bool {
	if p.privateAt(def.Name+"."+f.Name) || slices.Contains(p.unnamedPrivate, def.Name) {
		return true
	}
	return slices.ContainsFunc(p.reachable(p.schema.Types[f.Type.Name()]), func(t *ast.Definition) bool {
		return p.privateAt(t.Name) || slices.ContainsFunc(t.Fields, func(part *ast.FieldDefinition) bool {
			return p.types.Resolver(t.Name+"."+part.Name) == nil && p.privateAt(t.Name+"."+part.Name)
		})
	})
}

// privateAt reports whether the schema says that a coordinate is private.
func (p *FieldPlan) privateAt(coordinate string) bool {
	rule, err := p.policies.Of(coordinate)
	return err == nil && rule.Scope == cache.Private
}

// planPrivate finds the object types without an identity that are parts of private values.
func (p *FieldPlan) planPrivate() {
	var visit func(*ast.Definition)
	visit = func(def *ast.Definition) {
		if !policy.Composite(def) {
			return
		}
		for _, t := range p.schema.GetPossibleTypes(def) {
			if t == p.schema.Query || len(p.truths.Key(t.Name)) > 0 || slices.Contains(p.unnamedPrivate, t.Name) {
				continue
			}
			p.unnamedPrivate = append(p.unnamedPrivate, t.Name)
			for _, f := range t.Fields {
				visit(p.schema.Types[f.Type.Name()])
			}
		}
	}
	for _, def := range p.schema.Types {
		if def.Kind != ast.Object || strings.HasPrefix(def.Name, "__") {
			continue
		}
		for _, f := range def.Fields {
			if p.privateAt(def.Name + "." + f.Name) {
				visit(p.schema.Types[f.Type.Name()])
			}
		}
	}
}
