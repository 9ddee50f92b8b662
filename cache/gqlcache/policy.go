// Package gqlcache connects the cache engine with gqlgen: it reads @cacheControl from the executable
// schema. It is the only part of the engine that knows GraphQL.
package gqlcache

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// directive is the name under which schemas declare the hints.
const directive = "cacheControl"

// Policies are the cache policies of a schema's coordinates: "User", "Product.price".
type Policies struct {
	types  map[string]cache.Policy
	fields map[string]cache.Policy
}

// hint is one @cacheControl; a nil part is not given.
type hint struct {
	maxAge  *time.Duration
	scope   *cache.Scope
	inherit bool
}

// ReadPolicies reads the @cacheControl hints of a schema. A field's policy is the hint of the type it
// returns overlaid, attribute by attribute, by the field's own. Where no max age is given a scalar, or
// what is marked inheritMaxAge, has its parent type's; anything else is not cached. What is part of a
// private type is private.
//
// Every hint that contradicts itself is reported, by its coordinate: a negative maxAge, or maxAge
// together with inheritMaxAge.
func ReadPolicies(schema *ast.Schema) (*Policies, error) {
	p := &Policies{types: map[string]cache.Policy{}, fields: map[string]cache.Policy{}}
	hints := map[string]hint{}
	var errs []error
	read := func(coordinate string, list ast.DirectiveList) {
		h, err := readHint(coordinate, list)
		if err != nil {
			errs = append(errs, err)
		}
		hints[coordinate] = h
	}
	for name, def := range schema.Types {
		if !output(def) {
			continue
		}
		read(name, def.Directives)
		for _, f := range def.Fields {
			read(name+"."+f.Name, f.Directives)
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	for name, def := range schema.Types {
		if !output(def) {
			continue
		}
		p.types[name] = hints[name].policy()
		for _, f := range def.Fields {
			coordinate := name + "." + f.Name
			p.fields[coordinate] = fieldPolicy(schema, name, f, hints)
		}
	}
	return p, nil
}

// output reports whether a type is one whose fields are resolved.
func output(def *ast.Definition) bool {
	return !def.BuiltIn && (def.Kind == ast.Object || def.Kind == ast.Interface || def.Kind == ast.Union)
}

func fieldPolicy(schema *ast.Schema, parent string, f *ast.FieldDefinition, hints map[string]hint) cache.Policy {
	own, of := hints[parent+"."+f.Name], hints[f.Type.Name()]
	merged := hint{maxAge: of.maxAge, scope: of.scope, inherit: of.inherit}
	if own.maxAge != nil {
		merged.maxAge = own.maxAge
	}
	if own.scope != nil {
		merged.scope = own.scope
	}
	merged.inherit = merged.inherit || own.inherit
	policy := merged.policy()
	up := hints[parent].policy()
	composite := output(schema.Types[f.Type.Name()])
	root := schema.Types[parent] == schema.Query || schema.Types[parent] == schema.Mutation || schema.Types[parent] == schema.Subscription
	if merged.maxAge == nil && !root && (merged.inherit || !composite) {
		policy.MaxAge = up.MaxAge
	}
	policy.Scope = max(policy.Scope, up.Scope)
	return policy
}

func (h hint) policy() (p cache.Policy) {
	if h.maxAge != nil {
		p.MaxAge = *h.maxAge
	}
	if h.scope != nil {
		p.Scope = *h.scope
	}
	return p
}

func readHint(coordinate string, list ast.DirectiveList) (h hint, err error) {
	d := list.ForName(directive)
	if d == nil {
		return h, nil
	}
	if a := d.Arguments.ForName("maxAge"); a != nil && a.Value.Kind != ast.NullValue {
		seconds, err := strconv.Atoi(a.Value.Raw)
		if err != nil || seconds < 0 {
			return h, fmt.Errorf("%s: @cacheControl(maxAge: %s): allowed is a whole number of seconds, 0 or more", coordinate, a.Value.Raw)
		}
		age := time.Duration(seconds) * time.Second
		h.maxAge = &age
	}
	if a := d.Arguments.ForName("scope"); a != nil && a.Value.Kind != ast.NullValue {
		scope := cache.Public
		if a.Value.Raw == "PRIVATE" {
			scope = cache.Private
		}
		h.scope = &scope
	}
	if a := d.Arguments.ForName("inheritMaxAge"); a != nil {
		h.inherit = a.Value.Raw == "true"
	}
	if h.inherit && h.maxAge != nil {
		return h, fmt.Errorf("%s: @cacheControl has maxAge and inheritMaxAge: give one of them", coordinate)
	}
	return h, nil
}

// Of is the policy of a coordinate, which is "Type" or "Type.field". A coordinate that the schema does
// not have is an error.
func (p *Policies) Of(coordinate string) (cache.Policy, error) {
	policy, ok := p.fields[coordinate]
	if !ok {
		policy, ok = p.types[coordinate]
	}
	if !ok {
		return policy, fmt.Errorf("gqlcache: the schema has no %s", coordinate)
	}
	return policy, nil
}
