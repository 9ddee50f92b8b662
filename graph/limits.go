package graph

import (
	"context"
	"encoding/json"
	"math"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

// Limits is a gqlgen extension that refuses operations by their shape.
type Limits struct {
	MaxDepth   int // of nested fields
	MaxAliases int // of aliased fields, counted for each use of a fragment

	closed bool // whether asking for the schema is too much
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationContextMutator
} = Limits{}

// ExtensionName implements gqlgen's extension.
func (Limits) ExtensionName() string { return "Limits" }

// Validate implements gqlgen's extension.
func (Limits) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext refuses the operation if it exceeds a limit. It changes nothing.
func (l Limits) MutateOperationContext(_ context.Context, oc *graphql.OperationContext) *gqlerror.Error {
	m := measure{limits: l}
	m.set(oc.Operation.SelectionSet, 1)
	switch {
	case m.tooDeep:
		return refuse(apierror.TooDeep.With(l.MaxDepth))
	case m.aliases > l.MaxAliases:
		return refuse(apierror.TooManyAliases.With(l.MaxAliases))
	case m.introspects && l.closed:
		return refuse(apierror.NoIntrospection)
	}
	return nil
}

func refuse(e apierror.Error) *gqlerror.Error {
	err := &gqlerror.Error{Message: e.Message}
	errcode.Set(err, e.Code)
	return err
}

// measure walks an operation until it is over a limit, so that fragments that multiply each other
// cost no more than the limit. The document is valid: fragments exist and are not cyclic.
type measure struct {
	limits      Limits
	tooDeep     bool
	introspects bool
	aliases     int
	visits      int
}

// maxVisits limits the walk if nothing else does: fragments of fragments without an alias. gqlgen's
// count of the complexity visits as much again.
const maxVisits = 20_000

func (m *measure) set(set ast.SelectionSet, depth int) {
	for _, s := range set {
		m.visits++
		if m.tooDeep || m.aliases > m.limits.MaxAliases {
			return
		}
		if m.visits > maxVisits {
			m.tooDeep = true
			return
		}
		switch s := s.(type) {
		case *ast.Field:
			if depth > m.limits.MaxDepth {
				m.tooDeep = true
				return
			}
			if s.Alias != s.Name {
				m.aliases++
			}
			if s.Name == "__schema" || s.Name == "__type" {
				m.introspects = true
			}
			m.set(s.SelectionSet, depth+1)
		case *ast.InlineFragment:
			m.set(s.SelectionSet, depth)
		case *ast.FragmentSpread:
			m.set(s.Definition.SelectionSet, depth)
		}
	}
}

// countries is about how many countries there are.
const countries = 250

// complexity is the cost of fields whose number of values no argument tells: [sizedLists] knows the
// others.
func complexity() (c generated.ComplexityRoot) {
	c.Query.Countries = func(child int) int { return listComplexity(child, countries) }
	c.Mutation.PlaceOrder = func(child int, lines []*model.OrderLineInput, _ *string) int { return child + len(lines) }
	return c
}

// complexityLimit refuses operations that cost more than a limit. A list costs the selection of one
// value times the number of values.
type complexityLimit struct{ *extension.ComplexityLimit }

func newComplexityLimit(limit int) complexityLimit {
	return complexityLimit{extension.FixedComplexityLimit(limit)}
}

// Validate implements gqlgen's extension.
func (c complexityLimit) Validate(schema graphql.ExecutableSchema) error {
	return c.ComplexityLimit.Validate(sizedLists{schema})
}

// sizedLists is a schema whose fields with an argument "first" cost as many values as that asks for, unless the schema
// itself says what a field costs.
type sizedLists struct{ graphql.ExecutableSchema }

// Complexity implements [graphql.ExecutableSchema].
func (s sizedLists) Complexity(ctx context.Context, typeName, field string, child int, args map[string]any) (int, bool) {
	if c, ok := s.ExecutableSchema.Complexity(ctx, typeName, field, child, args); ok {
		return c, true
	}
	def := s.Schema().Types[typeName].Fields.ForName(field)
	if def == nil { // __typename
		return 0, false
	}
	if first := def.Arguments.ForName("first"); first == nil || first.Type.NamedType != "Int" {
		return 0, false
	}
	// A page that is larger than allowed is refused when its turn comes.
	return listComplexity(child, min(max(intOf(args["first"]), 1), maxFirst)), true
}

// intOf returns the number of an argument's value, and the largest one if it is none.
func intOf(v any) int {
	switch v := v.(type) {
	case int:
		return v
	case int64:
		return int(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
	}
	return math.MaxInt
}

// listComplexity is the complexity of a list of n values, of each of which child is asked.
func listComplexity(child, n int) int {
	if child > math.MaxInt/n-1 {
		return math.MaxInt
	}
	return 1 + child*n
}
