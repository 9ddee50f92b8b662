package graph

import (
	"context"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// Debug provides what reports need.
type Debug struct {
	// Policy returns the policy of a coordinate of the schema.
	Policy func(coordinate string) cache.Policy
	// Truth returns what evicts the values of a coordinate or type: rows, observed, tags or ttl. If
	// nil, it is not reported.
	Truth func(coordinate string) string
	// Overall returns the policy that the complete response would have without the report. If nil, it
	// is not reported.
	Overall func(context.Context) Overall
}

// Overall is the policy of a whole response.
type Overall struct {
	Header string // the value of Cache-Control
	MaxAge time.Duration
	Scope  cache.Scope
}

// decision is extensions.cachePolicy: the Cache-Control that the response would have without the report,
// and the coordinates of the operation from which the age and the scope come.
type decision struct {
	CacheControl string `json:"cacheControl"`
	MaxAgeFrom   string `json:"maxAgeFrom,omitempty"`
	ScopeFrom    string `json:"scopeFrom,omitempty"` // if the scope is private
}

// decide returns the decision for the response of a query, or nil for an operation that is never stored.
func (d *report) decide(ctx context.Context) *decision {
	if d == nil || d.Overall == nil {
		return nil
	}
	op := graphql.GetOperationContext(ctx).Operation
	if op.Operation != ast.Query {
		return nil
	}
	whole := d.Overall(ctx)
	found := &decision{CacheControl: whole.Header}
	if unknown := cache.CollectorOf(ctx).Unknown(); len(unknown) > 0 {
		return &decision{CacheControl: "no-store", MaxAgeFrom: unknown[0].String()}
	}
	d.find(op.SelectionSet, map[string]bool{}, func(coordinate string, p cache.Policy) {
		if found.MaxAgeFrom == "" && p.MaxAge == whole.MaxAge {
			found.MaxAgeFrom = coordinate
		}
		if found.ScopeFrom == "" && whole.Scope == cache.Private && p.Scope == cache.Private {
			found.ScopeFrom = coordinate
		}
	})
	return found
}

// find calls do for the coordinates of a selection, parents first. It skips fragments that it has seen.
func (d *report) find(set ast.SelectionSet, seen map[string]bool, do func(coordinate string, p cache.Policy)) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if s.ObjectDefinition != nil && s.Definition != nil && s.Name != "__typename" {
				coordinate := s.ObjectDefinition.Name + "." + s.Name
				do(coordinate, d.Policy(coordinate))
				d.find(s.SelectionSet, seen, do)
			}
		case *ast.InlineFragment:
			d.find(s.SelectionSet, seen, do)
		case *ast.FragmentSpread:
			if !seen[s.Name] && s.Definition != nil {
				seen[s.Name] = true
				d.find(s.Definition.SelectionSet, seen, do)
			}
		}
	}
}
