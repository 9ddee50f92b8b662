package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/internal/operation"
	"fieldcache/cache/policy"
)

// Hints is a gqlgen extension that finds out how the answer to each operation may be kept; [policy.OverallOf]
// tells. Each field that was resolved counts by the hint of the type it returns, overlaid by its own, and
// what a resolver says by [SetHint] and [Restrict]; the least age of all counts, and one that is private
// makes the whole private. What Apollo Server's cache control allows is the most that is allowed here.
//
// Use it as one of the first extensions, so that it sees the errors that others add to an answer.
type Hints struct {
	// TypeOf names the object type of a value behind an interface or a union. Default: the name of its Go
	// type. A name that is none of the types that are possible counts as the strictest of them.
	TypeOf func(value any) string

	schema  *ast.Schema
	objects policy.Objects
	plans   operation.Memo[ast.OperationDefinition, *policy.Plan]
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
	graphql.ResponseInterceptor
} = (*Hints)(nil)

// ExtensionName implements gqlgen's extension.
func (*Hints) ExtensionName() string { return "Hints" }

// Validate implements gqlgen's extension: it reads the schema, and refuses hints that contradict
// themselves as [policy.ReadPolicies] does.
func (h *Hints) Validate(es graphql.ExecutableSchema) error {
	var err error
	h.schema = es.Schema()
	h.objects, err = policy.ReadObjects(h.schema)
	return err
}

// collectorOf returns the collector of an operation; nil if it has none.
func collectorOf(ctx context.Context) *collector {
	c, _ := policy.TellerOf(ctx).(*collector)
	return c
}

// InterceptOperation gives the operation a collector. gqlgen resolves each field by what the operation's
// context holds as its middleware: an operation whose answer may not be kept in any case runs as without
// this extension, and nobody looks for the collector of another.
func (h *Hints) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	c := &collector{hints: h}
	c.plan = h.plans.Get(oc.Operation, func() *policy.Plan { return policy.NewPlan(h.schema, h.objects, oc.Operation) })
	c.noStore = c.plan.NoStore || c.plan.Defers(oc.Variables)
	if !c.noStore {
		c.age.Store(int64(policy.Unlimited().Age))
		alone := oc.ResolverMiddleware
		oc.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
			value, err := alone(ctx, next)
			c.resolved(ctx, value)
			return value, err
		}
	}
	return next(policy.WithTeller(ctx, c))
}

// InterceptResponse notes whether there is an answer, and whether it is whole.
func (h *Hints) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if c := collectorOf(ctx); c != nil && r != nil {
		c.answered = true
		c.noStore = c.noStore || len(r.Errors) > 0 || r.HasNext != nil
	}
	return r
}
