package gqlcache

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/internal/operation"
	"fieldcache/cache/policy"
)

// Hints is a gqlgen extension that determines how the response to each operation may be cached;
// [policy.OverallOf] returns the result. The limit of a resolved field is the hint of the type that
// it returns, overlaid by the field's own hint, and by what its resolver sets with [SetHint] and
// [Restrict]. The lowest age of all fields applies, and one private field makes the whole response
// private. Hints never allows more than the cache control of Apollo Server.
//
// Use it as one of the first extensions, so that it sees the errors that others add to a response.
type Hints struct {
	// TypeOf returns the name of the object type of a value of an interface or a union. Default:
	// the name of its Go type. If the name is not one of the possible types, the strictest of them
	// applies.
	TypeOf func(value any) string

	oneSchema
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

// Validate implements gqlgen's extension. It reads the schema, and refuses contradictory hints as
// [policy.ReadPolicies] does, and a server of another schema. Servers of one schema may use the same
// Hints, also while others of them serve.
func (h *Hints) Validate(es graphql.ExecutableSchema) error {
	return h.read(es, func(schema *ast.Schema) (err error) {
		h.objects, err = policy.ReadObjects(schema)
		return err
	})
}

// collectorOf returns the collector of an operation, or nil if it has none.
func collectorOf(ctx context.Context) *collector {
	c, _ := policy.TellerOf(ctx).(*collector)
	return c
}

// introspects reports whether an operation asks for the schema. Other extensions decide, for each
// request, whether it may.
func introspects(ctx context.Context) bool {
	c := collectorOf(ctx)
	return c != nil && c.plan.Introspects
}

// InterceptOperation gives the operation a collector. gqlgen resolves each field with the
// middleware in the context of the operation. An operation whose response can never be cached runs
// as without this extension.
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

// InterceptResponse records whether there is a response, and whether it is complete.
func (h *Hints) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if c := collectorOf(ctx); c != nil && r != nil {
		c.answered = true
		c.noStore = c.noStore || len(r.Errors) > 0 || r.HasNext != nil
	}
	return r
}
