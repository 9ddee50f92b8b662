package graph

import (
	"context"
	"math"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

// Limits refuses operations whose shape alone is too much. It is a gqlgen extension.
type Limits struct {
	MaxDepth   int // of nested fields
	MaxAliases int // of fields that are given another name, each use of a fragment counted

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

// MutateOperationContext refuses the operation if it goes over a limit; it changes nothing.
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

// measure walks an operation until it is over a limit, so that fragments that multiply each other cost no
// more than the limit. The document is valid: fragments are there and make no circle.
type measure struct {
	limits      Limits
	tooDeep     bool
	introspects bool
	aliases     int
	visits      int
}

// maxVisits bounds the walk where nothing else does: fragments of fragments without an alias. gqlgen's
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

// complexity says what fields cost that answer more than one thing: as many times what is asked of each.
func complexity() (c generated.ComplexityRoot) {
	list := func(child, n int) int {
		if child > math.MaxInt/n-1 {
			return math.MaxInt
		}
		return 1 + child*n
	}
	// A page that is larger than allowed is refused when its turn comes.
	page := func(child, first int) int { return list(child, min(max(first, 1), maxFirst)) }
	c.Query.Users = func(child, first int, _ *string) int { return page(child, first) }
	c.Query.Products = func(child, first int, _, _ *string) int { return page(child, first) }
	c.Query.Search = func(child int, _ string, first int) int { return page(child, first) }
	c.Query.Countries = func(child int) int { return list(child, countries) }
	c.User.Reviews = func(child, first int, _ *string) int { return page(child, first) }
	c.User.Orders = func(child, first int, _ *string) int { return page(child, first) }
	c.Product.RelatedProducts = func(child, first int) int { return page(child, first) }
	c.Product.Reviews = func(child, first int, _ *string) int { return page(child, first) }
	c.Mutation.PlaceOrder = func(child int, lines []*model.OrderLineInput, _ *string) int { return child + len(lines) }
	return c
}
