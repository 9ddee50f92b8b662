package graph

import (
	"context"
	"encoding/json"
	"math"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

// Limits is a gqlgen extension that refuses operations that exceed a limit.
type Limits struct {
	MaxDepth   int // maximum nesting of fields
	MaxAliases int // maximum number of aliases; each use of a fragment counts

	closed bool // whether introspection is refused
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

// measure walks an operation until it exceeds a limit, so that nested fragments, which multiply, cost no
// more than the limit. The document is valid: fragments exist and are not cyclic.
type measure struct {
	limits      Limits
	tooDeep     bool
	introspects bool
	aliases     int
	visits      int
}

// maxVisits limits the walk of fragments in fragments without aliases, which no other limit stops.
// gqlgen's computation of the complexity visits as much again.
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

// countries is the approximate number of countries.
const countries = 250

// complexity returns the cost of fields whose number of values does not depend on an argument. For the
// others see [sizedLists].
func complexity() (c generated.ComplexityRoot) {
	c.Query.Countries = func(child int) int { return listComplexity(child, countries) }
	c.Mutation.PlaceOrder = func(child int, lines []*model.OrderLineInput, _ *string) int { return child + len(lines) }
	return c
}

// complexityLimit is a gqlgen extension that refuses operations that cost more than a limit. The cost of a
// list is that of one value times the number of values.
type complexityLimit struct {
	*extension.ComplexityLimit
	limit int
	// constant has the costs of operations that cost the same with any variables, by
	// weak.Pointer[ast.OperationDefinition], while their documents are in memory; -1 for the others.
	// Computing the cost takes longer than reading a cached value.
	constant *sync.Map
}

var _ graphql.OperationContextMutator = complexityLimit{}

func newComplexityLimit(limit int) complexityLimit {
	return complexityLimit{extension.FixedComplexityLimit(limit), limit, new(sync.Map)}
}

// MutateOperationContext refuses the operation if it costs more than the limit, and adds the statistics of
// gqlgen's extension to the operation.
func (c complexityLimit) MutateOperationContext(ctx context.Context, oc *graphql.OperationContext) *gqlerror.Error {
	key := weak.Make(oc.Operation)
	known, found := c.constant.Load(key)
	if cost, _ := known.(int); found && cost >= 0 && cost <= c.limit {
		oc.Stats.SetExtension(c.ExtensionName(), &extension.ComplexityStats{Complexity: cost, ComplexityLimit: c.limit})
		return nil
	}
	err := c.ComplexityLimit.MutateOperationContext(ctx, oc)
	if found {
		return err
	}
	cost := -1
	if stats, ok := oc.Stats.GetExtension(c.ExtensionName()).(*extension.ComplexityStats); ok && !dependsOnVariables(oc.Operation.SelectionSet) {
		cost = stats.Complexity
	}
	if _, found = c.constant.LoadOrStore(key, cost); !found {
		runtime.AddCleanup(oc.Operation, func(key weak.Pointer[ast.OperationDefinition]) { c.constant.Delete(key) }, key)
	}
	return err
}

// dependsOnVariables reports whether the complexity of a selection may depend on variables: in any argument
// but an ID, of which there is always one.
func dependsOnVariables(set ast.SelectionSet) bool {
	return slices.ContainsFunc(set, func(s ast.Selection) bool {
		switch s := s.(type) {
		case *ast.Field:
			return slices.ContainsFunc(s.Arguments, func(a *ast.Argument) bool {
				def := s.Definition.Arguments.ForName(a.Name)
				return (def == nil || def.Type.NamedType != "ID") && hasVariable(a.Value)
			}) || dependsOnVariables(s.SelectionSet)
		case *ast.InlineFragment:
			return dependsOnVariables(s.SelectionSet)
		case *ast.FragmentSpread:
			return dependsOnVariables(s.Definition.SelectionSet)
		}
		return true
	})
}

func hasVariable(v *ast.Value) bool {
	return v != nil && (v.Kind == ast.Variable ||
		slices.ContainsFunc(v.Children, func(c *ast.ChildValue) bool { return hasVariable(c.Value) }))
}

// Validate implements gqlgen's extension.
func (c complexityLimit) Validate(schema graphql.ExecutableSchema) error {
	return c.ComplexityLimit.Validate(sizedLists{schema})
}

// sizedLists is a schema in which a field with an argument "first" costs that number of values, unless the
// schema itself defines the field's cost.
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
	// The resolver refuses a page that is larger than allowed.
	return listComplexity(child, min(max(intOf(args["first"]), 1), maxFirst)), true
}

// intOf returns the value of an integer argument, or the largest int if it is not an integer.
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

// listComplexity returns the complexity of a list of n values, each with the complexity child.
func listComplexity(child, n int) int {
	if child > math.MaxInt/n-1 {
		return math.MaxInt
	}
	return 1 + child*n
}
