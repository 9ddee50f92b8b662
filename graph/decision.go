package graph

import (
	"context"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// Debug is what reports need.
type Debug struct {
	// Policy returns the policy of a coordinate of the schema.
	Policy func(coordinate string) cache.Policy
	// Truth returns how it is known that values of a coordinate or type are stale: rows, observed, tags or ttl. Nil: not
	// known.
	Truth func(coordinate string) string
	// Overall returns how the whole response could be stored without the report, once it is complete. Nil: not known.
	Overall func(context.Context) Overall
}

// Overall is how a whole response may be stored.
type Overall struct {
	Header string // the value of Cache-Control
	MaxAge time.Duration
	Scope  cache.Scope
}

// decision is extensions.cachePolicy: what Cache-Control is without the report, and which coordinates of the operation the schema
// gives that age and that scope.
type decision struct {
	CacheControl string `json:"cacheControl"`
	MaxAgeFrom   string `json:"maxAgeFrom,omitempty"`
	ScopeFrom    string `json:"scopeFrom,omitempty"` // where it is private
}

// decide returns what decided how a query's response may be stored; nil for what is never stored.
func (d *report) decide(ctx context.Context) *decision {
	if d == nil || d.Overall == nil {
		return nil
	}
	op := graphql.GetOperationContext(ctx).Operation
	if op.Operation != ast.Query {
		return nil
	}
	whole := d.Overall(ctx)
	made := &decision{CacheControl: whole.Header}
	if unknown := cache.CollectorOf(ctx).Unknown(); len(unknown) > 0 {
		return &decision{CacheControl: "no-store", MaxAgeFrom: unknown[0].String()}
	}
	d.find(op.SelectionSet, map[string]bool{}, func(coordinate string, p cache.Policy) {
		if made.MaxAgeFrom == "" && p.MaxAge == whole.MaxAge {
			made.MaxAgeFrom = coordinate
		}
		if made.ScopeFrom == "" && whole.Scope == cache.Private && p.Scope == cache.Private {
			made.ScopeFrom = coordinate
		}
	})
	return made
}

// find calls do for the coordinates of a selection, those above first. Fragments that were seen are passed over.
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
