package policy

import (
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// Policies are the cache policies of a schema's coordinates: "User", "Product.price".
type Policies struct {
	types  map[string]cache.Policy
	fields map[string]cache.Policy
}

// ReadPolicies reads the @cacheControl hints of a schema. A field's policy is the hint of the type it returns overlaid,
// attribute by attribute, by the field's own. Without a max age, a scalar, or a field with inheritMaxAge, has that of
// its parent type; any other field is not cached. Fields of a private type are private.
//
// It reports every hint that contradicts itself, by coordinate: a negative maxAge, maxAge together with inheritMaxAge,
// a scope that is neither PUBLIC nor PRIVATE, two hints for one type.
func ReadPolicies(schema *ast.Schema) (*Policies, error) {
	all, err := readHints(schema)
	if err != nil {
		return nil, err
	}
	p := &Policies{types: map[string]cache.Policy{}, fields: map[string]cache.Policy{}}
	for name, def := range schema.Types {
		if !Composite(def) {
			continue
		}
		p.types[name] = all[name].policy()
		for _, f := range def.Fields {
			p.fields[name+"."+f.Name] = fieldPolicy(schema, all, name, f)
		}
	}
	return p, nil
}

func fieldPolicy(schema *ast.Schema, all hints, parent string, f *ast.FieldDefinition) cache.Policy {
	h, up := all.of(parent, f), all[parent].policy()
	policy := h.policy()
	root := schema.Types[parent] == schema.Query || schema.Types[parent] == schema.Mutation || schema.Types[parent] == schema.Subscription
	if h.MaxAge == nil && !root && (h.inherit || !Composite(schema.Types[f.Type.Name()])) {
		policy.MaxAge = up.MaxAge
		if h.revalidate == nil {
			policy.StaleWhileRevalidate = up.StaleWhileRevalidate
		}
		if h.ifError == nil {
			policy.StaleIfError = up.StaleIfError
		}
	}
	policy.Scope = max(policy.Scope, up.Scope)
	return policy
}

// Of returns the policy of a coordinate, which is "Type" or "Type.field". It returns an error if the schema does not
// have the coordinate.
func (p *Policies) Of(coordinate string) (cache.Policy, error) {
	policy, ok := p.fields[coordinate]
	if !ok {
		policy, ok = p.types[coordinate]
	}
	if !ok {
		return policy, fmt.Errorf("policy: the schema has no %s", coordinate)
	}
	return policy, nil
}
